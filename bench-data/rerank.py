#!/usr/bin/env python3
"""mAP with query expansion and database-side augmentation: ./bench rerank.

Paris is the set that `./demo --full` has encoded: 9 official queries on 124 photos and 1,100
distractors. Landmarks are generated photos; the best variant of the first half of them is
evaluated on the other half. Nothing is tuned on Paris.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "target" / "release"
PARIS = ROOT / "demo-out" / "resnet50-full"
LANDMARKS = {"landmarks": 40, "views": 8, "queries": 3, "distractors": 400}
#: Name, flags of the expansion, neighbours of the augmentation.
VARIANTS = [
    ("plain", [], 0),
    *[(f"AQE k = {k}", ["--expand", "aqe", "--expand-k", str(k)], 0) for k in (1, 3, 5, 10)],
    ("AQE k = 5, 2 rounds", ["--expand", "aqe", "--expand-k", "5", "--rounds", "2"], 0),
    *[(f"αQE k = {k}, α = 3", ["--expand", "alpha", "--expand-k", str(k)], 0) for k in (3, 5, 10)],
    *[
        (f"diffusion, α = {a}", ["--diffuse", "--diffuse-alpha", str(a)], 0)
        for a in (0.5, 0.8, 0.99)
    ],
    (
        "diffusion, α = 0.99, k = 50",
        ["--diffuse", "--diffuse-alpha", "0.99", "--diffuse-neighbours", "50"],
        0,
    ),
    (
        "αQE k = 3, α = 3 + diffusion, α = 0.8",
        ["--expand", "alpha", "--expand-k", "3", "--diffuse"],
        0,
    ),
    *[(f"DBA k = {k}", [], k) for k in (5, 20)],
    ("DBA k = 20 + AQE k = 1", ["--expand", "aqe", "--expand-k", "1"], 20),
    ("DBA k = 5 + AQE k = 5", ["--expand", "aqe", "--expand-k", "5"], 5),
]


def say(text=""):
    print(text, flush=True)


def run(*words):
    words = [str(word) for word in words]
    print("$", " ".join(words), file=sys.stderr, flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"rerank: {words[0]} failed with {done.returncode}")
    return done.stdout


def keep(path, *words):
    """Runs a command that makes `path`, unless it is there."""
    if not Path(path).exists():
        run(*words)
    return path


class Collection:
    """Descriptors, ground truth, queries, and the indexes of 32 bytes that are made of them."""

    def __init__(self, name, parts, truth, queries, model, out):
        self.name, self.parts, self.truth, self.queries, self.model, self.out = (
            name,
            parts,
            truth,
            queries,
            model,
            out,
        )

    def index(self, dba):
        """The index and the seconds that its build took."""
        folder, note = (
            self.out / f"{self.name}-dba{dba}.index",
            self.out / f"{self.name}-dba{dba}.json",
        )
        if not note.exists():
            note.write_text(
                run(
                    BIN / "ocelli",
                    "build",
                    *self.parts,
                    "--model",
                    self.model,
                    "--dba",
                    dba,
                    "--out",
                    folder,
                    "--format",
                    "json",
                )
            )
        return folder, json.loads(note.read_text())["seconds"]

    def judge(self, flags, dba, exact):
        """Report of one variant."""
        database = (
            ["--descriptors", *self.parts, *(["--dba", dba] if dba else [])]
            if exact
            else ["--index", self.index(dba)[0]]
        )
        out = run(
            BIN / "ocelli",
            "eval",
            "retrieval",
            self.truth,
            "--setup",
            "official",
            "--queries",
            self.queries,
            *database,
            *flags,
            "--format",
            "json",
        )
        [setup] = json.loads(out)["setups"]
        return setup


def paris(out):
    parts = [PARIS / "photos.part", PARIS / "distractors.part"]
    if not all(part.exists() for part in [*parts, PARIS / "32b.model", PARIS / "queries.part"]):
        run(ROOT / "demo", "--full")
    truth = ROOT_DATA / "images" / "paris124" / "groundtruth.json"
    return Collection("paris", parts, truth, PARIS / "queries.part", PARIS / "32b.model", out)


def landmarks(out):
    photos = out / "landmarks"
    flags = [word for name, value in LANDMARKS.items() for word in (f"--{name}", value)]
    keep(photos, BIN / "ocelli-bench-data", "landmarks", "--out", photos, *flags)
    # The network and its whitening are those of Paris's distractors: no generated photo has taught
    # anything.
    network = shlex.split(
        f"--weights {ROOT_DATA}/weights/resnet50_v1_conv1-conv4.safetensors --form v1 --input "
        "caffe-bgr --bn-eps 1.001e-5 --sizes 448"
    )
    network += ["--whitening", PARIS / "pca.whitening"]
    listed, queries = out / "landmarks.jsonl", out / "landmark-queries.jsonl"
    keep(
        listed,
        BIN / "ocelli-bench-data",
        "list",
        "--photos",
        photos / "photos",
        "--root",
        photos / "photos",
        "--out",
        listed,
    )
    truth = photos / "groundtruth.json"
    keep(
        queries,
        BIN / "ocelli",
        "eval",
        "queries",
        truth,
        "--photos",
        photos / "photos",
        "--out",
        queries,
    )
    for listed, part in (
        (listed, out / "landmarks.part"),
        (queries, out / "landmark-queries.part"),
    ):
        keep(part, BIN / "ocelli", "encode", "--list", listed, *network, "--out", part)
    return Collection(
        "landmarks",
        [out / "landmarks.part"],
        truth,
        out / "landmark-queries.part",
        PARIS / "32b.model",
        out,
    )


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def halves(report):
    """mAP of the queries of every other landmark, and of the others."""
    names = sorted({query["name"].rsplit("_", 1)[0] for query in report["queries"]})
    first = set(names[::2])
    ap = {True: [], False: []}
    for query in report["queries"]:
        ap[query["name"].rsplit("_", 1)[0] in first].append(query["average_precision"])
    return mean(ap[True]), mean(ap[False])


def main():
    global ROOT_DATA
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument(
        "--worker", type=Path, required=True, help="the executable of index/benches/expand.rs"
    )
    args = p.parse_args()
    ROOT_DATA, start = args.data.resolve(), time.monotonic()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    last = {}

    collection = paris(out)
    rows = [
        (name, [collection.judge(flags, dba, exact) for exact in (True, False)], dba)
        for name, flags, dba in VARIANTS
    ]
    say(
        "\nParis, 9 official queries, 124 + 1,100 photos; ms are of one full ranking, searches of "
        "the expansion included\n"
    )
    say("| | float: mAP | ms | 32 bytes: mAP | ms | build, s |\n|---|---|---|---|---|---|")
    for name, (exact, coded), dba in rows:
        build = collection.index(dba)[1]
        say(
            f"| {name} | {exact['map']:.4f} | {exact['rank_ms']:.2f} | {coded['map']:.4f} | "
            f"{coded['rank_ms']:.2f} | {build:.2f} |"
        )
    last["paris"] = {
        name: [round(exact["map"], 4), round(coded["map"], 4)] for name, (exact, coded), _ in rows
    }

    collection = landmarks(out)
    rows = [
        (name, *[halves(collection.judge(flags, dba, exact)) for exact in (True, False)])
        for name, flags, dba in VARIANTS
    ]
    count = LANDMARKS["landmarks"] * LANDMARKS["queries"]
    say(f"\nLandmarks, {count} queries: mAP on the half that chooses and on the other\n")
    say("| | float: chooses | other | 32 bytes: chooses | other |\n|---|---|---|---|---|")
    for name, exact, coded in rows:
        say(f"| {name} | {exact[0]:.4f} | {exact[1]:.4f} | {coded[0]:.4f} | {coded[1]:.4f} |")
    plain = rows[0]
    for kind, column in (("float", 1), ("32 bytes", 2)):
        # What a search can be asked for; augmentation is a choice at build time.
        found = last[f"landmarks_{kind.replace(' ', '_')}"] = {"plain": round(plain[column][1], 4)}
        for what, word in (("expansion", "QE"), ("diffusion", "diffusion")):
            several = [
                row
                for row in rows
                if word in row[0]
                and "DBA" not in row[0]
                and ("+" in row[0]) <= (word == "diffusion")
            ]
            best = max(several, key=lambda row: row[column][0])
            gain = best[column][1] - plain[column][1]
            say(
                f"\n{kind}: {best[0]} is the {what} that the first half chooses; on the other it "
                f"gains {gain:+.4f}"
            )
            found |= {what: {"chosen": best[0], "gain": round(gain, 4)}}
    say(
        "\nWhat a round costs, 1 M random codes of 32 bytes, nprobe 64, medians of 7 interleaved "
        "windows\n"
    )
    *lines, figures = run(args.worker, out).strip().splitlines()
    say("\n".join(lines))
    last["cost"] = json.loads(figures)
    say()
    say(json.dumps(last | {"seconds": round(time.monotonic() - start, 1)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
