"""Ocelli beside FAISS, on the same codes: what `./bench search` runs.

FAISS trains `IVF2048,PQ16np` and Ocelli imports that file, so both scan the same codes of the same
lists. Each point is measured in windows in which the two take turns, one thread each: a batch (all
queries in one call) and single queries (the first 1,000, one call each). A second peer is
`IVF2048,PQ32x4fs`: as many bytes a vector, 4-bit codes, FAISS's fastest scan.

FAISS chooses lists by matrix products of the OpenBLAS in its wheel, which takes recent AMD
processors for a much older one. So on a processor with AVX-512 there is a third peer: the same
index in a process of its own with OPENBLAS_CORETYPE=SkylakeX. Its ratios are separate in the
result.

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
import time
from pathlib import Path

from cores import ALL_CORES, bind_to_one

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    bind_to_one()

import faiss  # noqa: E402
import numpy as np  # noqa: E402

import vecs  # noqa: E402

SAME_CODES, SAME_BYTES = "IVF2048,PQ16np", "IVF2048,PQ32x4fs"
LARGE_CODES = "IVF16384,PQ16np"
NPROBES = (4, 16, 64)
K = 100
OTHER_KS = (10, 1000)
SINGLES = 1000
WINDOWS = 5
SCALING_NPROBE = 16
# Ends the label of FAISS with its BLAS tuned.
TUNED = ", tuned"
# Vectors of the large table, its queries, and the rows for each list that its k-means looks at:
# FAISS's 256 would take hours, and both sides search the same codes whatever they are.
LARGE, LARGE_QUERIES, LARGE_ROWS_PER_LIST = 10_000_000, 2000, 64


def say(text=""):
    print(text, flush=True)


def run(*args):
    """Runs one of the steps before the measurement, on all cores. Its output is for people."""
    done = subprocess.run([str(a) for a in args], env=ALL_CORES)
    if done.returncode != 0:
        sys.exit(
            f"bench: {Path(str(args[0])).name} {args[1]} ended with exit code {done.returncode}"
        )


class Worker:
    """A process that answers requests, a line of JSON each: Ocelli's, and FAISS's where it needs
    one of its own."""

    def __init__(self, *command, env=None):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench: {self.process.args[0]} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def ask(self, *request):
        self.process.stdin.write(" ".join(map(str, request)) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    """FAISS, with one thread."""

    def __init__(self, path, queries):
        self.index, self.queries = faiss.read_index(str(path)), queries
        self.nothing = faiss.IndexFlatL2(queries.shape[1])

    def close(self):
        self.index = None

    def at(self, nprobe):
        faiss.extract_index_ivf(self.index).nprobe = nprobe
        return self

    def ids(self):
        return self.index.search(self.queries, K)[1]

    def batch(self, k):
        start = time.perf_counter()
        self.index.search(self.queries, k)
        return len(self.queries) / (time.perf_counter() - start)

    def seconds(self, index, n, k):
        """Seconds of n calls, one query each."""
        x, search = self.queries, index.search
        start = time.perf_counter()
        for i in range(n):
            search(x[i : i + 1], k)
        return time.perf_counter() - start

    def single(self, n, k):
        """Queries per second, and the seconds of an empty call that were subtracted from each."""
        empty = self.seconds(self.nothing, n, k)
        return n / max(self.seconds(self.index, n, k) - empty, 1e-9), empty / n


class TunedPeer:
    """FAISS on the same index in a process of its own, whose OpenBLAS was told what the
    processor can do."""

    CORE = "SkylakeX"

    def __init__(self, path, queries):
        env = {**os.environ, "OPENBLAS_CORETYPE": self.CORE}
        self.worker = Worker(sys.executable, __file__, "--tuned-peer", path, queries, env=env)
        self.nprobe = None

    @classmethod
    def is_wanted(cls):
        cpu = Path("/proc/cpuinfo")
        return (
            cpu.exists()
            and " avx512f " in cpu.read_text()
            and os.environ.get("OPENBLAS_CORETYPE") != cls.CORE
        )

    def at(self, nprobe):
        self.nprobe = nprobe
        return self

    def close(self):
        self.worker.close()

    def batch(self, k):
        return self.worker.ask("batch", self.nprobe, k)

    def single(self, n, k):
        return self.worker.ask("single", self.nprobe, n, k)

    @staticmethod
    def serve(path, queries):
        """Answers requests until standard input ends."""
        faiss.omp_set_num_threads(1)
        peer = Peer(path, vecs.read(Path(queries), np.float32))
        print(json.dumps({"version": faiss.__version__}), flush=True)
        for line in sys.stdin:
            kind, nprobe, *arguments = line.split()
            answer = getattr(peer.at(int(nprobe)), kind)(*map(int, arguments))
            print(json.dumps(answer), flush=True)


def recall(ids, truth):
    """recall10@10: share of the ten nearest that are among the first ten found."""
    return float((ids[:, :10, None] == truth[:, None, :10]).any(1).mean())


def measure(worker, peers, nprobe, n, k=K):
    """Queries per second of every window: {system: {"batch": [...], "single": [...]}}."""
    found = {name: {"batch": [], "single": []} for name in ("ocelli", *peers)}
    empties, stages = [], []

    def ours():
        found["ocelli"]["batch"].append(worker.ask("batch", nprobe, k)["qps"])
        answer = worker.ask("single", nprobe, k, n)
        found["ocelli"]["single"].append(answer["qps"])
        stages.append(answer.get("stages_us", {}))

    def theirs():
        for name, peer in peers.items():
            found[name]["batch"].append(peer.at(nprobe).batch(k))
            qps, empty = peer.single(n, k)
            found[name]["single"].append(qps)
            empties.append(empty)

    ours(), theirs()  # Once for the caches, not counted.
    for system in found.values():
        for values in system.values():
            values.clear()
    empties.clear(), stages.clear()
    for window in range(WINDOWS):
        # Who begins changes, so that neither always follows the other.
        for turn in (ours, theirs) if window % 2 == 0 else (theirs, ours):
            turn()
    return (
        found,
        statistics.median(empties),
        {s: statistics.median(w[s] for w in stages) for s in stages[0]},
    )


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


def made(out, name, *how):
    """Makes vectors unless they are there; returns their folder."""
    folder = out / name
    if not (folder / "about.json").exists():
        say(f"making the vectors of {name} (once)")
        run(sys.executable, HERE / "sift.py", folder, *how)
    return folder


def source():
    """The source of the vectors: its name in folders, and the arguments of `sift.py`."""
    data = Path(os.environ.get("OCELLI_DATA") or HERE.parents[1] / ".." / "shared" / "data")
    photos = all((data / "images" / name).is_dir() for name in ("imagenet", "corel", "paris124"))
    return ("sift-photos", ["--data", data]) if photos else ("sift-synthetic", [])


def vectors(out):
    """The folder of the million vectors that most benchmarks use."""
    name, how = source()
    return made(out, name, *how)


def print_point(title, same_codes, found, recalls, empty, stages):
    say(
        f"\n{title}: medians of {WINDOWS} windows, in brackets the best; ratio = Ocelli / FAISS "
        "(lowest to highest window)"
    )
    say(
        f"  {'':<30}{'batch QPS':>20}{'single QPS':>20}{'recall10@10':>13}   "
        f"{'batch ratio':<24}single ratio"
    )
    ocelli = found["ocelli"]
    for name, system in found.items():
        cells, ratios = [], []
        for kind in ("batch", "single"):
            median = statistics.median(system[kind])
            cells.append(f"{median:,.0f} ({max(system[kind]):,.0f})")
            windows = [a / b for a, b in zip(ocelli[kind], system[kind])]
            ratio = statistics.median(ocelli[kind]) / median
            ratios.append(
                ""
                if system is ocelli
                else f"{ratio:.2f} ({min(windows):.2f} to {max(windows):.2f})"
            )
        label = f"Ocelli on {same_codes.split(',')[1]}" if system is ocelli else f"FAISS {name}"
        found_share = f"{recalls[name]:.4f}" if name in recalls else ""
        say(
            f"  {label:<30}{cells[0]:>20}{cells[1]:>20}{found_share:>13}   "
            f"{ratios[0]:<24}{ratios[1]}"
        )
    say(
        f"  an empty call of FAISS's binding: {empty * 1e6:.1f} µs, subtracted above; "
        f"a single query of Ocelli: {', '.join(f'{s} {us:.1f}' for s, us in stages.items())} µs"
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
        for factory, path in self.files.items():
            run(
                sys.executable,
                HERE / "train.py",
                folder / "base.fvecs",
                factory,
                path,
                "--metric",
                metric,
                *more,
            )
        # Imported anew each time: it takes seconds, and an index of an older Ocelli would be
        # measured else.
        self.index = folder / "ocelli"
        shutil.rmtree(self.index, ignore_errors=True)
        run(
            a.ocelli,
            "import",
            "faiss",
            self.files[self.same_codes],
            "--out",
            self.index,
            "--spec",
            "foreign:sift",
        )
        faiss.omp_set_num_threads(1)
        self.queries = vecs.read(folder / "query.fvecs", np.float32)
        self.truth = vecs.read(folder / "groundtruth.ivecs", np.int32)
        self.peers = {factory: Peer(path, self.queries) for factory, path in self.files.items()}
        if TunedPeer.is_wanted():
            tuned = TunedPeer(self.files[self.same_codes], folder / "query.fvecs")
            self.peers[f"{self.same_codes}{TUNED}"] = tuned
        self.program = a.worker
        self.worker = self.start()
        self.rows = self.worker.about["rows"]
        self.deltas = []
        say(
            f"\n== {self.rows:,} vectors ({self.about['source']}), metric {metric}, "
            f"{factories[0]}, {len(self.queries):,} "
            f"queries, one thread; Ocelli at {self.worker.about['simd']}, FAISS "
            f"{faiss.__version__} "
            f"({faiss.get_compile_options().strip()})"
        )
        if self.about.get("synthetic"):
            say(
                "SYNTHETIC VECTORS: no photos were found (OCELLI_DATA); these figures compare with "
                "no others."
            )

    def start(self):
        return Worker(self.program, self.index, self.folder / "query.fvecs")

    def close(self):
        self.worker.close()
        for peer in self.peers.values():
            peer.close()

    def recalls(self, nprobe):
        here = {name: peer for name, peer in self.peers.items() if isinstance(peer, Peer)}
        found = {name: recall(peer.at(nprobe).ids(), self.truth) for name, peer in here.items()}
        with tempfile.TemporaryDirectory() as scratch:
            ids = Path(scratch) / "ids.ivecs"
            self.worker.ask("ids", nprobe, K, ids)
            found["ocelli"] = recall(vecs.read(ids, np.int32), self.truth)
        self.deltas.append(abs(found["ocelli"] - found[self.same_codes]))
        return found

    def point(self, nprobe, k=K):
        """Measures and prints a point; returns the ratios (batch, single) to FAISS on the same
        codes, and the batch's to FAISS with its BLAS tuned (None where it is the same)."""
        recalls = self.recalls(nprobe) if k == K else {}
        n = min(SINGLES, len(self.queries))
        peers = self.peers if k == K else {self.same_codes: self.peers[self.same_codes]}
        found, empty, stages = measure(self.worker, peers, nprobe, n, k)
        print_point(f"nprobe {nprobe}, k = {k}", self.same_codes, found, recalls, empty, stages)
        ours, theirs = found["ocelli"], found[self.same_codes]
        ratio = lambda theirs, kind: round(
            statistics.median(ours[kind]) / statistics.median(theirs[kind]), 2
        )
        tuned = found.get(f"{self.same_codes}{TUNED}")
        return ratio(theirs, "batch"), ratio(theirs, "single"), tuned and ratio(tuned, "batch")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if sys.argv[1:2] == ["--tuned-peer"]:
        return TunedPeer.serve(*sys.argv[2:])
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
    a = p.parse_args()
    folder = a.vectors or vectors(a.out)

    table = Table(a, folder, [SAME_CODES, SAME_BYTES])
    ratios = {"batch": {}, "single": {}, "tuned": {}}
    for nprobe in NPROBES:
        for kind, ratio in zip(ratios, table.point(nprobe)):
            ratios[kind][str(nprobe)] = ratio
    for k in OTHER_KS:
        table.point(NPROBES[1], k)
    opened = []
    for _ in range(WINDOWS):
        worker = table.start()
        opened.append(worker.about["open_ms"])
        worker.close()
    scaling = two_threads(table.worker)
    table.close()
    inspected = json.loads(
        subprocess.run(
            [a.ocelli, "inspect", table.index, "--format", "json"],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    )
    per_vector = inspected["search_bytes_per_image"]
    say(
        f"\nbytes per vector: {per_vector:.2f} (codes, the L2 byte, list directory); beside it "
        "maps "
        f"{inspected['map_bytes_per_image']:.2f}, keys {inspected['key_bytes_per_image']:.2f}, "
        f"model {inspected['model_bytes'] / table.rows:.2f}. FAISS's file with its model: "
        f"{table.files[table.same_codes].stat().st_size / table.rows:.2f}"
    )
    say(
        f"open: {statistics.median(opened):.2f} ms (median of {WINDOWS}, the file in the page "
        "cache)"
    )
    say(
        "two threads: "
        + (
            "not measured, there is one core"
            if scaling is None
            else f"{scaling:.2f} × one (batches at nprobe {SCALING_NPROBE}, one process, "
            f"{len(os.sched_getaffinity(0))} cores)"
        )
    )
    deltas = list(table.deltas)

    large = [None, None, None]
    if not (a.only_first or a.vectors):
        name, how = source()
        table = Table(a, made(a.out, f"{name}-unit", "--unit-of", folder), [SAME_CODES], "ip")
        for nprobe in NPROBES:
            table.point(nprobe)
        table.close()
        deltas += table.deltas
        many = made(a.out, f"{name}-10m", *how, "--base", LARGE, "--queries", LARGE_QUERIES)
        table = Table(a, many, [LARGE_CODES], rows_per_list=LARGE_ROWS_PER_LIST)
        large = table.point(NPROBES[-1])
        table.close()
        deltas += table.deltas
    say()
    say(
        json.dumps(
            {
                "batch_ratio": ratios["batch"],
                "single_ratio": ratios["single"],
                "batch_ratio_10m_64": large[0],
                "single_ratio_10m_64": large[1],
                "batch_ratio_tuned_blas": {**ratios["tuned"], "10m_64": large[2]},
                "recall_delta_max": round(max(deltas), 5),
                "two_thread_scaling": None if scaling is None else round(scaling, 3),
                "bytes_per_vector": round(per_vector, 2),
                "open_ms": round(statistics.median(opened), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
