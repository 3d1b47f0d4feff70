#!/usr/bin/env python3
"""What training a network is worth, on two cores: ./bench learn.

A ResNet-18 to layer3 is trained on photos of classes that no judged photo belongs to, with a small
recipe: longest side 160, 16 triplets (or 48 photos) an iteration, 60 iterations. The baseline is
the same network with a PCA whitening of the same photos. Every variant sees as many photos, but for
the pools that triplets are mined in. Rates were chosen on other generated landmarks among
distractors, by --rates.

Generated landmarks: 80 to learn from, 40 others to find among distractors. Classification again
with the class of 30 % of the photos wrong, before and after the cleaning of the set, and with
proposed regions, which are trained on the boxes that the cleaning finds. Real photos: 78 places to
learn from; judged on Paris (leave one out, with 1,100 distractors) and on Holidays.

--long: classification, and triplets behind it, with three seeds at side 224.

The last line is one JSON object.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench-data" / "peer"))

import processor  # noqa: E402
import spent  # noqa: E402

BIN = ROOT / "target" / "release"
SIZE, ITERATIONS, TRIPLETS, POOL, DIM, SEED = 160, 60, 16, 500, 128, 1
TRAIN = {"landmarks": 80, "views": 12, "queries": 3, "distractors": 0, "seed": 31}
TEST = {"landmarks": 40, "views": 8, "queries": 3, "distractors": 400, "seed": 32}
#: Neither trained on nor judged: rates are chosen on them.
TUNE = {"landmarks": 30, "views": 8, "queries": 3, "distractors": 300, "seed": 33}
THREADS = ("--threads", 2, "--photos-at-once", 2)
LEAVE_ONE_OUT = "leave-one-out"
#: Learning rate of each loss.
RATES = {"classification": 2e-4, "arcface": 1e-4, "triplet": 5e-4, "mined": 3e-5, "ap": 5e-4}
#: Share of the photos of the noisy set that have the class of another landmark.
WRONG = 0.3
#: Proposed regions of a picture.
PROPOSALS = 32
#: Several sizes, for one that is trained at the middle one.
SIZES = "113,160,226"
#: Seeds, side and iterations of --long.
LONG_SEEDS, LONG_SIZE = (1, 2, 3), 224
#: All triplets of a batch, with a margin that half of them do not keep.
BATCH_ALL = ["--batch-all", "--margin", 0.5]
#: Mined ones are drawn from so many of a query: the hardest ones are too hard to begin with.
HARDEST = 1000


def say(text=""):
    print(text, flush=True)


def run(*words, **more):
    words = [str(word) for word in words]
    print("$", " ".join(words), file=sys.stderr, flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"learn: {words[0]} failed with {done.returncode}")
    return done.stdout


def generated(folder, shape):
    flags = [word for name, value in shape.items() for word in (f"--{name}", value)]
    if not folder.exists():
        run(BIN / "ocelli-bench-data", "landmarks", "--out", folder, "--longest-side", 448, *flags)
    return folder


def landmark_list(folder, path, held_out=0):
    """A list of generated photos that show their landmark; the last landmarks are in the split
    val."""
    lines = []
    queries = json.loads((folder / "groundtruth.json").read_text())["queries"]
    junk = {name for query in queries for name in query["junk"]}
    photos = sorted((folder / "photos").glob("*_*_*.jpg"))
    for photo in (photo for photo in photos if photo.stem not in junk):
        name = re.sub(r"_[0-9]+$", "", photo.stem)
        number = int(name.rsplit("_", 1)[1])
        split = "val" if number >= TRAIN["landmarks"] - held_out else "train"
        lines.append({"path": str(photo), "class": name, "split": split})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def noisy_list(clean, path):
    """The list with the class of some photos wrong, drawn with a fixed seed."""
    lines = [json.loads(line) for line in clean.read_text().splitlines()]
    draw = random.Random(7)
    classes = sorted({line["class"] for line in lines})
    for line in draw.sample(lines, round(WRONG * len(lines))):
        line["class"] = draw.choice([name for name in classes if name != line["class"]])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


class Bench:
    def __init__(self, out, data, weights, size=SIZE, seed=SEED):
        self.out, self.data, self.weights = out, data, weights
        self.size, self.seed = size, seed

    def train(self, name, photos, loss, *flags, weights=None, iterations=ITERATIONS, rate=None):
        """The file of a trained network, and the seconds that it took. Made once."""
        out = self.out / f"{name}.safetensors"
        head = ["--head-dim", DIM] if weights is None else []
        rate = RATES[loss] if rate is None else rate
        mining = {"triplet": BATCH_ALL, "mined": ["--hardest", HARDEST]}.get(loss, [])
        loss = "triplet" if loss == "mined" else loss
        words = ["train", photos, "--weights", weights or self.weights, "--out", out]
        words += ["--size", self.size, "--iterations", iterations, "--loss", loss, "--rate", rate]
        words += ["--triplets", TRIPLETS, "--photos", 3 * TRIPLETS, "--pool", POOL]
        words += [*mining, "--seed", self.seed, *THREADS, "--format", "json", *head, *flags]
        return out, self.made_once(name, words, (photos, weights or self.weights))

    def made_once(self, name, words, inputs):
        """What ocelli-learn printed, and the seconds. Run again, and judged again, for another
        program, other words and other bytes of the inputs."""
        words, note = [str(word) for word in words], self.out / f"{name}.training"
        hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in inputs]
        program = hashlib.sha256((BIN / "ocelli-learn").read_bytes()).hexdigest()
        known = [program, words, hashes]
        made = json.loads(note.read_text()) if note.exists() else {}
        if made.get("known") != known:
            started = time.monotonic()
            lines = run(BIN / "ocelli-learn", *words).splitlines()
            made = {"known": known, "seconds": time.monotonic() - started, "lines": lines}
            note.write_text(json.dumps(made))
            for report in self.out.glob(f"{name}.judged-*"):
                report.unlink()
        return made

    def clean(self, name, photos, *flags):
        """The cleaned list of a set, and what was printed. Made once."""
        out = self.out / f"{name}.jsonl"
        words = ["clean", photos, "--out", out, "--work", self.out / f"{name}.work"]
        words += ["--report", self.out / f"{name}.html", "--format", "json", *flags]
        return out, self.made_once(name, words, (photos,))

    def proposals(self, name, boxes, weights):
        """A network whose regions are proposed, trained on the boxes of a list, and the share of
        boxes that are found. Made once."""
        out = self.out / f"{name}.safetensors"
        words = ["proposals", boxes, "--weights", weights, "--out", out, "--count", PROPOSALS]
        words += ["--size", self.size, "--iterations", 200, "--threads", 2, "--format", "json"]
        return out, json.loads(self.made_once(name, words, (boxes, weights))["lines"][-1])

    def judge(self, truth, weights, *flags, extra=(), setup=None, kind="plain"):
        """The report of a network on a data set. Made once for the network."""
        report = self.out / f"{weights.stem}.judged-{kind}.json"
        if not report.exists():
            work = self.out / f"{weights.stem}-{kind}.work"
            words = ["eval", "retrieval", truth, "--work", work, "--out", report, *extra]
            sizes = [] if "--sizes" in flags else ["--sizes", self.size]
            network = ["--", "--weights", weights, *sizes, *flags]
            run(BIN / "ocelli", *words, "--format", "json", *network)
            shutil.rmtree(work, ignore_errors=True)
        setups = json.loads(report.read_text())["setups"]
        return report, next(s for s in setups if setup in (None, s["setup"]))

    def compare(self, before, after, setup=None):
        """Mean difference of two reports, and its 95 % interval."""
        words = ["eval", "retrieval", "--compare", before, after, "--format", "json"]
        setups = json.loads(run(BIN / "ocelli", *words))["setups"]
        return next(s for s in setups if setup in (None, s["setup"]))["difference"]


def variants(bench, name, photos):
    """Files of all variants on a set of photos, by name."""
    made, half = {}, ITERATIONS // 2
    made["off the shelf"], _ = bench.train(
        f"{name}-pca", photos, "triplet", iterations=1, rate=0.0
    )
    for loss in ("classification", "arcface", "triplet", "mined", "ap"):
        made[loss], note = bench.train(f"{name}-{loss}", photos, loss)
        say(f"  {name}, {loss}: {ITERATIONS} iterations in {note['seconds']:.0f} s")
    made["triplet, mined"] = made.pop("mined")
    first, _ = bench.train(f"{name}-half", photos, "classification", iterations=half)
    made["classification, triplet"], _ = bench.train(
        f"{name}-both", photos, "triplet", weights=first, iterations=half
    )
    return made


def table(bench, name, made, truths):
    """Judges all variants on data sets; returns the values by variant and set."""
    found = {}
    columns = "".join(f" {title}, mAP | difference (95 %) |" for title, *_ in truths)
    say(f"\n| {name} |{columns}\n|---|" + "---|---|" * len(truths))
    for variant, weights in made.items():
        row = f"| {variant} |"
        for title, truth, flags, extra, setup in truths:
            kind = title.lower()
            report, judged = bench.judge(
                truth, weights, *flags, extra=extra, setup=setup, kind=kind
            )
            base = found.get(("off the shelf", title), (report, None, None))[0]
            apart = bench.compare(base, report, setup)
            found[variant, title] = (report, judged["value"], apart)
            low, high = apart["interval"]
            row += f" {judged['value']:.4f} | {apart['mean']:+.4f} "
            row += f"({low:+.4f} to {high:+.4f}) |"
        say(row)
    return found


def noise(bench, photos):
    """Classification on a noisy set and on the same set cleaned; what was cleaned."""
    noisy = noisy_list(photos, bench.out / "noisy.jsonl")
    cleaned, note = bench.clean("cleaned", noisy, "--no-boxes")
    true = {line["path"]: line["class"] for line in map(json.loads, photos.open())}
    kept = [json.loads(line) for line in cleaned.open()]
    right = sum(true[str(cleaned.parent / line["path"])] == line["class"] for line in kept)
    total = sum(json.loads(line)["class"] == true[json.loads(line)["path"]]
                for line in noisy.open())
    share = right / max(1, len(kept))
    say(f"\ncleaning of {len(true)} photos, {WRONG:.0%} of them in a wrong class: "
        f"{note['seconds']:.0f} s, {len(kept)} kept, {share:.3f} of them right, "
        f"{right / total:.3f} of the right ones")
    made = {}
    for name, of in (("30 % wrong", noisy), ("30 % wrong, cleaned", cleaned)):
        tag = "noisy" if of is noisy else "cleaned"
        made[name], _ = bench.train(f"generated-{tag}", of, "classification")
    return made


def proposed(bench, photos, base):
    """Off the shelf and classification with proposed regions in place of the grid."""
    boxes, _ = bench.clean("boxes", photos)
    before, told = bench.proposals("generated-rpn", boxes, base)
    say(f"\n{PROPOSALS} proposed regions find {told['found']:.3f} of {told['judged']} boxes "
        f"(IoU .5), the grid {told['found_by_grid']:.3f}")
    after, _ = bench.train("generated-rpn-classification", photos, "classification", weights=before)
    return {"off the shelf, proposals": before, "classification, proposals": after}


def ways_to_search(bench, test, photos, made):
    """One network searched in several ways: sizes, query expansion, short codes."""
    learn_from = Path(json.loads(photos.read_text().splitlines()[0])["path"]).parent
    ways = {
        "one size": ((), ()),
        f"sizes {SIZES}": (("--sizes", SIZES), ()),
        "one size, query expansion (α 3, k 5)": ((), ("--expand", "alpha")),
        "one size, codes of 32 bytes": ((), ("--code-bytes", 32, "--learn-from", learn_from)),
    }
    say("\n| searched | off the shelf, mAP | classification, mAP |\n|---|---|---|")
    for at, (way, (flags, extra)) in enumerate(ways.items()):
        values = [
            bench.judge(test, made[variant], *flags, extra=extra, kind=f"way-{at}")[1]["value"]
            for variant in ("off the shelf", "classification")
        ]
        say(f"| {way} | {values[0]:.4f} | {values[1]:.4f} |")


def long(bench, photos, test):
    """Classification, and triplets behind it, with several seeds at a larger side."""
    say(f"\n| side {LONG_SIZE}, seed | off the shelf | classification | then triplets |\n"
        "|---|---|---|---|")
    for seed in LONG_SEEDS:
        one = Bench(bench.out, bench.data, bench.weights, LONG_SIZE, seed)
        name = f"long-{seed}"
        base, _ = one.train(f"{name}-pca", photos, "triplet", iterations=1, rate=0.0)
        first, _ = one.train(f"{name}-classification", photos, "classification")
        then, _ = one.train(f"{name}-triplet", photos, "triplet", weights=first)
        judged = [one.judge(test, weights, kind="landmarks") for weights in (base, first, then)]
        values = [f"{found['value']:.4f}" for _, found in judged]
        apart = interval(one.compare(judged[1][0], judged[2][0]))
        say(f"| {seed} | {' | '.join(values)} ({apart[0]:+.4f}, {apart[1]:+.4f} to "
            f"{apart[2]:+.4f}) |")


def plots(bench, photos):
    """Trainings with validations on landmarks that were held out, as pictures."""
    for loss in ("classification", "triplet"):
        picture = bench.out / f"plot-{loss}.svg"
        log = bench.out / f"plot-{loss}.jsonl"
        flags = ("--validate-every", 10, "--plot", picture, "--log", log)
        _, note = bench.train(f"plot-{loss}", photos, loss, *flags)
        steps = [json.loads(line) for line in note["lines"]]
        maps = [step["validation"] for step in steps if "validation" in step]
        say(f"\n{loss}, mAP on 20 held-out landmarks every 10 iterations: "
            f"{' '.join(f'{value:.4f}' for value in maps)}; plot: {picture}")


class GpuMemory(threading.Thread):
    """The most memory of the first GPU that is in use while this runs, in MiB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.over = 0, threading.Event()

    def run(self):
        words = ["nvidia-smi", "-i", "0", "--query-gpu=memory.used"]
        words += ["--format=csv,noheader,nounits"]
        while not self.over.wait(0.2):
            told = subprocess.run(words, stdout=subprocess.PIPE, text=True).stdout.strip()
            self.peak = max(self.peak, int(told or 0))


