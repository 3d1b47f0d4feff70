"""Ocelli beside the best of today at equal recall: the second half of `./bench frontier`.

For each recall10@10 wanted (k = 10) and each number of bytes a vector, the fastest point of every
system, for a batch and for single queries, one thread: Ocelli's plain and finer codes; FAISS's PQ
of 8 and 4 bits, RaBitQ in its fast scan, and these with finer codes; ScaNN; turbovec. All with
lists have 2,048, and FAISS's indexes and Ocelli's have the same ones. operating.py says how the
points are found.

Bytes are those of codes and of what stands beside each, without ids and the model. SLACK_BYTES more
are let through, because Ocelli's code has a byte beside it at L2.

On a processor with AVX-512 everything is timed twice: at each system's best level, and at AVX2.
turbovec has no switch for its level, so it is timed at its best only.
"""

import os

import faiss
import numpy as np

import faiss_peer
import operating
import vecs
from operating import K, Index
from peer_process import Process, Searches
from processes import HERE, Worker, environment, say
from refined import trained

RECALLS = (0.80, 0.90, 0.95, 0.98)
BUDGETS = (24, 48, 80, 160)
SLACK_BYTES = 1
QUERIES, SINGLES, WINDOWS = 1000, 500, 5
# Points within this factor of the fastest, roughly timed, are timed in windows.
NEAR = 1.1
PLAIN = (
    "IVF2048,PQ16np",
    "IVF2048,PQ64np",
    "IVF2048,PQ32x4fs",
    "IVF2048,PQ32x4fsr",
    "IVF2048,PQ64x4fs",
    "IVF2048,PQ64x4fsr",
    "IVF2048,PQ128x4fsr",
    "RR,IVF2048,RaBitQfs",
    "RR,IVF2048,RaBitQfs2",
    "RR,IVF2048,RaBitQfs3",
)
# Their candidates are scored again: by a second quantizer of FAISS's own, or by finer codes.
REFINED = (
    "IVF2048,PQ16+32",
    "IVF2048,PQ16+64",
    "IVF2048,PQ32x4fs+PQ32",
    "IVF2048,PQ32x4fsr+PQ32",
    "IVF2048,PQ32x4fs+PQ64",
    "IVF2048,PQ32x4fs+SQ4",
    "IVF2048,PQ16np+SQ8",
    "IVF2048,PQ32x4fs+SQ8",
    "IVF2048,PQ32x4fsr+SQ8",
    "IVF2048,PQ64x4fs+SQ8",
    "IVF2048,PQ64x4fsr+SQ8",
    "RR,IVF2048,RaBitQfs+SQ8",
)
# Indexes of residuals whose tables FAISS makes for all queries and lists at once: gigabytes;
# and the most lists that they are asked for.
LARGE_TABLES, LARGE_TABLES_LISTS = ("x4fsr", "RaBitQfs"), 128
SCANN = ("2", "1", "4+int8", "2+int8")
TURBOVEC = ("2", "4")
REQUIREMENTS = HERE / "requirements-others.txt"


class Ocelli:
    """An index of Ocelli's at a level, asked as the peers are."""

    def __init__(self, program, index, queries, level):
        env = {**os.environ, "OCELLI_SIMD": level or ""}
        if level is None:
            del env["OCELLI_SIMD"]
        self.worker = Worker(program, index, queries, env=env)
        self.level = self.worker.about["simd"]

    def rate(self, kind, effort, k, n):
        lists, _, candidates = effort.partition("*")
        request = (kind, lists, k, candidates or 0, n)
        return self.worker.rate(n, lambda answer: 1e6 / answer["us"], *request)[1]

    def batch(self, effort, k, n=QUERIES):
        return self.rate("batch", effort, k, n)

    def single(self, effort, k, n):
        return {"qps": self.rate("single", effort, k, n)}

    def write_ids(self, effort, k, file):
        lists, _, candidates = effort.partition("*")
        self.worker.ask("ids", lists, k, candidates or 0, file)

    def close(self):
        self.worker.close()


def others_python(out):
    """Python with ScaNN and turbovec in it, made once; None if it cannot be made."""
    what = "the peers ScaNN and turbovec"
    python = environment(out / "others-venv", REQUIREMENTS, what)
    if python is None:
        say("ScaNN and turbovec cannot be installed here: they are not measured")
    return python


def parts(factory):
    """A factory and the factory of its finer codes: FAISS's own `PQ16+32` is one."""
    plain, _, finer = factory.partition("+")
    return [factory] if finer.isdigit() or not finer else [plain, finer]


