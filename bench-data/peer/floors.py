"""The floor of each stage of a build: what no program on this machine could be faster than.

A floor is bytes over a bandwidth, or operations over a rate, all measured here for one thread: a
stage's time is processor time summed over threads. What is measured:

- `copy`: bytes read and bytes written a second by copying arrays that no cache holds;
- `float`: multiply-adds a second of a float matrix product, by an OpenBLAS that was told which
  processor it runs on. Instructions for products of 16-bit integers have twice as many lanes, so
  their rate is twice that;
- `sha256`: bytes a second; each byte of a shard goes through it;
- `disk`: bytes a second of writing a file and syncing it, by the wall clock.

Floors are kind to other programs: each byte moves once, each product is one step of the widest
instruction, nothing is checked, and no result is looked at.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import faiss_peer
from near_groups import MIN_ASSIGN_NLIST, met

KSUB = 256
# Bytes of a row while it is sorted: id, list, length of its key; its code comes on top.
ROW_BYTES = 8 + 4 + 4
REPEATS = 5


@dataclass
class Rates:
    copy: float
    float: float
    sha256: float
    disk: float


@dataclass
class Work:
    """A build: of `rows` vectors in parts of so many bytes, to shards of so many."""

    rows: int
    d: int
    nlist: int
    m: int
    part_bytes: int
    shard_bytes: int

    def centroids(self):
        """Centroids that a row meets, those in the middle of groups included."""
        return self.nlist if self.nlist < MIN_ASSIGN_NLIST else met(self.nlist)[0]


def best(work, amount):
    """Amount a second of the fastest of some runs."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return amount / min(seconds)


def measure(folder, scale=1.0):
    """Measures in this process, whose BLAS has one thread."""
    n = int(scale * (256 << 20))
    source, target = np.ones(n, np.uint8), np.zeros(n, np.uint8)
    copy = best(lambda: np.copyto(target, source), 2 * n)
    side = max(64, int(2048 * scale**0.5))
    a, b = np.ones((side, side), np.float32), np.ones((side, side), np.float32)
    products = best(lambda: a @ b, side**3)
    some = source[: n // 4]
    sha256 = best(lambda: hashlib.sha256(some).digest(), len(some))
    with tempfile.NamedTemporaryFile(dir=folder) as file:

        def write():
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            left = memoryview(source)
            while left:
                left = left[os.write(file.fileno(), left[: 1 << 20]) :]
            os.fsync(file.fileno())

        disk = best(write, n)
    return Rates(copy, products, sha256, disk)


def measured(folder, scale=1.0):
    """The rates of one thread of this machine, with files in `folder`."""
    way = faiss_peer.WAYS["tuned"] if "tuned" in faiss_peer.ways() else {}
    command = [sys.executable, __file__, str(folder), "--scale", str(scale)]
    env = faiss_peer.environment(1, way)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return Rates(**json.loads(done.stdout))


def floors(work, rates):
    """Seconds of each stage that has a floor, and how it was made."""
    gb, giga = lambda n: f"{n / 1e9:.2f} GB", lambda n: f"{n / 1e9:,.0f} billion"
    vectors = 4 * work.d * work.rows
    read = work.part_bytes + vectors
    near, products = work.centroids(), 2 * rates.float
    compared = work.rows * near * work.d
    coded = work.rows * KSUB * work.d
    row_bytes = work.rows * (ROW_BYTES + work.m)
    # A row goes into memory, and once more to its place in its list.
    sorting, writing = 4 * row_bytes, row_bytes + work.shard_bytes
    at = f"at {gb(rates.copy)}/s"
    return {
        "read": (
            read / rates.copy,
            f"{gb(work.part_bytes)} of the part to {gb(vectors)} of floats, {at}",
        ),
        "assign": (
            compared / products,
            f"{work.rows:,} rows x {near:,} centroids x {work.d} products of integers, "
            f"{giga(products)}/s (twice the floats')",
        ),
        "encode": (
            coded / rates.float,
            f"{work.rows:,} rows x {KSUB} codewords x {work.d} products of floats, "
            f"{giga(rates.float)}/s",
        ),
        "sort": (sorting / rates.copy, f"{gb(row_bytes)} read and written twice, {at}"),
        "write": (
            writing / rates.copy + work.shard_bytes / rates.sha256,
            f"{gb(row_bytes)} to {gb(work.shard_bytes)} of shards {at}, and these through "
            f"SHA-256 at {gb(rates.sha256)}/s",
        ),
    }


def table(report, work, rates, threads):
    """Lines of text: each stage, its floor, and what is left of the threads' time."""
    least = floors(work, rates)
    yield f"{'stage':<8} {'s of processor':>14} {'floor':>7} {'times':>6}"
    for stage, seconds in report["stage_seconds"].items():
        if stage in least:
            floor, how = least[stage]
            yield f"{stage:<8} {seconds:14.2f} {floor:7.2f} {seconds / floor:6.1f}  {how}"
        else:
            yield f"{stage:<8} {seconds:14.2f}"
    worked = sum(report["stage_seconds"].values())
    floor = sum(floor for floor, _ in least.values())
    yield f"{'all':<8} {worked:14.2f} {floor:7.2f} {worked / floor:6.1f}"
    there = threads * report["seconds"]
    yield (
        f"{threads} threads for {report['seconds']:.1f} s: {there - worked:.1f} s of {there:.1f} "
        f"are in no stage; the disk writes and syncs {work.shard_bytes / 1e9:.2f} GB in "
        f"{work.shard_bytes / rates.disk:.1f} s at {rates.disk / 1e9:.2f} GB/s"
    )


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="Measures the rates of one thread.")
    p.add_argument("folder", type=Path)
    p.add_argument("--scale", type=float, default=1.0)
    arguments = p.parse_args()
    print(json.dumps(asdict(measure(arguments.folder, arguments.scale))))