def gpu(bench, photos):
    """Photos a second and peak memory of ResNet-101 at 800 pixels, 64 triplets, on a GPU."""
    weights = bench.out / "resnet101-seeded.safetensors"
    if not weights.exists():
        run(BIN / "ocelli-encoder", "weights", "seeded", "--arch", "resnet101", "--out", weights)
    for precision in ("f32", "bf16"):
        words = ["train", photos, "--weights", weights, "--out", bench.out / "gpu.safetensors"]
        words += ["--device", "cuda:0", "--precision", precision, "--size", 800, "--threads", 4]
        words += ["--triplets", 64, "--pool", 200, "--rate", 0, "--format", "json"]
        took, ran, memory = [], [], GpuMemory()
        memory.start()
        # The difference of two runs is without the start and without the pool.
        for iterations in (1, 4):
            started = time.monotonic()
            lines = run(BIN / "ocelli-learn", *words, "--iterations", iterations).splitlines()
            took.append(time.monotonic() - started)
            ran.append(sum(json.loads(line).get("photos", 0) for line in lines[:-1]))
        memory.over.set()
        memory.join()
        pace = (ran[1] - ran[0]) / (took[1] - took[0])
        say(f"ResNet-101, side 800, {precision}: {pace:.1f} photos/s, both passes; peak "
            f"{memory.peak} MiB of the GPU")


