"""Ocelli beside FAISS, on the same codes: what `./bench search` runs.

FAISS trains `IVF2048,PQ16np` and Ocelli imports that file, so both scan the same codes of the same
lists. Each point is measured in windows in which all systems take turns, one thread each: a batch
(all queries in one call) and single queries (the first 1,000, one call each).

**Levels.** On a processor with AVX-512 everything is measured twice in one run: Ocelli at its best
level beside FAISS as its wheel chooses, and Ocelli at avx2 beside FAISS's own AVX2 build. A ratio
compares rows of one level only. The OpenBLAS of FAISS's wheel takes recent processors of AMD for
much older ones; so at the best level there is one more row of FAISS, whose OpenBLAS was told
better. faiss_peer.py says how each is chosen.

**Equal recall.** FAISS's fastest scans are those of 4-bit codes: `PQ32x4fs`, and `PQ32x4fsr` of
residuals, with as many bytes a vector. Each is asked with the fewest lists that reach a recall, and
Ocelli with the fewest that reach as much as was found there. Where either does not, there is no
ratio.

Ocelli's times are taken inside its worker, without Python. FAISS is called through its Python
binding, so the time of an empty call is subtracted from its single queries: the same `search`, one
query, k and dimension as there, of a flat index that holds no vector. That includes all that the
binding does (checks, two result arrays, the call) and a little that is FAISS's own work (filling
those arrays with "nothing found"), so a little too much is subtracted rather than too little.

Three tables: 1 M vectors by L2; the same at unit length by inner product; 10 M by L2 with 16,384
lists, whose codes come from memory and not from a cache. k = 100; k = 10 and 1,000 are reported at
one point.

The last line is one JSON object: ratios of the medians.
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

from cores import bind_to_one

if __name__ == "__main__":
    bind_to_one()

import faiss  # noqa: E402
import numpy as np  # noqa: E402

import clock  # noqa: E402
import faiss_peer  # noqa: E402
import processor  # noqa: E402
import vecs  # noqa: E402
from datasets import least, made, recall, source, vectors  # noqa: E402
from peer_process import Searches  # noqa: E402
from processes import HERE, Worker, run, say  # noqa: E402

SAME_CODES = "IVF2048,PQ16np"
# Indexes of as many bytes, with 4-bit codes, and the recall at which each is compared.
SAME_BYTES = {"IVF2048,PQ32x4fs": 0.46, "IVF2048,PQ32x4fsr": 0.50}
LARGE_CODES = "IVF16384,PQ16np"
NPROBES = (4, 16, 64)
# At four times as many, FAISS 1.15 has tables of residuals for 10,000 queries that its 32-bit
# offsets do not reach, and it crashes.
MOST_LISTS = 128
K = 100
OTHER_KS = (10, 1000)
SINGLES = 1000
WINDOWS = 5
SCALING_NPROBE = 16
# Vectors of the large table, its queries, and the rows for each list that its k-means looks at:
# FAISS's 256 would take hours, and both sides search the same codes whatever they are.
LARGE, LARGE_QUERIES, LARGE_ROWS_PER_LIST = 10_000_000, 2000, 64
# The way of FAISS that stands beside Ocelli at a level.
BESIDE = {"best": ("usual", "tuned"), "avx2": ("avx2",)}


class Ocelli:
    """Ocelli at one level, in a process of its own: a system that is timed."""

    def __init__(self, program, index, queries, level=None):
        env = {**os.environ, "OCELLI_SIMD": level or ""}
        if level is None:
            del env["OCELLI_SIMD"]
        self.worker = Worker(program, index, queries, env=env)
        self.queries = len(vecs.read(queries, np.float32))
        self.level = self.worker.about["simd"]
        if level and self.level != level:
            sys.exit(f"bench: expected Ocelli at {level}, found {self.level}")

    def close(self):
        self.worker.close()

    def batch(self, nprobe, k):
        request = ("batch", nprobe, k)
        return self.worker.rate(self.queries, lambda answer: answer["qps"], *request)[1]

    def single(self, nprobe, k, n):
        request = ("single", nprobe, k, n)
        answer, qps = self.worker.rate(n, lambda answer: answer["qps"], *request)
        return {**answer, "qps": qps}

    def write_ids(self, nprobe, k, file):
        self.worker.ask("ids", nprobe, k, file)


class Row:
    """A system at one point: what is asked of it, and the rates that its windows had."""

    def __init__(self, name, system, nprobe):
        self.name, self.system, self.nprobe = name, system, nprobe
        self.recall = None
        self.clear()

    def clear(self):
        self.rates, self.told = {"batch": [], "single": []}, []

    def window(self, k, n):
        self.rates["batch"].append(self.system.batch(self.nprobe, k))
        single = self.system.single(self.nprobe, k, n)
        self.rates["single"].append(single["qps"])
        self.told.append(single)

    def median(self, kind):
        return statistics.median(self.rates[kind])


def measure(rows, n, k, windows):
    """Fills the windows of all rows, one row after the other."""
    for row in rows:
        row.window(k, n)  # Once for the caches, not counted.
        row.clear()
    for window in range(windows):
        # The order changes, so that none always follows the same other.
        for row in rows if window % 2 == 0 else rows[::-1]:
            row.window(k, n)


def ratio(ours, theirs, kind):
    return round(ours.median(kind) / theirs.median(kind), 2)


def ids(system, nprobe, k):
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "ids.ivecs"
        system.write_ids(nprobe, k, file)
        return vecs.read(file, np.int32)


def two_threads(worker):
    """Two threads of one process over one, on one opened index; None where there is one core."""
    if len(os.sched_getaffinity(0)) < 2:
        return None
    rates = {1: [], 2: []}
    for t in rates:
        worker.ask("threads", SCALING_NPROBE, K, t)
    for _ in range(WINDOWS):
        for t, values in rates.items():
            values.append(worker.ask("threads", SCALING_NPROBE, K, t)["qps"])
    return statistics.median(rates[2]) / statistics.median(rates[1])


def print_rows(title, pairs):
    """Prints a point: each of Ocelli's rows with the peer's of its level below."""
    say(
        f"\n{title}: medians of {len(pairs[0][0].told)} windows, in brackets the best; ratio = "
        "Ocelli / FAISS of the same level (lowest to highest window)"
    )
    say(
        f"  {'':<24}{'level':<20}{'nprobe':>7}{'batch QPS':>20}{'single QPS':>20}"
        f"{'recall10@10':>13}   {'batch ratio':<24}single ratio"
    )
    for ours, peers in pairs:
        for row in (ours, *peers):
            rates = [f"{row.median(kind):,.0f} ({max(row.rates[kind]):,.0f})" for kind in row.rates]
            ratios = ["", ""]
            if row is not ours:
                ratios = [
                    f"{ratio(ours, row, kind):.2f} ({min(windows):.2f} to {max(windows):.2f})"
                    for kind in row.rates
                    for windows in [[a / b for a, b in zip(ours.rates[kind], row.rates[kind])]]
                ]
            found = f"{row.recall:.4f}" if row.recall is not None else ""
            say(
                f"  {row.name:<24}{row.system.level:<20}{row.nprobe:>7}{rates[0]:>20}"
                f"{rates[1]:>20}{found:>13}   {ratios[0]:<24}{ratios[1]}"
            )
        say(f"    a single query of Ocelli: {stages(ours)} µs")
    empty = statistics.median(t["empty"] for _, peers in pairs for p in peers for t in p.told)
    say(f"  an empty call of FAISS's binding: {empty * 1e6:.1f} µs, subtracted above")


def stages(row):
    return ", ".join(
        f"{stage} {statistics.median(t['stages_us'][stage] for t in row.told):.1f}"
        for stage in row.told[0]["stages_us"]
    )


class Table:
    """One set of vectors, and all indexes of them."""

    def __init__(self, a, folder, factories, metric="l2", rows_per_list=None):
        self.folder, self.same_codes = folder, factories[0]
        about = folder / "about.json"
        self.about = (
            json.loads(about.read_text()) if about.exists() else {"source": f"vectors in {folder}"}
        )
        self.files = {
            f: folder / f"{f.replace(',', '_')}.faiss-{faiss.__version__}" for f in factories
        }
        more = ["--rows-per-list", rows_per_list] if rows_per_list else []
        base = folder / "base.fvecs"
        for factory, path in self.files.items():
            train = (sys.executable, HERE / "train.py", base, factory, path)
            run(*train, "--metric", metric, *more)
        # Imported anew each time: it takes seconds, and an index of an older Ocelli would be
        # measured else.
        self.index = folder / "ocelli"
        shutil.rmtree(self.index, ignore_errors=True)
        same = self.files[self.same_codes]
        run(a.ocelli, "import", "faiss", same, "--out", self.index, "--spec", "foreign:sift")
        self.program, self.windows = a.worker, a.windows
        self.queries = folder / "query.fvecs"
        self.truth = vecs.read(folder / "groundtruth.ivecs", np.int32)
        self.deltas = []
        self.start()
        self.print_head(a, metric)

    def start(self):
        """Starts the processes: Ocelli at each level, FAISS in each way."""
        self.ocelli = {"best": Ocelli(self.program, self.index, self.queries)}
        ways = faiss_peer.ways()
        if "avx2" in ways and self.ocelli["best"].level.startswith("avx512"):
            self.ocelli["avx2"] = Ocelli(self.program, self.index, self.queries, "avx2")
        wanted = [way for level in self.ocelli for way in BESIDE[level] if way in ways]
        self.faiss = {
            way: faiss_peer.Faiss(way, self.queries, self.files.values()) for way in wanted
        }
        self.rows = self.ocelli["best"].worker.about["rows"]

    def print_head(self, a, metric):
        say(
            f"\n== {self.rows:,} vectors ({self.about['source']}), metric {metric}, "
            f"{self.same_codes}, {len(self.truth):,} queries, one thread each, "
            f"{a.clock} time, on {processor.name()}"
        )
        for way, process in self.faiss.items():
            say(
                f"   FAISS {process.about['version']}, {way}: level {process.level}, "
                f"OpenBLAS's kernels {process.blas}"
            )
        for system in self.ocelli.values():
            say(f"   Ocelli: level {system.level}")
            lacking = system.worker.about.get("kernels_without_level")
            if lacking:
                say(f"   WARNING: at {system.level} these have no form of their own: {lacking}")
        if self.about.get("synthetic"):
            say(
                "SYNTHETIC VECTORS: no photos were found (OCELLI_DATA); these figures compare with "
                "no others."
            )

    def close(self):
        for process in (*self.ocelli.values(), *self.faiss.values()):
            process.close()

    def searches(self, way, factory):
        return Searches(self.faiss[way], list(self.files).index(factory))

    def pairs(self, nprobe, peers):
        """Rows of each level: Ocelli's, and those of `peers`, which are (factory, nprobe)."""
        return [
            (
                Row(f"Ocelli {self.same_codes.split(',')[1]}", ocelli, nprobe),
                [
                    Row(
                        f"FAISS {factory.split(',')[1]}" + ", tuned" * (way == "tuned"),
                        self.searches(way, factory),
                        lists,
                    )
                    for factory, lists in peers
                    for way in BESIDE[level]
                    if way in self.faiss
                ],
            )
            for level, ocelli in self.ocelli.items()
        ]

    def recall_of(self, system, nprobe):
        return recall(ids(system, nprobe, K), self.truth)

    def compare_answers(self, nprobe, pairs):
        """Sets the recall of the rows; FAISS's at one level holds for the others. Ocelli's answers
        must be the same at every level."""
        ours = [ids(row.system, nprobe, K) for row, _ in pairs]
        if any(not np.array_equal(ours[0], others) for others in ours):
            sys.exit("bench: Ocelli's answers differ between the levels")
        found = recall(ours[0], self.truth)
        theirs = {}
        for row, peers in pairs:
            row.recall = found
            for peer in peers:
                at = (peer.system.at, peer.nprobe)
                if at not in theirs:
                    theirs[at] = self.recall_of(peer.system, peer.nprobe)
                peer.recall = theirs[at]
        return found, theirs

    def timed(self, title, pairs, k):
        n = min(SINGLES, len(self.truth))
        rows = [row for ours, peers in pairs for row in (ours, *peers)]
        measure(rows, n, k, self.windows)
        print_rows(title, pairs)

    def point(self, nprobe, k=K):
        """Measures and prints a point; returns its ratios to FAISS on the same codes, by name."""
        others = [f for f in self.files if f != self.same_codes] if k == K else []
        pairs = self.pairs(nprobe, [(f, nprobe) for f in (self.same_codes, *others[:1])])
        if k == K:
            found, theirs = self.compare_answers(nprobe, pairs)
            self.deltas.append(abs(found - theirs[0, nprobe]))
        self.timed(f"nprobe {nprobe}, k = {k}", pairs, k)
        return self.ratios(pairs, self.same_codes)

    def ratios(self, pairs, factory):
        """{"batch": …, "single": …, "batch_tuned": …, "batch_avx2": …, "single_avx2": …} of one
        index of FAISS; without AVX-512 the last two are the first two."""
        out, at = {}, list(self.files).index(factory)
        for level, (ours, peers) in zip(self.ocelli, pairs):
            for peer in (p for p in peers if p.system.at == at):
                end = {"usual": "", "tuned": "_tuned", "avx2": "_avx2"}[peer.system.process.way]
                for kind in ("batch", "single"):
                    out[kind + end] = ratio(ours, peer, kind)
        if self.ocelli["best"].level == "avx2":
            out |= {f"{kind}_avx2": out[kind] for kind in ("batch", "single")}
        return out

    def equal_recall(self, factory, wanted):
        """Both at the fewest lists that reach `wanted`; the ratios, or None."""
        system, ours = self.searches("usual", factory), self.ocelli["best"]
        theirs = least(lambda n: self.recall_of(system, n) >= wanted, MOST_LISTS)
        lists = None
        if theirs is not None:
            reached = self.recall_of(system, theirs)
            lists = least(lambda n: self.recall_of(ours, n) >= reached, MOST_LISTS)
        if lists is None:
            say(f"\nno ratio to {factory}: recall {wanted} is not reached on both sides")
            return None
        pairs = self.pairs(lists, [(factory, theirs)])
        self.compare_answers(lists, pairs)
        self.timed(f"equal recall, {factory} at {wanted}, k = {K}", pairs, K)
        return self.ratios(pairs, factory)


