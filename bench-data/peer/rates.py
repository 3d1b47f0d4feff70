"""The rates of the cost model, measured on this machine: what `./bench rates` runs.

`ocelli plan estimate` multiplies what the code does by rates (indexer/src/lifecycle/cost/rates.rs,
docs/scale.md). This measures them again: trainings and encodings of a million generated vectors
with several nlist and m, and what `./bench scale 1000000` and `./bench scale 10000000` left: their
tasks and their indexes. The machine must have nothing else to do.

The last line is one JSON object with the rates, in nanoseconds of one core.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np

import processor
from near_groups import MIN_NLIST, met
from processes import Worker, say
from scale import DIM, NPROBES, Steps, K, M, QUERIES, nlist_for, arguments

KSUB, ITERATIONS = 256, 25
TRAINING_ROWS, ROWS = 1 << 20, 500_000
# Centroids near a row's own, and iterations that they serve: kmeans/near.rs.
NEAR, SERVE = 256, 4
SIZES = (1_000_000, 10_000_000)
# Memory that the processor's table of pages covers about as it covers an index of ten million
# rows, memory that it does not, and a piece of a list.
NEAR_BYTES, FAR_BYTES, PIECE_BYTES = 300 << 20, 3 << 30, 9216
# A model whose queries find their lists by groups: nlist, m, iterations.
GROUPED = (65_536, M, 1)


def printed(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: failed: {' '.join(map(str, command))}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def solved(rows, measured):
    """Least squares of the relative errors; no rate is below 0."""
    rows, measured = np.array(rows, float), np.array(measured, float)
    rows /= measured[:, None]
    used = list(range(rows.shape[1]))
    while True:
        found = np.linalg.lstsq(rows[:, used], np.ones(len(measured)), rcond=None)[0]
        if found.min() >= 0:
            rates = np.zeros(rows.shape[1])
            rates[used] = found
            return rates
        used.pop(int(found.argmin()))


class Fit:
    """What units of work took, to be solved for the time of one of each."""

    def __init__(self):
        self.rows, self.measured = [], []

    def add(self, units, ns):
        self.rows.append(units)
        self.measured.append(ns)

    def solved(self):
        return solved(self.rows, self.measured)


class Runs:
    def __init__(self, a, cores):
        self.a, self.cores, self.folder = a, cores, a.out / "rates"
        self.folder.mkdir(exist_ok=True)
        self.part = self.folder / "train.part"
        if not self.part.exists():
            printed(a.worker, "train", self.part, TRAINING_ROWS)

    def model(self, nlist, m, niter):
        return self.folder / f"model-{nlist}-{m}-{niter}"

    def train(self, nlist, m, niter):
        """Core seconds of each stage."""
        flags = ("--nlist", nlist, "--m", m, "--metric", "l2", "--opq", "false", "--max-rows", 0)
        # A million rows are few for 65,536 lists, and enough to measure.
        flags = (*flags, "--niter", niter, "--force", "--format", "json")
        out = ("--out", self.model(nlist, m, niter))
        stages = printed(self.a.ocelli, "train", self.part, *flags, *out)["stage_seconds"]
        say(f"  train nlist {nlist}, m {m}, {niter} iterations: {stages}")
        return {name: seconds * self.cores for name, seconds in stages.items()}

    def encode_ns(self, nlist, m, niter):
        part = self.folder / "codes.part"
        model = self.model(nlist, m, niter)
        runs = [printed(self.a.worker, "codes", model, part, 0, ROWS) for _ in range(3)]
        part.unlink()
        ns = sorted(run["encoding_s"] for run in runs)[1] / ROWS * 1e9
        say(f"  encode nlist {nlist}, m {m}: {ns:,.0f} ns a row")
        return ns


def training(runs):
    """Rates of k-means. Below 256 rows for each list, both halves are trained, too."""
    n, rates = TRAINING_ROWS, {}
    few, many = 4096, 16_384
    first = {k: runs.train(k, M, 1)["coarse k-means"] for k in (few, many)}
    rates["first"] = solved(
        [[DIM * n * few], [DIM * 2 * n * many]], [first[k] * 1e9 for k in (few, many)]
    )[0]
    later = ITERATIONS - 1
    found = -(-later // SERVE)
    stages = {k: runs.train(k, M, ITERATIONS) for k in (few, many)}
    rows, rest = [], []
    for k, times, halves in ((few, 1, 1), (many, 2, 3)):
        compared = halves * found * k * k * DIM * rates["first"]
        rest.append((stages[k]["coarse k-means"] - first[k]) * 1e9 - compared)
        rows.append([times * n * later * NEAR * DIM, halves * found * k])
    rates["near"], rates["choice"] = np.linalg.solve(rows, rest)
    residuals = KSUB * KSUB
    books = [stages[k]["product quantizer"] * 1e9 for k in (few, many)]
    rates["book"] = np.mean(books) / (residuals * DIM * KSUB * ITERATIONS)
    return rates


def encoding(runs):
    for nlist, m, niter in ((1024, 12, 3), (1024, M, 3), (8192, M, 3), GROUPED):
        runs.train(nlist, m, niter)
    flat = [(1024, 12, 3), (1024, M, 3), (4096, M, ITERATIONS)]
    measured = [runs.encode_ns(*model) for model in flat]
    rows = [[nlist * DIM, KSUB * DIM, KSUB * m] for nlist, m, _ in flat]
    meet, quantize, word = solved(rows, measured)
    grouped = [(8192, M, 3), (16_384, M, ITERATIONS), GROUPED]
    rest = [runs.encode_ns(*model) - KSUB * (DIM * quantize + M * word) for model in grouped]
    rows = [[met(nlist)[0] * DIM, met(nlist)[1]] for nlist, *_ in grouped]
    near, group = solved(rows, rest)
    return {"meet": meet, "meet_near": near, "group": group, "quantize": quantize, "word": word}


def left_by_scale(a, n):
    folder = a.out / f"scale-{n}"
    steps = Steps(folder)
    if steps.done("commit") is None:
        sys.exit(f"bench: first run ./bench scale {n}")
    return steps, folder


def sorting(a):
    seconds = []
    for n in SIZES:
        steps, _ = left_by_scale(a, n)
        seconds.append(sum(steps.done(name)["wall_s"] for name in ("plan", "task-0", "commit")))
    row, task = np.linalg.solve([[n, 1] for n in SIZES], np.array(seconds) * 1e9)
    return {"row": row, "task": task}


def in_four_shards(runs):
    """An index of ten million rows in four shards under the model of 65,536 lists that `encoding`
    trains: its queries find their lists by groups."""
    folder = runs.folder / "four-shards"
    index, parts = folder / "index", folder / "parts"
    if index.exists():
        return index
    parts.mkdir(parents=True, exist_ok=True)
    rows = SIZES[-1] // runs.cores
    model = runs.model(*GROUPED)
    workers = [
        subprocess.Popen(
            [runs.a.worker, "codes", model, parts / f"{i}.part", str(i * rows), str(rows)],
            stdout=subprocess.DEVNULL,
        )
        for i in range(runs.cores)
    ]
    codes = [worker.wait() for worker in workers]
    if any(codes):
        sys.exit("bench: encoding failed")
    flags = ("--model", model, "--out", index, "--shards", 4, "--format", "json")
    printed(runs.a.ocelli, "build", *sorted(parts.iterdir()), *flags)
    shutil.rmtree(parts)
    return index


def searching(runs):
    """Rates of queries, from indexes of one shard and from one in four."""
    a, probing, by_groups, scanning, luts = runs.a, Fit(), Fit(), Fit(), []
    indexes = [(n, nlist_for(n), 1, left_by_scale(a, n)[1] / "index") for n in SIZES]
    indexes.append((SIZES[-1], GROUPED[0], 4, in_four_shards(runs)))
    queries = left_by_scale(a, SIZES[-1])[1] / "queries.fvecs"
    for n, nlist, shards, index in indexes:
        worker = Worker(a.search, index, queries)
        for nprobe in NPROBES:
            worker.ask("single", nprobe, K, QUERIES)
            answers = [worker.ask("single", nprobe, K, QUERIES) for _ in range(5)]
            answer = sorted(answers, key=lambda answer: answer["qps"])[2]
            us = answer["stages_us"]
            say(
                f"  {n:,} rows, {nlist:,} lists, {shards} shards, nprobe {nprobe}: "
                f"{1e6 / answer['qps']:.1f} us, {us}"
            )
            luts.append(us["lut"] * 1e3 / (DIM * KSUB))
            if nlist < MIN_NLIST:
                probing.add([DIM * nlist, nprobe], us["probe"] * 1e3)
            else:
                by_groups.add([DIM * met(nlist, nprobe)[0], nprobe], us["probe"] * 1e3)
            rest = 1e9 / answer["qps"] - (us["lut"] + us["probe"]) * 1e3
            scanning.add([shards, nprobe * shards, answer["scanned"] * M], rest)
        worker.close()
    rates = {"lut": np.median(luts)}
    rates["probe"], rates["pick"] = probing.solved()
    rates["probe_near"], rates["pick_near"] = by_groups.solved()
    rates["shard"], rates["list"], rates["scan"] = scanning.solved()
    near, far = (
        printed(a.worker, "read", size, PIECE_BYTES)["ns_per_byte"]
        for size in (NEAR_BYTES, FAR_BYTES)
    )
    rates["far"] = far - near
    return rates


def main():
    a = arguments(__doc__).parse_args()
    cores = len(os.sched_getaffinity(0))
    say(f"== rates of the cost model, {cores} cores of {processor.name()}")
    runs = Runs(a, cores)
    rates = {**sorting(a), **training(runs), **encoding(runs), **searching(runs)}
    say()
    say(
        json.dumps(
            {"processor": processor.name(), **{n: float(f"{r:.4g}") for n, r in rates.items()}}
        )
    )


if __name__ == "__main__":
    main()