def interval(apart):
    """A difference and the two ends of its interval."""
    return [round(value, 4) for value in (apart["mean"], *apart["interval"])]


def rates(bench, photos, tune):
    """mAP of each loss at several rates, on landmarks that are neither trained on nor judged."""
    tried = {"off the shelf": ("triplet", [0.0])}
    tried |= {loss: (loss, [1e-4, 2e-4, 5e-4]) for loss in RATES}
    tried["triplet"] = ("triplet", [3e-4, 5e-4, 1e-3])
    tried["mined"] = ("mined", [1e-5, 3e-5, 1e-4])
    for name, (loss, values) in tried.items():
        for rate in values:
            tag = re.sub(r"[^a-z]+", "-", name)
            weights, _ = bench.train(f"rate-{tag}-{rate}", photos, loss, rate=rate)
            _, judged = bench.judge(tune, weights, kind="tune")
            say(f"{name} {rate}: {judged['value']:.4f}")


def memory(bench, photos, weights):
    """Peak bytes of an iteration with 1, 8 and 64 triplets."""
    peaks = {}
    for triplets in (1, 8, 64):
        words = ["train", photos, "--weights", weights, "--out", bench.out / "memory.safetensors"]
        words += ["--size", 320, "--iterations", 2, "--pool", 60, "--triplets", triplets]
        took = spent.run(BIN / "ocelli-learn", *words, "--rate", 0, "--format", "json")
        if took.code != 0:
            sys.exit("learn: ocelli-learn failed")
        peaks[triplets] = took.peak_bytes
    told = (f"{n} triplets {b / 1e6:.0f} MB" for n, b in peaks.items())
    say("\npeak memory, side 320: " + ", ".join(told))
    return peaks[64] / peaks[1]


