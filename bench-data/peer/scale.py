"""A hundred million vectors of 96 dimensions on this machine: what `./bench scale` runs.

No peer takes part. The vectors are made as they are needed (index/benches/scale.rs) and never
stored as floats: processes of one thread each encode ranges of them into parts of codes; `ocelli
plan`, `build` and `commit` make the index. Exact neighbours of the queries come from one pass over
all vectors.

Every step leaves a file that says what it took; a run that was stopped goes on behind the last one.

The last line is one JSON object. `build_s` is what training, encoding and building took by the
clock, with the time that it takes to make the vectors. `prediction_error` is how far that is from
what `ocelli plan estimate` says, which knows nothing of made vectors: the time without making them
over the predicted one, minus 1.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import processor
import spent
from processes import Worker, say

DIM, M, K = 96, 24, 100
QUERIES = 1000
ROWS_PER_LIST = 64
# Vectors of a part, and of one pass for exact neighbours.
PART_ROWS, PASS_ROWS = 1_000_000, 5_000_000
NPROBES = (16, 64, 256)
# Lists from which on rows meet the centroids of near groups only. What that loses is measured on
# the vectors of the first pass.
GROUPED_NLIST = 8192
BUDGET_GIB = 4
SMALL_BYTES = 512 << 20
SHARD_ROWS = 25_000_000


def nlist_for(n):
    """65,536 lists for a hundred million, and as many for each vector of fewer."""
    return 1 << max(10, round(np.log2(65_536 * (n / 1e8) ** 0.5)))


class Steps:
    """Steps that are done once; each leaves its seconds and its largest memory in a file."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def done(self, name):
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def keep(self, name, result):
        path = self.folder / f"{name}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(result))
        os.replace(temporary, path)
        return result

    def run(self, name, *command):
        """Runs a command unless that was done; returns what it took and what it printed last."""
        found = self.done(name)
        if found is None:
            took = spent.run(*command)
            if took.code != 0:
                sys.exit(f"bench: {name} failed: {' '.join(str(c) for c in command)}")
            found = self.keep(
                name,
                {
                    "wall_s": took.wall_s,
                    "cpu_s": took.cpu_s,
                    "peak_bytes": took.peak_bytes,
                    "printed": took.printed.strip().splitlines()[-1:],
                },
            )
            say(f"  {name}: {found['wall_s']:.1f} s, {found['peak_bytes'] / 2**30:.2f} GiB")
        return found

    def side_by_side(self, name, tasks):
        """Runs (name, command) tasks on all cores, one process each; the wall time is kept too."""
        found = self.done(name)
        if found is None:
            start = time.perf_counter()
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                took = list(pool.map(lambda task: self.run(task[0], *task[1]), tasks))
            found = self.keep(
                name,
                {
                    # Tasks of an earlier run count as what they took then.
                    "wall_s": max(
                        time.perf_counter() - start,
                        sum(t["wall_s"] for t in took) / len(os.sched_getaffinity(0)),
                    ),
                    "cpu_s": sum(t["cpu_s"] for t in took),
                    "peak_bytes": max(t["peak_bytes"] for t in took) * len(os.sched_getaffinity(0)),
                    "printed": [line for t in took for line in t["printed"]],
                },
            )
            say(f"  {name}: {found['wall_s']:.1f} s, {found['cpu_s']:.1f} s of processors")
        return found


def ranges(n, step):
    return [(first, min(step, n - first)) for first in range(0, n, step)]


