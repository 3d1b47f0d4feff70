"""Coarse probing beside FAISS's coarse quantizers on the same centroids: what `./bench coarse`
runs.

Centroids are 2^16 and 2^18 of the base vectors, each moved once to the mean of the base vectors
near it (one step of Lloyd's algorithm), or a file of the caller's. Each query asks for its 64
nearest. Truth is FAISS's exhaustive search. Ocelli's times are taken inside its worker; FAISS is
called through its Python binding, one query a call or all in one call. So its single queries
include the time of an empty call, which is printed. All take turns, one thread each; medians of the
windows are reported.

The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from cores import bind_to_one

if __name__ == "__main__":
    bind_to_one()

import faiss  # noqa: E402
import numpy as np  # noqa: E402

import vecs  # noqa: E402
from datasets import vectors  # noqa: E402
from processes import Worker, say  # noqa: E402

NLISTS = (1 << 16, 1 << 18)
NPROBE = 64
SINGLES = 2000
EXACTS = 200
WINDOWS = 5
# Enough for recall above .99 at both sizes; what each reaches is printed.
EF_SEARCH = 96


def centroids(base, nlist, path):
    """Centroids (nlist, d), made once."""
    if path.exists():
        return vecs.read(path, np.float32)
    say(f"making {nlist:,} centroids (once)")
    x = vecs.read(base, np.float32)
    if len(x) < nlist:
        sys.exit(f"bench: {base} has {len(x):,} vectors, expected at least {nlist:,}")
    c = x[np.random.default_rng(1).permutation(len(x))[:nlist]].copy()
    near = faiss.IndexIVFFlat(faiss.IndexFlatL2(c.shape[1]), c.shape[1], int(4 * nlist**0.5))
    near.cp.niter, near.cp.max_points_per_centroid, near.nprobe = 5, 64, 4
    near.train(c)
    near.add(c)
    of = near.search(x, 1)[1][:, 0]
    sums, counts = np.zeros(c.shape), np.bincount(of, minlength=nlist)
    np.add.at(sums, of, x)
    c[counts > 0] = (sums[counts > 0] / counts[counts > 0, None]).astype(np.float32)
    vecs.write(path, c)
    return c


def recall(found, truth):
    """Share of the exact nearest lists that were found, mean over queries."""
    return float(np.mean([len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, truth)]))


class Faiss:
    """An index of centroids, with one thread."""

    def __init__(self, index, queries):
        self.index, self.queries = index, queries

    def single(self, n):
        x, search_one = self.queries, self.index.search
        picks = [(i * 7919 + 13) % len(x) for i in range(n)]
        start = time.perf_counter()
        for i in picks:
            search_one(x[i : i + 1], NPROBE)
        return (time.perf_counter() - start) / n * 1e6

    def batch(self):
        start = time.perf_counter()
        self.index.search(self.queries, NPROBE)
        return (time.perf_counter() - start) / len(self.queries) * 1e6

    def lists(self):
        return self.index.search(self.queries, NPROBE)[1]


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--worker", required=True, help="executable of the bench `coarse` of ocelli-index"
    )
    p.add_argument("--out", type=Path, required=True, help="where data are kept")
    p.add_argument(
        "--vectors", type=Path, help="folder with base.fvecs and query.fvecs of your own"
    )
    p.add_argument(
        "--centroids",
        type=Path,
        action="append",
        help="file of centroids (fvecs) in place of those made here; may be repeated",
    )
    p.add_argument(
        "--no-hnsw", action="store_true", help="leave FAISS's HNSW out: building it takes minutes"
    )
    a = p.parse_args()
    folder = a.vectors or vectors(a.out)
    faiss.omp_set_num_threads(1)
    queries = vecs.read(folder / "query.fvecs", np.float32)
    files = a.centroids or [a.out / f"coarse-{nlist}.fvecs" for nlist in NLISTS]
    result = {"probe_us": {}, "probe_batch_us": {}, "probe_recall": {}, "exact_us": {}}
    for path in files:
        made = a.centroids is None
        c = (
            centroids(folder / "base.fvecs", NLISTS[files.index(path)], path)
            if made
            else vecs.read(path, np.float32)
        )
        nlist, d = c.shape
        flat = faiss.IndexFlatL2(d)
        flat.add(c)
        peers = {"FAISS flat": Faiss(flat, queries)}
        if not a.no_hnsw:
            start = time.perf_counter()
            hnsw = faiss.IndexHNSWFlat(d, 32)
            hnsw.hnsw.efConstruction, hnsw.hnsw.efSearch = 40, EF_SEARCH
            hnsw.add(c)
            hnsw_s = time.perf_counter() - start
            peers[f"FAISS HNSW32 ef {EF_SEARCH}"] = Faiss(hnsw, queries)
        truth = flat.search(queries, NPROBE)[1]
        empty = Faiss(faiss.IndexFlatL2(d), queries).single(SINGLES)
        lists = a.out / "coarse.lists"
        worker = Worker(a.worker, path, folder / "query.fvecs", a.out / "coarse.model", "l2")
        about = worker.about

        def found(effort):
            worker.ask("lists", NPROBE, effort, lists)
            return vecs.read(lists, np.int32)

        ours = found("default")
        if not np.array_equal(ours, found("batch")):
            sys.exit("bench: a batch found other lists than its queries alone")
        recalls = {
            "Ocelli": recall(ours, truth),
            "Ocelli, all centroids": recall(found("exact"), truth),
        }
        recalls |= {name: recall(peer.lists(), truth) for name, peer in peers.items()}
        times = {name: {"single": [], "batch": []} for name in recalls}

        def mine():
            times["Ocelli"]["single"].append(worker.ask("single", NPROBE, "default", SINGLES)["us"])
            times["Ocelli"]["batch"].append(worker.ask("batch", NPROBE)["us"])
            times["Ocelli, all centroids"]["single"].append(
                worker.ask("exact", NPROBE, EXACTS)["us"]
            )

        def theirs():
            for name, peer in peers.items():
                exact = "flat" in name
                times[name]["single"].append(peer.single(EXACTS if exact else SINGLES))
                # An exhaustive batch takes seconds and does not scatter.
                if not exact or not times[name]["batch"]:
                    times[name]["batch"].append(peer.batch())

        mine()  # Once for the caches, not counted.
        for system in times.values():
            system["single"].clear(), system["batch"].clear()
        for window in range(WINDOWS):
            for turn in (mine, theirs) if window % 2 == 0 else (theirs, mine):
                turn()
        worker.close()

        say(
            f"\nnlist {nlist:,}, d {d}, nprobe {NPROBE}, {len(queries):,} queries, one thread, "
            f"Ocelli at {about['simd']}: medians of {WINDOWS} windows (lowest to highest)"
        )
        say(f"  {'':<26}{'recall':>8}   {'single µs':<28}batch µs per query")
        for name, system in times.items():
            cells = [
                f"{statistics.median(v):,.1f} ({min(v):,.1f} to {max(v):,.1f})" if v else ""
                for v in system.values()
            ]
            say(f"  {name:<26}{recalls[name]:>8.4f}   {cells[0]:<28}{cells[1]}")
        say(f"  an empty call of FAISS's binding: {empty:.1f} µs, in its single times above")
        say(
            f"  {about['groups']:,} groups, built in {about['build_s']} s; the model's file of "
            f"{about['file_bytes']:,} bytes opens in {about['open_ms']} ms"
            + ("" if a.no_hnsw else f"; FAISS's HNSW was built in {hnsw_s:.0f} s")
        )
        key = str(nlist)
        result["probe_us"][key] = round(statistics.median(times["Ocelli"]["single"]), 1)
        result["probe_batch_us"][key] = round(statistics.median(times["Ocelli"]["batch"]), 1)
        result["probe_recall"][key] = round(recalls["Ocelli"], 4)
        result["exact_us"][key] = round(
            statistics.median(times["Ocelli, all centroids"]["single"]), 1
        )
    say()
    say(json.dumps(result))


if __name__ == "__main__":
    main()