def beside_torch(bench, photos, weights, python):
    """Gradient and speed beside PyTorch."""
    peer = ROOT / "bench-data" / "peer" / "learn_peer.py"
    worst = 0.0
    for precision in ([], ["double"]):
        file = bench.out / "gradient.safetensors"
        run(BIN / "examples" / "gradient", weights, photos, SIZE, file, *precision)
        found = json.loads(run(python, peer, "gradients", file).splitlines()[-1])
        worst = max(worst, found["gradient"])
        say(f"gradient of 8 photos beside PyTorch's autograd, {found['dtype']}: "
            f"{found['gradient']:.1e} apart, the worst of {found['parameters']} tensors")
    own, theirs = [], []
    recipe = ["--size", SIZE, "--iterations", 8, "--triplets", TRIPLETS, "--pool", 100]
    for _ in range(5):
        words = ["train", photos, "--weights", weights, "--out", bench.out / "speed.safetensors"]
        started = time.monotonic()
        flags = ["--hardest", HARDEST, *THREADS, "--format", "json"]
        run(BIN / "ocelli-learn", *words, *recipe, *flags)
        own.append(8 / (time.monotonic() - started))
        words = ["loop", "--weights", weights, "--list", photos, "--threads", 2]
        words += ["--keep-pictures", "--hardest", HARDEST]
        found = run(python, peer, *words, *recipe).splitlines()[-1]
        theirs.append(json.loads(found)["iterations_per_s"])
    ratio = statistics.median(a / b for a, b in zip(own, theirs))
    say(f"iterations a second, two threads, median of 5: {statistics.median(own):.3f}, PyTorch "
        f"{statistics.median(theirs):.3f}: {ratio:.2f} x")
    return worst, ratio


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--torch", type=Path, required=True, help="a Python with PyTorch")
    p.add_argument("--rates", action="store_true", help="try rates, and no more")
    p.add_argument("--gpu", action="store_true", help="ResNet-101 at 800 on a GPU, and no more")
    p.add_argument("--long", action="store_true", help="three seeds, side 224, and no more")
    a = p.parse_args()
    data, out = a.data.resolve(), a.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    weights = data / "weights" / "resnet18_conv1-layer3_bnfolded.safetensors"
    if not weights.exists():
        weights = out / "seeded.safetensors"
        if not weights.exists():
            made = ("--arch", "resnet18", "--last-stage", 3, "--out", weights)
            run(BIN / "ocelli-encoder", "weights", "seeded", *made)
        say("without weights in OCELLI_DATA: a network that was not trained before")
    bench = Bench(out, data, weights)
    say(f"== ResNet-18 to layer3, side {SIZE}, {DIM} dimensions, on {processor.name()}")
    train, test = generated(out / "train", TRAIN), generated(out / "test", TEST)
    if a.rates:
        rates(bench, landmark_list(train, out / "generated.jsonl"), generated(out / "tune", TUNE))
        return
    photos = landmark_list(train, out / "generated.jsonl")
    if a.gpu:
        gpu(bench, photos)
        return
    if a.long:
        long(bench, photos, test)
        return
    made = variants(bench, "generated", photos)
    made |= noise(bench, photos)
    made |= proposed(bench, photos, made["off the shelf"])
    truths = [("landmarks", test, [], [], None)]
    found = table(bench, "generated", made, truths)

    def of(variant, title="landmarks"):
        return round(found[variant, title][1], 4)

    last = {
        "map_off_the_shelf": of("off the shelf"),
        "map_classification": of("classification"),
        "map_arcface": of("arcface"),
        "map_triplet": of("triplet"),
        "map_classification_triplet": of("classification, triplet"),
        "map_ap": of("ap"),
        "map_noisy": of("30 % wrong"),
        "map_cleaned": of("30 % wrong, cleaned"),
        "map_rpn": of("classification, proposals"),
    }
    of_classes, of_triplets = (found[v, "landmarks"][0] for v in ("classification", "triplet"))
    last["triplet_over_classification"] = interval(bench.compare(of_classes, of_triplets))
    ways_to_search(bench, test, photos, made)
    plots(bench, landmark_list(train, out / "held-out.jsonl", held_out=20))
    real = data / "images" / "landmarks" / "train.jsonl"
    last |= {"real_gain_paris": None, "real_gain_other": None}
    if real.exists():
        images = data / "images"
        extra = [w for f in ("imagenet", "corel") for w in ("--distractors", images / f)]
        extra += [w for f in ("paris322", "paris124") for w in ("--photos", images / f)]
        paris = images / "paris322" / "groundtruth.json"
        truths = [
            ("Paris", paris, ["--no-exif"], extra, LEAVE_ONE_OUT),
            ("Holidays", images / "holidays", ["--no-exif"], [], None),
        ]
        found = table(bench, "real", variants(bench, "real", real), truths)
        trained = ("classification", "arcface", "triplet", "ap", "classification, triplet")
        best = max(trained,
                   key=lambda variant: found[variant, "Paris"][1])
        for title, key in (("Paris", "real_gain_paris"), ("Holidays", "real_gain_other")):
            apart = found[best, title][2]
            last[key] = interval(apart)
    last["memory_ratio_64_over_1"] = round(memory(bench, photos, made["off the shelf"]), 3)
    apart, ratio = beside_torch(bench, photos, made["off the shelf"], a.torch)
    last |= {"gradient_apart": apart, "iterations_ratio_pytorch": round(ratio, 3)}
    last["processor"] = processor.name()
    say()
    say(json.dumps(last))


if __name__ == "__main__":
    main()
