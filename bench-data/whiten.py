#!/usr/bin/env python3
"""mAP with a whitening that is learned on few photos: on the photos that are searched, and on
others.

Every photo's region vectors are encoded once, in a fixed random order and in parts of 20 photos. A
draw of n photos is a run of such parts; draws of one size do not overlap. Whitening, pooling and
evaluation are done by Ocelli's commands. Needs OCELLI_DATA (default ../shared/data).

    bench-data/whiten.py --ocelli target/release/ocelli --work target/whiten [--draws 3]
"""

import argparse
import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = 20
NETWORK = "--form v1 --input caffe-bgr --bn-eps 1.001e-5 --sizes 448"
SIZES = (20, 40, 80, 160, 320, 640, 1280, 2720)
# What is whitened how: the default, and the published form at several powers.
RULES = {
    "default": [],
    "all, power 1": ["--covariance", "all", "--dim", "256"],
    "all, power .5": ["--covariance", "all", "--dim", "256", "--power", "0.5"],
}


def labels(images, name):
    """Label by key of a set's photos."""
    if name == "paris":
        truth = json.loads((images / "paris322" / "groundtruth.json").read_text())["folder_label"]
        files = [f for folder in ("paris124", "paris322") for f in (images / folder).glob("*.jpg")]
        return {f: truth[f.stem] for f in files}
    if name == "landmarks":
        lines = (images / name / "train.jsonl").read_text().splitlines()
        return {images / name / x["path"]: x["class"] for x in map(json.loads, lines)}
    number = {"holidays": 100, "ukbench": 4}[name]
    return {f: str(int(re.sub(r"\D", "", f.stem)) // number) for f in (images / name).glob("*.jpg")}


class Set:
    """A set's photos, encoded to region vectors in parts."""

    def __init__(self, args, images, name):
        self.args, self.name, self.work = args, name, args.work / name
        self.work.mkdir(parents=True, exist_ok=True)
        found = {
            str(f.relative_to(images)): (f, label) for f, label in labels(images, name).items()
        }
        groups = {}
        for key in sorted(found):
            # Paris has few places: its photos are drawn one by one, those of other sets by whole
            # groups.
            groups.setdefault(key if name == "paris" else found[key][1], []).append(key)
        order = sorted(groups)
        random.Random(1).shuffle(order)
        self.keys = [key for group in order for key in groups[group]]
        truth = {"folder_label": {key: found[key][1] for key in self.keys}}
        self.truth = self.work / "truth.json"
        self.truth.write_text(json.dumps(truth))
        listed, parts = self.work / "photos.jsonl", self.work / "regions"
        listed.write_text(
            "".join(json.dumps({"path": str(found[k][0]), "key": k}) + "\n" for k in self.keys)
        )
        weights = args.data / "weights" / "resnet50_v1_conv1-conv4.safetensors"
        args.ocelli_run(
            "encode",
            "--list",
            listed,
            "--weights",
            weights,
            *shlex.split(NETWORK),
            "--workers",
            args.workers,
            "--output",
            "regions",
            "--part-images",
            PHOTOS,
            "--out",
            parts,
            "--log",
            "warn",
        )
        self.parts = sorted(parts.glob("*.part"))

    def draws(self, n):
        """Runs of parts of about n photos; all if there are no more."""
        size = n // PHOTOS
        if size >= len(self.parts):
            return [self.parts]
        starts = range(0, len(self.parts) - size + 1, size)
        return [self.parts[s : s + size] for s in starts][: self.args.draws]

    def judge(self, parts, whitening):
        """Leave-one-out mAP of the photos in `parts`."""
        out = []
        for part in parts:
            pooled = self.work / f"pooled-{part.stem}.part"
            self.args.ocelli_run(
                "encode",
                "--regions",
                part,
                *(["--whitening", whitening] if whitening else []),
                "--out",
                pooled,
                "--log",
                "warn",
            )
            out.append(pooled)
        found = self.args.ocelli_run(
            "eval",
            "retrieval",
            self.truth,
            "--setup",
            "leave-one-out",
            "--descriptors",
            *out,
            "--format",
            "json",
        )
        [setup] = json.loads(found)["setups"]
        return setup["map"]


def spread(values):
    mean = sum(values) / len(values)
    return (
        f"{mean:+.3f} ({min(values):+.3f} to {max(values):+.3f})"
        if len(values) > 1
        else f"{mean:+.3f}"
    )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--ocelli", type=Path, default=ROOT / "target" / "release" / "ocelli")
    p.add_argument(
        "--work", type=Path, default=ROOT / "target" / "whiten", help="where everything is written"
    )
    p.add_argument("--draws", type=int, default=3, help="draws of one size, at most")
    p.add_argument("--workers", default="0", help="threads that encode")
    p.add_argument("--sets", nargs="+", default=["paris", "holidays", "landmarks"])
    p.add_argument(
        "--learn-on", nargs="+", help="of --sets, those that are learned on (default: all)"
    )
    p.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="photos, multiples of 20")
    args = p.parse_args()
    args.data = Path(os.environ.get("OCELLI_DATA") or ROOT / ".." / "shared" / "data").resolve()
    images = args.data / "images"
    if not images.is_dir():
        sys.exit(f"skipped: {images} is not there (OCELLI_DATA)")

    def ocelli_run(*words):
        done = subprocess.run(
            [str(args.ocelli), *map(str, words)], stdout=subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            sys.exit(f"{shlex.join(map(str, words))} ended with exit code {done.returncode}")
        return done.stdout

    args.ocelli_run = ocelli_run
    sets = {name: Set(args, images, name) for name in args.sets}
    # The photos that a whitening of other photos is judged on.
    other = {
        name: sets[next(o for o in sets if o != name)]
        for name in args.learn_on or args.sets
        if len(sets) > 1
    }
    other_none = {name: o.judge(o.parts, None) for name, o in other.items()}
    print(
        "| learned on | photos | draws | no whitening | "
        + " | ".join(f"{rule}: own | other" for rule in RULES)
        + " |"
    )
    print("|---" * (4 + 2 * len(RULES)) + "|")
    for name, photos in [(name, sets[name]) for name in args.learn_on or args.sets]:
        for n in [n for n in args.sizes if n < len(photos.keys)] + [len(photos.keys)]:
            draws = photos.draws(n)
            none = [photos.judge(draw, None) for draw in draws]
            cells = []
            for flags in RULES.values():
                own, others = [], []
                for draw, base in zip(draws, none):
                    whitening = photos.work / "some.whitening"
                    learned = json.loads(
                        ocelli_run("whiten", *draw, *flags, "--out", whitening, "--format", "json")
                    )
                    own.append(photos.judge(draw, whitening) - base)
                    if (
                        name in other and not others
                    ):  # One draw: judging all of another set takes long.
                        others.append(
                            other[name].judge(other[name].parts, whitening) - other_none[name]
                        )
                cells += [spread(own), spread(others) if others else "-"]
            mean = sum(none) / len(none)
            print(
                f"| {name} | {n} | {len(draws)} | {mean:.3f} | " + " | ".join(cells) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