def built(a, steps, n):
    """The index, and what each step of making it took."""
    folder, nlist = steps.folder, nlist_for(n)
    model, index = folder / "model", folder / "index"
    training = folder / "train.part"
    took = {}
    rows = min(ROWS_PER_LIST * nlist, n)
    took["sample"] = steps.run("sample", a.worker, "train", training, rows)
    flags = ("--nlist", nlist, "--m", M, "--metric", "l2", "--opq", "false", "--max-rows", 0)
    flags = (*flags, "--format", "json")
    took["train"] = steps.run("train", a.ocelli, "train", training, *flags, "--out", model)
    training.unlink(missing_ok=True)
    parts = folder / "codes"
    parts.mkdir(exist_ok=True)
    all_parts = [parts / f"{i:04}.part" for i in range(len(ranges(n, PART_ROWS)))]
    tasks = [
        (f"codes-{i:04}", (a.worker, "codes", model, part, first, rows))
        for i, (part, (first, rows)) in enumerate(zip(all_parts, ranges(n, PART_ROWS)))
    ]
    took["encode"] = steps.side_by_side("encode", tasks)
    plan = folder / "plan"
    split = ("--rows-per-shard", SHARD_ROWS, "--memory-budget", f"{BUDGET_GIB}GiB")
    flags = ("--model", model, "--index", index, *split, "--format", "json", "--out", plan)
    took["plan"] = steps.run("plan", a.ocelli, "plan", "build", *all_parts, *flags)
    planned = json.loads(took["plan"]["printed"][0])
    for task in range(planned["tasks"]):
        command = (a.ocelli, "build", "--plan", plan, "--task", task, "--format", "json")
        took[f"task {task}"] = steps.run(f"task-{task}", *command)
    took["commit"] = steps.run("commit", a.ocelli, "commit", "--plan", plan)
    shutil.rmtree(parts, ignore_errors=True)
    return index, took, planned


