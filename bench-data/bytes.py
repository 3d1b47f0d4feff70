#!/usr/bin/env python3
"""Ranking by dimension and bytes of a code.

Region vectors of three sets, of distractors and of photos to learn from are encoded once with
ResNet-50. For each dimension a whitening is learned, and for each length of codes a model and an
index of each set; all by Ocelli's commands. Prints mAP of Paris322 (leave one out) and Holidays,
both with 1,100 distractors, and N-S of UKBench. Needs OCELLI_DATA (default ../shared/data).

    bench-data/bytes.py --ocelli target/release/ocelli --work target/bytes [--score cosine]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NETWORK = "--form v1 --input caffe-bgr --bn-eps 1.001e-5 --sizes 448 --no-exif".split()
DISTRACTORS = ("imagenet", "corel")
SETS = {
    "paris322": ("paris322/groundtruth.json", "--setup", "leave-one-out"),
    "holidays": ("holidays",),
    "ukbench": ("ukbench",),
}
FOLDERS = {"paris322": ("paris322", "paris124")}


class Bench:
    """One run of the grid."""

    def __init__(self, args):
        self.args, self.images = args, args.data / "images"
        args.work.mkdir(parents=True, exist_ok=True)

    def run(self, *words):
        """Runs `ocelli` and returns what it printed."""
        words = [str(self.args.ocelli), *map(str, words)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"bytes: {' '.join(words)} failed with {done.returncode}")
        return done.stdout

    def file(self, name, *words):
        """A file of the work folder, which `ocelli WORDS --out FILE` makes once."""
        path = self.args.work / name
        if not path.exists():
            self.run(*words, "--out", path)
        return path

    def regions(self, name):
        """A part of unwhitened region vectors."""
        listed = self.args.work / f"{name}.jsonl"
        folders = FOLDERS.get(name, (name,))
        photos = sorted(p for f in folders for p in (self.images / f).rglob("*.jpg"))
        lines = [{"path": str(p), "key": str(p.relative_to(self.images))} for p in photos]
        listed.write_text("".join(json.dumps(line) + "\n" for line in lines))
        weights = self.args.data / "weights" / "resnet50_v1_conv1-conv4.safetensors"
        network = ("--weights", weights, *NETWORK, "--workers", self.args.workers)
        regions = ("--output", "regions", "--log", "warn")
        return self.file(f"{name}.part", "encode", "--list", listed, *network, *regions)

    def judge(self, name, *words):
        """The figure of a set."""
        truth, *setup = SETS[name]
        command = ["eval", "retrieval", self.images / truth, *setup, *words, "--format", "json"]
        return json.loads(self.run(*command))["setups"][0]["value"]

    def descriptors(self, name, dim, whitening):
        """Descriptors of a set or of distractors."""
        words = ("encode", "--regions", self.regions(name), "--whitening", whitening)
        return self.file(f"{name}-{dim}.part", *words, "--log", "warn")

    def coded(self, name, dim, m, parts, model):
        """The figure of a set by its codes."""
        index = self.args.work / f"{name}-{dim}-{m}.index"
        shutil.rmtree(index, ignore_errors=True)
        self.run("build", *parts, "--model", model, "--out", index)
        value = self.judge(name, "--index", index, "--descriptors", parts[0])
        shutil.rmtree(index)
        return value

    def row(self, dim):
        """The cells of a dimension: exact, then each length."""
        learn = self.regions("landmarks")
        words = ("whiten", learn, "--covariance", "all", "--dim", dim)
        whitening = self.file(f"{dim}.whitening", *words)
        words = ("encode", "--regions", learn, "--whitening", whitening, "--output", "regions")
        white = self.file(f"landmarks-{dim}.white.part", *words, "--log", "warn")
        more = [self.descriptors(name, dim, whitening) for name in DISTRACTORS]
        parts = {
            name: [self.descriptors(name, dim, whitening), *(more if name != "ukbench" else [])]
            for name in SETS
        }
        cells = [[self.judge(name, "--descriptors", *parts[name]) for name in SETS]]
        for m in self.args.bytes:
            score = self.args.score
            words = ("train", white, "--m", m, "--dim", 0, "--fine-codes", score)
            model = self.file(f"{dim}-{m}-{score}.model", *words)
            cells.append([self.coded(name, dim, m, parts[name], model) for name in SETS])
        white.unlink()
        return cells


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--ocelli", type=Path, default=ROOT / "target" / "release" / "ocelli")
    p.add_argument("--work", type=Path, required=True)
    data = os.environ.get("OCELLI_DATA", ROOT.parent / "shared" / "data")
    p.add_argument("--data", type=Path, default=data)
    p.add_argument("--dims", type=int, nargs="+", default=[64, 128, 256, 512])
    p.add_argument("--bytes", type=int, nargs="+", default=[8, 16, 32, 64])
    p.add_argument("--score", choices=["none", "cosine"], default="none")
    p.add_argument("--workers", type=int, default=1)
    args = p.parse_args()
    args.data = Path(args.data).resolve()
    bench = Bench(args)
    print("| dimensions | exact | " + " | ".join(f"{m} bytes" for m in args.bytes) + " |")
    print("|---" * (len(args.bytes) + 2) + "|", flush=True)
    for dim in args.dims:
        cells = [" / ".join(f"{v:.3f}" for v in cell) for cell in bench.row(dim)]
        print(f"| {dim} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