def open_ms(table):
    """Milliseconds of opening the index, the file in the page cache: a median."""
    opened = []
    for _ in range(WINDOWS):
        worker = Worker(table.program, table.index, table.queries)
        opened.append(worker.about["open_ms"])
        worker.close()
    return statistics.median(opened)


def print_sizes(a, table):
    """Prints the bytes of a vector on both sides, and returns those that a search reads."""
    command = [a.ocelli, "inspect", table.index, "--format", "json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    inspected = json.loads(done.stdout)
    per_vector = inspected["search_bytes_per_image"]
    say(
        f"\nbytes per vector: {per_vector:.2f} (codes, the L2 byte, list directory); beside it "
        "maps "
        f"{inspected['map_bytes_per_image']:.2f}, keys {inspected['key_bytes_per_image']:.2f}, "
        f"model {inspected['model_bytes'] / table.rows:.2f}. FAISS's file with its model: "
        f"{table.files[table.same_codes].stat().st_size / table.rows:.2f}"
    )
    return per_vector


def first_table(a, folder):
    """The table of a million by L2: its share of the result, and its differences in recall."""
    table = Table(a, folder, [SAME_CODES, *SAME_BYTES])
    points = {str(nprobe): table.point(nprobe) for nprobe in NPROBES}
    equal = {
        factory.split(",")[1]: table.equal_recall(factory, wanted)
        for factory, wanted in SAME_BYTES.items()
    }
    for k in OTHER_KS:
        table.point(NPROBES[1], k)
    opened, scaling = open_ms(table), two_threads(table.ocelli["best"].worker)
    table.close()
    per_vector = print_sizes(a, table)
    say(f"open: {opened:.2f} ms (median of {WINDOWS}, the file in the page cache)")
    say(
        "two threads: "
        + (
            "not measured, there is one core"
            if scaling is None
            else f"{scaling:.2f} × one (batches at nprobe {SCALING_NPROBE}, one process, "
            f"{len(os.sched_getaffinity(0))} cores)"
        )
    )
    of = lambda name: {nprobe: point.get(name) for nprobe, point in points.items()}
    result = {
        "processor": processor.name(),
        "clock": a.clock,
        "levels": {
            "ocelli": [system.level for system in table.ocelli.values()],
            "faiss": {way: [p.level, p.blas] for way, p in table.faiss.items()},
        },
        "batch_ratio": of("batch"),
        "single_ratio": of("single"),
        "batch_ratio_avx2": of("batch_avx2"),
        "single_ratio_avx2": of("single_avx2"),
        "batch_ratio_tuned_blas": of("batch_tuned"),
        "equal_recall_ratio": equal,
        "two_thread_scaling": None if scaling is None else round(scaling, 3),
        "bytes_per_vector": round(per_vector, 2),
        "open_ms": round(opened, 3),
    }
    return result, table.deltas


def other_tables(a, folder):
    """The tables by inner product and of 10 M: the last point's ratios, and the differences."""
    name, how = source()
    unit = made(a.out, f"{name}-unit", "--unit-of", folder)
    table = Table(a, unit, [SAME_CODES], "ip")
    for nprobe in NPROBES:
        table.point(nprobe)
    table.close()
    deltas = list(table.deltas)
    many = made(a.out, f"{name}-10m", *how, "--base", LARGE, "--queries", LARGE_QUERIES)
    table = Table(a, many, [LARGE_CODES], rows_per_list=LARGE_ROWS_PER_LIST)
    large = table.point(NPROBES[-1])
    table.close()
    return large, deltas + table.deltas


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--worker", required=True, help="executable of the bench `search` of ocelli-index"
    )
    p.add_argument("--ocelli", required=True, help="the ocelli command")
    p.add_argument("--out", type=Path, required=True, help="where data are kept")
    p.add_argument(
        "--vectors",
        type=Path,
        help="folder with base.fvecs, query.fvecs, groundtruth.ivecs of your own",
    )
    p.add_argument(
        "--only-first",
        action="store_true",
        help="the first table alone: the large one takes an hour to make",
    )
    p.add_argument("--windows", type=int, default=WINDOWS, help="of each point")
    clock.add_argument(p)
    a = p.parse_args()
    clock.choose(a.clock)
    folder = a.vectors or vectors(a.out)
    result, deltas = first_table(a, folder)
    large = {}
    if not (a.only_first or a.vectors):
        large, more = other_tables(a, folder)
        deltas = deltas + more
    result["batch_ratio_tuned_blas"]["10m_64"] = large.get("batch_tuned")
    for level in ("", "_avx2"):
        for kind in ("batch", "single"):
            result[f"{kind}_ratio_10m_64{level}"] = large.get(f"{kind}{level}")
    result["recall_delta_max"] = round(max(deltas), 5)
    say()
    say(json.dumps(result))


if __name__ == "__main__":
    main()