def predicted(a, n, cores):
    """What `ocelli plan estimate` says of all this."""
    nlist = nlist_for(n)
    shape = ("--rows", n, "--dim", DIM, "--m", M, "--nlist", nlist, "--cores", cores)
    split = ("--shards", -(-n // SHARD_ROWS), "--memory-budget", f"{BUDGET_GIB}GiB")
    asked = ("--training-rows", min(ROWS_PER_LIST * nlist, n), "--format", "json")
    probed = ("--nprobe", ",".join(map(str, NPROBES)))
    command = (a.ocelli, "plan", "estimate", *shape, *split, *asked, *probed)
    words = [str(word) for word in command]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


def measured(took, tasks, cores):
    """Seconds by the clock of training, encoding and sorting, without making the vectors."""
    making = [json.loads(line)["making_s"] for line in took["encode"]["printed"]]
    return {
        "train": took["train"]["wall_s"],
        "encode": took["encode"]["wall_s"] - sum(making) / cores,
        "sort": sum(took[name]["wall_s"] for name in ["plan", *tasks, "commit"]),
    }


def exact(a, steps, n, queries):
    """Ids (queries, K) of the exact neighbours."""
    passes = ranges(n, PASS_ROWS)
    files = [steps.folder / f"nearest-{i:03}.jsonl" for i in range(len(passes))]
    tasks = [
        (f"pass-{i:03}", (a.worker, "nearest", queries, K, first, rows, file))
        for i, (file, (first, rows)) in enumerate(zip(files, passes))
    ]
    steps.side_by_side("exact", tasks)
    return neighbours(files)


def neighbours(files):
    """Ids (queries, K) of the nearest in files of passes."""
    found = [[] for _ in range(QUERIES)]
    for file in files:
        for query, line in enumerate(file.read_text().splitlines()):
            found[query] += [(distance, number) for number, distance in json.loads(line)]
    return np.array([[number for _, number in sorted(f)[:K]] for f in found], np.int64)


def near_groups_lose(a, steps, queries):
    """Recall10@10 by nprobe that is lost where rows meet near centroids, not all of them: two
    indexes of the vectors of the first pass under the model of all."""
    model, truth = steps.folder / "model", neighbours([steps.folder / "nearest-000.jsonl"])
    cores = len(os.sched_getaffinity(0))
    recalls = {}
    for way in ("codes", "exact-codes"):
        index = steps.folder / f"loss-{way}"
        pieces = [
            (steps.folder / f"loss-{way}-{i}.part", first, rows)
            for i, (first, rows) in enumerate(ranges(PASS_ROWS, -(-PASS_ROWS // cores)))
        ]
        tasks = [(f"loss-{part.stem}", (a.worker, way, model, part, *r)) for part, *r in pieces]
        steps.side_by_side(f"loss-{way}-encode", tasks)
        parts = [part for part, *_ in pieces]
        steps.run(f"loss-{way}-build", a.ocelli, "build", *parts, "--model", model, "--out", index)
        for part in parts:
            part.unlink(missing_ok=True)
        worker = Worker(a.search, index, queries)
        for nprobe in NPROBES:
            ids = found_by(worker, nprobe, steps.folder / "ids.ivecs")[:, :10]
            hits = (ids[:, :, None] == truth[:, None, :10]).any(1)
            recalls[way, nprobe] = float(hits.mean())
        worker.close()
    return {n: recalls["exact-codes", n] - recalls["codes", n] for n in NPROBES}


def found_by(worker, nprobe, scratch):
    worker.ask("ids", nprobe, K, scratch)
    words = np.fromfile(scratch, "<i4")
    return words.reshape(QUERIES, K + 1)[:, 1:]


def rate(worker, nprobe, threads):
    """Queries a second of so many threads together, each of which asks for all in a batch."""
    worker.ask("threads", nprobe, K, threads)
    return sorted(worker.ask("threads", nprobe, K, threads)["qps"] for _ in range(5))[2]


def one_by_one(worker, nprobe):
    """Queries a second of one thread that asks for one after the other, and its stages."""
    answers = [worker.ask("single", nprobe, K, QUERIES) for _ in range(5)]
    return sorted(answers, key=lambda answer: answer["qps"])[2]


def drop(index):
    """Asks the system to forget the pages of the shards."""
    for path in (index / "shards").iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Small:
    """A group of processes that may have so much memory, page cache included, or None where the
    system does not allow it."""

    def __init__(self, limit):
        self.folder = Path("/sys/fs/cgroup/memory/ocelli-bench-scale")
        self.limit_file = "memory.limit_in_bytes"
        if not self.folder.parent.is_dir():
            self.folder, self.limit_file = Path("/sys/fs/cgroup/ocelli-bench-scale"), "memory.max"
        try:
            self.folder.mkdir(exist_ok=True)
            (self.folder / self.limit_file).write_text(str(limit))
            self.works = True
        except OSError as error:
            say(f"  no memory limit here: {error}")
            self.works = False

    def worker(self, *command):
        shell = f'echo $$ > {self.folder / "cgroup.procs"} && exec "$@"'
        return Worker("sh", "-c", shell, "sh", *command)

    def close(self):
        if self.works:
            self.folder.rmdir()


def arguments(about):
    """The arguments that name programs and the place of data."""
    p = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--worker", required=True, help="executable of the bench `scale`")
    p.add_argument("--search", required=True, help="executable of the bench `search`")
    p.add_argument("--ocelli", required=True, help="the ocelli command")
    p.add_argument("--out", type=Path, required=True, help="where data are kept")
    return p


def main():
    p = arguments(__doc__)
    p.add_argument("--rows", type=int, default=100_000_000)
    a = p.parse_args()
    n = a.rows
    steps = Steps(a.out / f"scale-{n}")
    say(
        f"== {n:,} vectors of {DIM} dimensions, nlist {nlist_for(n):,}, m = {M}, "
        f"on {processor.name()}"
    )
    queries = steps.folder / "queries.fvecs"
    steps.run("queries", a.worker, "queries", queries, QUERIES)
    index, took, planned = built(a, steps, n)
    truth = exact(a, steps, n, queries)
    scratch = steps.folder / "ids.ivecs"
    worker = Worker(a.search, index, queries)
    recalls, warm, single = {}, {}, {}
    cores = len(os.sched_getaffinity(0))
    for nprobe in NPROBES:
        ids = found_by(worker, nprobe, scratch)
        first = float((ids == truth[:, :1]).any(1).mean())
        ten = float((ids[:, :10, None] == truth[:, None, :10]).any(1).mean())
        recalls[nprobe], warm[nprobe] = (first, ten), rate(worker, nprobe, cores)
        single[nprobe] = one_by_one(worker, nprobe)
        say(
            f"  nprobe {nprobe:>3}: recall1@100 {first:.4f}, recall10@10 {ten:.4f}, warm: "
            f"{warm[nprobe]:,.0f} queries/s in batches on {cores} cores, "
            f"{single[nprobe]['qps']:,.0f} one by one on one ({single[nprobe]['stages_us']})"
        )
    worker.close()
    lost = None
    if nlist_for(n) >= GROUPED_NLIST and n >= PASS_ROWS:
        lost = near_groups_lose(a, steps, queries)
        for nprobe, loss in lost.items():
            say(f"  nprobe {nprobe:>3}: near groups lose {loss:.4f} of recall10@10")
    rates = {}
    drop(index)
    worker = Worker(a.search, index, queries)
    rates["cold"] = worker.ask("threads", NPROBES[1], K, cores)["qps"]
    worker.close()
    say(f"  page cache dropped, first batch at nprobe {NPROBES[1]}: {rates['cold']:,.0f} queries/s")
    small = Small(SMALL_BYTES)
    if small.works:
        drop(index)
        worker = small.worker(a.search, index, queries)
        # What fits is there after one pass; a second one is measured, since they take minutes.
        worker.ask("threads", NPROBES[1], K, cores)
        rates["small"] = worker.ask("threads", NPROBES[1], K, cores)["qps"]
        worker.close()
        small.close()
        say(f"  within {SMALL_BYTES >> 20} MiB: {rates['small']:,.0f} queries/s")
    guess = predicted(a, n, cores)
    tasks = [f"task {task}" for task in range(planned["tasks"])]
    clock = measured(took, tasks, cores)
    said = {
        "train": guess["train"]["seconds"],
        "encode": guess["build"]["encode_seconds"],
        "sort": guess["build"]["sort_seconds"],
    }
    for name, seconds in clock.items():
        say(f"  {name}: measured {seconds:.1f} s, predicted {said[name]:.1f} s")
    for search in guess["search"]:
        nprobe = search["nprobe"]
        real, said_us = 1e6 / single[nprobe]["qps"], search["core_us"]
        say(f"  nprobe {nprobe}: measured {real:.1f} us a query, predicted {said_us:.1f}")
    error = sum(clock.values()) / guess["seconds"] - 1
    # Making the vectors to train on is no part of it.
    work = {name: step for name, step in took.items() if name != "sample"}
    build_s = sum(step["wall_s"] for step in work.values())
    peak = max(step["peak_bytes"] for step in work.values())
    shards = sum(path.stat().st_size for path in (index / "shards").iterdir())
    say()
    say(
        json.dumps(
            {
                "processor": processor.name(),
                "n": n,
                "build_s": round(build_s, 1),
                "core_s": round(sum(step["cpu_s"] for step in work.values()), 1),
                "peak_gib": round(peak / 2**30, 2),
                "bytes_per_vector": round(shards / n, 2),
                "recall1_at_100": {nprobe: round(r[0], 4) for nprobe, r in recalls.items()},
                "recall10_at_10": {nprobe: round(r[1], 4) for nprobe, r in recalls.items()},
                "recall_lost_to_near_groups": lost and {n: round(x, 4) for n, x in lost.items()},
                "qps_warm": {nprobe: round(q) for nprobe, q in warm.items()},
                "qps_one_by_one": {nprobe: round(q["qps"]) for nprobe, q in single.items()},
                "qps_cold": round(rates["cold"]),
                "qps_512_mib": round(rates["small"]) if "small" in rates else None,
                "prediction_error": round(error, 3),
                "prediction_errors": {
                    name: round(seconds / said[name] - 1, 3) for name, seconds in clock.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