class Systems:
    """All indexes at one level, and the processes that serve them."""

    def __init__(self, a, folder, queries, indexes, sizes, level, kept, ours):
        self.processes, self.indexes = [], []
        beside = "avx2" if level == "avx2" else "tuned"
        way = beside if beside in faiss_peer.ways() else "usual"
        files = [[trained(folder, part) for part in parts(f)] for f in (*PLAIN, *REFINED)]
        names = [";".join(map(str, of)) for of in files]
        self.add("FAISS", faiss_peer.Faiss(way, queries, names), (*PLAIN, *REFINED), REFINED)
        for kind, size in sizes.items():
            ocelli = self.kept(Ocelli(a.worker, indexes[kind], queries, level))
            label = "16" if kind == "plain" else f"16 + {kind}"
            self.indexes.append(Index("Ocelli", label, ocelli, size, kind != "plain"))
        python = None if a.no_others else others_python(a.out)
        if python:
            scann = (python, HERE / "scann_peer.py", queries, folder, level or "best", *SCANN)
            self.add("ScaNN", Process(*scann), SCANN, [c for c in SCANN if "+" in c])
        if python and level is None:
            turbovec = (python, HERE / "turbovec_peer.py", queries, folder, *TURBOVEC)
            self.add("turbovec", Process(*turbovec), TURBOVEC, (), lists=(1,))
        for index in self.indexes:
            is_ours = index.system == "Ocelli"
            name = f"{index.system} {index.label}"
            index.recalls = ours.setdefault(name, {}) if is_ours else kept.of(name)

    def kept(self, process):
        self.processes.append(process)
        return process

    def add(self, system, process, labels, refined, lists=operating.LISTS):
        self.kept(process)
        for at, label in enumerate(labels):
            size = process.about["bytes"][at]
            few = any(kind in label for kind in LARGE_TABLES)
            grid = [n for n in lists if n <= LARGE_TABLES_LISTS] if few else lists
            index = Index(system, label, Searches(process, at), size, label in refined, grid)
            self.indexes.append(index)

    def close(self):
        for process in self.processes:
            process.close()


def measure(points):
    """Fills the windows of all points, one after the other; the order changes."""
    for window in range(-1, WINDOWS):
        for point in points if window % 2 else points[::-1]:
            point.window(SINGLES)
            if window < 0:  # Once for the caches, not counted.
                point.times = {"batch": [], "single": []}


def describe(point, kind):
    more = f", r {point.candidates}" if point.candidates else ""
    return (
        f"{point.median(kind):9.1f} µs  {point.recall:.4f}  {point.index.bytes:6.1f} B  "
        f"{point.index.label}, nprobe {point.lists}{more}"
    )


def compare(found, wanted):
    """Prints the fastest of each system for one recall; {bytes: {kind: ratio or None}}."""
    ratios = {}
    for budget in BUDGETS:
        ratios[str(budget)] = {}
        for kind in ("batch", "single"):
            best = operating.fastest(found, budget + SLACK_BYTES, kind)
            ours = best.get("Ocelli")
            others = [p for system, p in best.items() if system != "Ocelli"]
            peer = min(others, key=lambda p: p.median(kind), default=None)
            both = ours is not None and peer is not None
            ratio = round(peer.median(kind) / ours.median(kind), 2) if both else None
            ratios[str(budget)][kind] = ratio
            if not best:
                say(f"  recall {wanted:.2f} within {budget} bytes, {kind}: none reaches it")
                continue
            said = f"{ratio:.2f} × the best of the others" if both else "no ratio"
            say(f"  recall {wanted:.2f} within {budget} bytes, {kind}: {said}")
            for system, point in sorted(best.items(), key=lambda of: of[1].median(kind)):
                say(f"    {system:<9}{describe(point, kind)}")
    return ratios


def highest(indexes):
    """Prints the highest recall that was seen of each index."""
    say("  the highest recall seen of each index:")
    for index in sorted(indexes, key=lambda i: (i.system, i.bytes)):
        if index.recalls:
            best = max(index.recalls.values())
            say(f"    {index.system:<9}{index.bytes:6.1f} B  {index.label:<28}{best:.4f}")


def at_level(a, folder, queries, truth, indexes, sizes, level, kept, ours):
    systems = Systems(a, folder, queries, indexes, sizes, level, kept, ours)
    levels = {i.system: i.searches.level for i in systems.indexes}
    said = ", ".join(f"{system} at {at}" for system, at in levels.items())
    say(f"\n== equal recall, k = {K}, {QUERIES:,} queries, one thread each: {said}")
    found = operating.table(systems.indexes, RECALLS, truth, NEAR, kept)
    once = {p.key: p for points in found.values() for p in points}
    measure(list(once.values()))
    highest(systems.indexes)
    say(f"medians of {WINDOWS} windows of the fastest point of each system:")
    ratios = {}
    for wanted, points in found.items():
        ratios[f"{wanted:.2f}"] = compare([once[p.key] for p in points], wanted)
    systems.close()
    return levels, ratios


def both_levels(a, folder, indexes, sizes):
    """Prints the comparison at each level; what the last line of the bench says of it."""
    queries = a.out / "equal-queries.fvecs"
    vecs.write(queries, vecs.read(folder / "query.fvecs", np.float32)[:QUERIES])
    truth = vecs.read(folder / "groundtruth.ivecs", np.int32)[:QUERIES]
    stamp = f"{QUERIES} queries, k {K}, FAISS {faiss.__version__}, {REQUIREMENTS.read_text()}"
    kept = operating.Recalls(folder / "frontier" / "recalls.json", stamp)
    result, ours = {"levels": {}, "ratios": {}}, {}
    for level in (None, "avx2") if "avx2" in faiss_peer.ways() else (None,):
        name = level or "best"
        result["levels"][name], result["ratios"][name] = at_level(
            a, folder, queries, truth, indexes, sizes, level, kept, ours
        )
    return result
