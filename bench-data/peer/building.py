"""Ten million vectors: training, adding and what comes of it, beside FAISS: `./bench build`.

Both train nlist 16,384, m = 16 on the same rows and then put all vectors in lists and encode them,
on all cores. FAISS trains once, for many minutes; what it trained and its time are kept. It adds
from arrays in memory: in each round with an OpenBLAS that was told which processor it runs on
(faiss_peer.py), and in the first also as its wheel comes. Ocelli's time is that of `ocelli build`,
with more in it: reading and proving the part, writing and syncing the shards.

Then: the stages of a build, each beside its floor (floors.py); recall of both indexes on the same
queries; the memory of a build under three budgets; the time of `ocelli add` of one more hundredth
beside that of the build.

The last line is one JSON object. Ratios are Ocelli's over FAISS's (below 1: faster).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import clock
import faiss_peer
import floors
import processor
import spent
import vecs
from datasets import made, recall, source
from processes import Worker, run, say

ROWS, QUERIES = 10_000_000, 2000
NLIST, M = 16_384, 16
# Rows for each list that k-means looks at: with FAISS's 256 it takes hours.
ROWS_PER_LIST = 64
NPROBES, K = (4, 16, 64), 100
# Rows that FAISS is given at a time.
BLOCK = 500_000
ROUNDS = 5
BUDGETS_GIB = (1, 4, 12)
CODES = f"IVF{NLIST},PQ{M}np"


def peer(base, kept, out):
    """FAISS in this process: trains unless that is done, and adds everything."""
    import faiss

    x = vecs.mapped(base / "base.fvecs")
    trained, about = Path(f"{kept}.trained"), Path(f"{kept}.json")
    if not about.exists():
        index = faiss.index_factory(x.shape[1], CODES)
        sample = np.ascontiguousarray(x[: ROWS_PER_LIST * NLIST])
        start = clock.now()
        index.train(sample)
        seconds = clock.now() - start
        faiss.write_index(index, str(trained))
        about.write_text(json.dumps({"train_s": seconds, "rows": len(sample)}))
    index = faiss.read_index(str(trained))
    add = 0.0
    for at in range(0, len(x), BLOCK):
        block = np.ascontiguousarray(x[at : at + BLOCK])
        start = clock.now()
        index.add(block)
        add += clock.now() - start
    queries = vecs.read(base / "query.fvecs", np.float32)
    truth = vecs.read(base / "groundtruth.ivecs", np.int32)
    recalls = {}
    for nprobe in NPROBES:
        index.nprobe = nprobe
        recalls[str(nprobe)] = recall(index.search(queries, K)[1], truth)
    result = {"add_s": add, "recall": recalls, "version": faiss.__version__}
    Path(out).write_text(json.dumps({**result, **json.loads(about.read_text())}))


def theirs(base, kept, threads, way, scratch):
    out = scratch / "peer.json"
    env = faiss_peer.environment(threads, faiss_peer.WAYS[way])
    command = [sys.executable, __file__, "--clock", clock_kind(), "--peer", base, kept, out]
    if subprocess.run(command, env=env).returncode != 0:
        sys.exit("bench: FAISS failed")
    return json.loads(out.read_text())


def clock_kind():
    return "cpu" if clock.is_cpu() else "wall"


class Measured:
    """A command of Ocelli: what it reported, its seconds and its largest memory."""

    def __init__(self, program, *args):
        took = spent.run(program, *args, "--format", "json")
        if took.code != 0:
            sys.exit(f"bench: ocelli {args[0]} failed")
        self.report = json.loads(took.printed)
        self.seconds = took.cpu_s if clock.is_cpu() else took.wall_s
        self.peak_bytes = took.peak_bytes


def part_of(a, base, folder, name, rows):
    """A part of these rows of the base, made once. The vectors are whole numbers of a byte."""
    part = folder / f"{name}.part"
    if not part.exists():
        vectors = folder / f"{name}.u8bin"
        some = vecs.mapped(base / "base.fvecs")[slice(*rows)]
        with open(vectors, "wb") as out:
            np.array(some.shape, np.uint32).tofile(out)
            for at in range(0, len(some), BLOCK):
                some[at : at + BLOCK].astype(np.uint8).tofile(out)
        run(a.ocelli, "import", "vectors", vectors, "--spec", "foreign:sift", "--out", part)
        vectors.unlink()
    return part


def recalls_of(a, index, base, scratch):
    truth = vecs.read(base / "groundtruth.ivecs", np.int32)
    worker = Worker(a.worker, index, base / "query.fvecs")
    found = {}
    for nprobe in NPROBES:
        worker.ask("ids", nprobe, K, scratch / "ids.ivecs")
        found[str(nprobe)] = recall(vecs.read(scratch / "ids.ivecs", np.int32), truth)
    worker.close()
    return found


def trained(a, parts, model):
    flags = ("--nlist", NLIST, "--m", M, "--max-rows", ROWS_PER_LIST * NLIST)
    return Measured(a.ocelli, "train", *parts, *flags, "--out", model)


def budgets(a, parts, model, scratch):
    """Largest memory of a build over its budget, for each budget."""
    over = {}
    for gib in BUDGETS_GIB:
        index = scratch / f"budget-{gib}"
        flags = ("--model", model, "--out", index, "--memory-budget", f"{gib}GiB")
        built = Measured(a.ocelli, "build", *parts, *flags)
        shutil.rmtree(index)
        over[gib] = built.peak_bytes / (gib << 30)
        say(
            f"  budget {gib:>2} GiB: {built.peak_bytes / 2**30:.2f} GiB at most "
            f"({over[gib]:.2f} of it), {built.seconds:.1f} s"
        )
    return over


def added(a, base, parts, model, scratch):
    """Seconds of adding the last hundredth over those of building the rest."""
    rest, more = parts
    index = scratch / "added"
    built = Measured(a.ocelli, "build", rest, "--model", model, "--out", index)
    adding = Measured(a.ocelli, "add", index, more)
    found = recalls_of(a, index, base, scratch)
    shutil.rmtree(index)
    say(f"  adding 1 %: {adding.seconds:.1f} s, building the rest {built.seconds:.1f} s")
    return adding.seconds / built.seconds, found


def stages(report):
    return ", ".join(f"{name} {s:.1f} s" for name, s in report["stage_seconds"].items())


def stage_table(built, parts, base, threads, folder):
    """The stages of a build, each beside its floor."""
    d = vecs.mapped(base / "base.fvecs").shape[1]
    part_bytes = sum(part.stat().st_size for part in parts)
    work = floors.Work(built.report["rows"], d, NLIST, M, part_bytes, built.report["bytes"])
    rates = floors.measured(folder)
    for line in floors.table(built.report, work, rates, threads):
        say(f"  {line}")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--peer", nargs=3, metavar=("VECTORS", "KEPT", "OUT"), help=argparse.SUPPRESS)
    p.add_argument("--worker", help="executable of the bench `search` of ocelli-index")
    p.add_argument("--ocelli", help="the ocelli command")
    p.add_argument("--out", type=Path, help="where data are kept")
    p.add_argument("--rounds", type=int, default=ROUNDS)
    clock.add_argument(p)
    a = p.parse_args()
    clock.choose(a.clock)
    if a.peer:
        return peer(Path(a.peer[0]), a.peer[1], a.peer[2])
    name, how = source()
    base = made(a.out, f"{name}-10m", *how, "--base", ROWS, "--queries", QUERIES)
    folder = a.out / f"{name}-10m-build"
    folder.mkdir(exist_ok=True)
    threads = len(os.sched_getaffinity(0))
    rows = len(vecs.mapped(base / "base.fvecs"))
    cut = rows - rows // 100
    parts = [
        part_of(a, base, folder, "first-99-percent", (0, cut)),
        part_of(a, base, folder, "last-percent", (cut, rows)),
    ]
    say(
        f"== {rows:,} vectors, {CODES}, {threads} threads each, {a.clock} time, on "
        f"{processor.name()}"
    )
    kept = folder / f"faiss-{CODES.replace(',', '_')}"
    ways = [way for way in ("tuned", "usual") if way in faiss_peer.ways()]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        scratch = Path(scratch)
        model = scratch / "model"
        training = trained(a, parts, model)
        found = {"ocelli": [], **{way: [] for way in ways}}
        index = scratch / "index"
        for round_ in range(a.rounds):
            shutil.rmtree(index, ignore_errors=True)
            built = Measured(a.ocelli, "build", *parts, "--model", model, "--out", index)
            found["ocelli"].append(built)
            say(f"  Ocelli builds in {built.seconds:.1f} s ({stages(built.report)})")
            # Its wheel as it comes takes minutes, and is for comparison only.
            for way in ways if round_ == 0 else ways[:1]:
                found[way].append(theirs(base, kept, threads, way, scratch))
                say(f"  FAISS, {way}: adds in {found[way][-1]['add_s']:.1f} s")
        mine = statistics.median(built.seconds for built in found["ocelli"])
        middle = sorted(found["ocelli"], key=lambda built: built.seconds)[a.rounds // 2]
        stage_table(middle, parts, base, threads, folder)
        recalls = recalls_of(a, index, base, scratch)
        report = found["ocelli"][-1].report
        shutil.rmtree(index)
        over = budgets(a, parts, model, scratch)
        share, after_add = added(a, base, parts, model, scratch)
    theirs_s = {way: statistics.median(f["add_s"] for f in found[way]) for way in ways}
    first = found[ways[0]][0]
    delta = {n: recalls[n] - first["recall"][n] for n in recalls}
    for n in recalls:
        say(
            f"  recall10@10 at nprobe {n:<3} Ocelli {recalls[n]:.4f}, FAISS "
            f"{first['recall'][n]:.4f}, after adding 1 % {after_add[n]:.4f}"
        )
    for way in ways:
        its = theirs_s[way]
        say(f"  add: Ocelli {mine:.1f} s, FAISS {way} {its:.1f} s: {mine / its:.3f}")
    say(f"  train: Ocelli {training.seconds:.1f} s, FAISS {first['train_s']:.1f} s, once")
    say()
    say(
        json.dumps(
            {
                "processor": processor.name(),
                "clock": a.clock,
                "add_time_ratio_10m": round(mine / theirs_s[ways[0]], 3),
                "add_time_ratio_10m_usual_blas": round(mine / theirs_s[ways[-1]], 3),
                "train_time_ratio": round(training.seconds / first["train_s"], 3),
                "recall_delta": round(min(delta.values()), 4),
                "recall_delta_after_add": round(min(after_add[n] - recalls[n] for n in recalls), 4),
                "peak_over_budget": round(max(over.values()), 3),
                "bytes_per_vector": round(report["bytes_per_image"], 2),
                "add_1pct_cost_share": round(share, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
