#!/usr/bin/env python3
"""The field's protocols on photos and descriptors of OCELLI_DATA: ./bench judge.

Oxford5k as a whole is judged on descriptors that others computed (CaffeNet fc7, PCA to 128
dimensions). 322 photos of Paris6k, the first 402 of Holidays and the first 500 of UKBench are
encoded with ResNet-50; whitening and codebooks are learned on 1,100 other photos. Nothing is tuned
here.
"""

import argparse
import json
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OCELLI = ROOT / "target" / "release" / "ocelli"
CODE_BYTES = (4, 8, 16, 32, 64)


def say(text=""):
    print(text, flush=True)


def run(*words, parse=True):
    """Runs `ocelli` and returns its JSON."""
    words = [str(word) for word in words]
    print("$ ocelli", " ".join(words), file=sys.stderr, flush=True)
    at = words.index("--") if "--" in words else len(words)
    words[at:at] = ["--format", "json"] if parse else []
    done = subprocess.run([str(OCELLI), *words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"judge: ocelli {words[0]} failed with {done.returncode}")
    return json.loads(done.stdout) if parse else done.stdout


def setup(report, name):
    """The setup of a report."""
    return next(s for s in report["setups"] if s["setup"] == name)


def shown(result):
    """Value and interval for a table."""
    low, high = result["interval"]
    return f"{result['value']:.4f} ({low:.3f} to {high:.3f})"


def at_unit_length(fvecs):
    """The vectors of an .fvecs file divided by their norms."""
    [dim] = struct.unpack_from("<i", fvecs)
    row, out = struct.Struct(f"<i{dim}f"), bytearray()
    for head, *x in row.iter_unpack(fvecs):
        norm = sum(v * v for v in x) ** 0.5
        out += row.pack(head, *(v / norm for v in x))
    return out


def oxford(data, out):
    """Expansions and codes on the descriptors of all 5,063 photos."""
    truth = data / "images" / "gnd_oxford5k.json"
    vectors = data / "vectors" / "oxford5k_fc7_pca128.fvecs"
    exact = ["eval", "retrieval", truth, "--descriptors", vectors, "--rows", "sorted"]
    exact += ["--similarity", "cosine"]

    def value(*flags):
        return setup(run(*exact, *flags), "official")

    plain = run(*exact, "--out", out / "oxford5k.json")
    rows = [("exact", setup(plain, "official"))]
    for k in (1, 3, 5, 10):
        rows.append((f"AQE k = {k}", value("--expand", "aqe", "--expand-k", k)))
    for k in (5, 10, 20):
        rows.append((f"DBA k = {k}", value("--dba", k)))
        rows.append((f"DBA k = {k}, queries too", value("--dba", k, "--dba-queries")))
    # The figures that are published beside the vectors train the codes on what they encode; so do
    # these, by force.
    names = out / "oxford5k.names"
    names.write_text("".join(f"{n}\n" for n in sorted(json.loads(truth.read_text())["imlist"])))
    part, unit = out / "oxford5k.part", out / "oxford5k.unit.fvecs"
    unit.write_bytes(at_unit_length(vectors.read_bytes()))
    run("import", "vectors", unit, "--keys", names, "--spec", "foreign:fc7", "--out", part)
    for m in CODE_BYTES:
        model, index = out / f"oxford5k-{m}.model", out / f"oxford5k-{m}.index"
        if not index.exists():
            run("train", part, "--m", m, "--nlist", 1, "--force", "--out", model)
            run("build", part, "--model", model, "--out", index)
        judged = run("eval", "retrieval", truth, "--index", index, "--descriptors", part)
        rows.append((f"codes of {m} bytes", setup(judged, "official")))
    say(f"\nOxford5k, CaffeNet fc7, 55 whole-image queries, {plain['seconds']:.1f} s\n")
    say("| | mAP (95 % interval) |\n|---|---|")
    for name, result in rows:
        say(f"| {name} | {shown(result)} |")
    found = {name: result["value"] for name, result in rows}
    aqe5, dba10 = found["AQE k = 5"], found["DBA k = 10, queries too"]
    return {"map": found["exact"], "aqe5": aqe5, "dba10": dba10}


def photos(data, out, dataset, folders, setups):
    """Float descriptors and 32-byte codes of a set of photos, with ResNet-50."""
    images = data / "images"
    weights = data / "weights" / "resnet50_v1_conv1-conv4.safetensors"
    name = Path(dataset).parts[0]
    work, first = out / f"{name}.work", out / "paris322.work"
    if not work.exists() and first.exists():
        # The photos that are learned from are the same: the network need not see them again.
        work.mkdir()
        for made in [first / ".ocelli-work", *first.glob("learn*")]:
            shutil.copy2(made, work)
    command = ["eval", "retrieval", images / dataset, "--work", work]
    command += [word for folder in folders for word in ("--photos", images / folder)]
    command += ["--learn-from", images / "imagenet", "--learn-from", images / "corel"]
    command += ["--dim", 256]
    network = ["--", "--weights", weights, "--form", "v1", "--input", "caffe-bgr"]
    network += ["--bn-eps", "1.001e-5", "--sizes", 448, "--no-exif"]
    judged = {}
    for kind, flags in (("float", []), ("bytes32", ["--code-bytes", 32])):
        start = time.monotonic()
        files = ["--out", out / f"{name}-{kind}.json", "--page", out / f"{name}-{kind}.html"]
        report = run(*command, *flags, *files, *network)
        judged[kind] = report | {"wall": time.monotonic() - start}
    say(f"\n{name}, {judged['float']['images']} photos, ResNet-50, longest side 448\n")
    say("| | float: value (95 % interval) | 32 bytes | queries |\n|---|---|---|---|")
    for kind in setups:
        of = {k: setup(report, kind) for k, report in judged.items()}
        say(
            f"| {kind}, {of['float']['measure']} | {shown(of['float'])} | {shown(of['bytes32'])} "
            f"| {len(of['float']['queries'])} |"
        )
    walls = ", ".join(f"{kind} {report['wall']:.1f} s" for kind, report in judged.items())
    say(f"\nwall time (what an earlier run made is kept): {walls}")
    return judged


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    args = p.parse_args()
    data, out, start = args.data.resolve(), args.out.resolve(), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)

    last = {"oxford5k_fc7": {k: round(v, 4) for k, v in oxford(data, out).items()}}
    paris = photos(
        data,
        out,
        "paris322/groundtruth.json",
        ["paris322", "paris124"],
        ["official", "easy", "medium", "hard", "leave-one-out"],
    )

    def of(kind, name):
        return round(setup(paris[kind], name)["value"], 4)

    each = {
        kind: {"official": of(kind, "official"), "revisited_medium": of(kind, "medium")}
        for kind in ("float", "bytes32")
    }
    last["paris322"] = each["float"] | each
    holidays = photos(data, out, "holidays", [], ["official"])
    last["holidays_map"] = round(setup(holidays["float"], "official")["value"], 4)
    ukbench = photos(data, out, "ukbench", [], ["n-s"])
    last["ukbench_ns"] = round(setup(ukbench["float"], "n-s")["value"], 4)
    say(f"\n{time.monotonic() - start:.0f} s in all\n")
    say(json.dumps(last))


if __name__ == "__main__":
    main()
