"""Deduplication of vectors: what `./bench dedup` runs. The peer is FAISS.

A million SIFT vectors, of which each tenth is a copy of another with noise, and ten times as many:
the same nine times more, with noise that makes them no copies. Ocelli trains, builds, and joins the
index with itself by `ocelli dedup`, scoring again by the stored vectors; the whole command is
timed. FAISS reads the same index file and answers a batched range search for a sample of the rows,
at the least radius and with the same nprobe that find as large a share of the true pairs, which an
exact range search gives; scoring again is left out of its time. Its time for all rows follows from
that for the sample.

The last line is one JSON object.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import time
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as parquet

import processor
import spent
import vecs
from datasets import vectors
from processes import run, say

M, NPROBE = 16, 64
# Noise of a copy, in each dimension, and that which makes another vector of one.
COPY_NOISE, OTHER_NOISE = 3, 12
# A squared distance within which copies are.
NEAR = 1600
# Rows whose pairs are compared with exact search; FAISS answers for these.
SAMPLE = 2000
SCALES = {1: 4096, 10: 16384}


def rows_of(base, times):
    """Blocks of the vectors, as bytes: each tenth row of the first million is a copy of the row
    before it."""
    rng = np.random.default_rng(21)
    for number in range(times):
        for start in range(0, len(base), 50_000):
            x = np.array(base[start : start + 50_000], np.float32)
            if number:
                x += rng.normal(0, OTHER_NOISE, x.shape).astype(np.float32)
            else:
                noise = rng.normal(0, COPY_NOISE, x[9::10].shape).astype(np.float32)
                x[9::10] = x[8::10][: len(x[9::10])] + noise
            yield np.clip(np.rint(x), 0, 255).astype(np.uint8)


def built(a, base, folder, times):
    """The index and the part that it was built of, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    raw, part, index = folder / "rows.u8bin", folder / "rows.part", folder / "index"
    if not (index / "CURRENT").exists():
        with open(raw, "wb") as out:
            np.array([times * len(base), base.shape[1]], np.uint32).tofile(out)
            for block in rows_of(base, times):
                block.tofile(out)
        run(a.ocelli, "import", "vectors", raw, "--out", part, "--spec", "foreign:sift")
        flags = ("--nlist", SCALES[times], "--m", M, "--metric", "l2", "--opq", "false")
        flags = (*flags, "--max-rows", 64 * SCALES[times], "--niter", 10)
        run(a.ocelli, "train", part, *flags, "--out", folder / "model")
        partial = folder / "index.partial"
        shutil.rmtree(partial, ignore_errors=True)
        run(a.ocelli, "build", part, "--model", folder / "model", "--out", partial)
        os.replace(partial, index)
    if not (folder / "faiss").exists():
        run(a.ocelli, "export", "faiss", index, "--out", folder / "faiss")
    return index, part, raw


def deduplicated(a, index, part, folder):
    """Seconds, peak memory and report of `ocelli dedup`."""
    out = folder / "pairs"
    shutil.rmtree(out, ignore_errors=True)
    flags = ("--threshold", NEAR, "--nprobe", NPROBE, "--vectors", part, "--format", "json")
    took = spent.run(a.ocelli, "dedup", index, *flags, "--out", out)
    if took.code != 0:
        raise SystemExit("bench: ocelli dedup failed")
    report = json.loads(took.printed.strip().splitlines()[-1])
    table = parquet.read_table(out / "pairs.parquet", columns=["id_a", "id_b"])
    pairs = np.stack([table["id_a"].to_numpy(), table["id_b"].to_numpy()], 1)
    return took, report, pairs


def true_pairs(x, sample):
    """For each row of the sample, the others within the distance: exact."""
    flat = faiss.IndexFlatL2(x.shape[1])
    flat.add(x)
    limits, _, ids = flat.range_search(x[sample], NEAR + 0.5)
    found = [ids[limits[i] : limits[i + 1]] for i in range(len(sample))]
    return [set(map(int, others)) - {int(row)} for row, others in zip(sample, found)]


def share(found, truth):
    total = sum(len(pairs) for pairs in truth)
    return sum(len(f & t) for f, t in zip(found, truth)) / max(total, 1)


def joined(pairs, sample):
    """The rows that Ocelli paired with each row of the sample."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    first = np.searchsorted(both[:, 0], sample)
    last = np.searchsorted(both[:, 0], sample, "right")
    return [set(map(int, both[i:j, 1])) for i, j in zip(first, last)]


def peer_join(index, queries, sample, truth, wanted):
    """Seconds of FAISS for the sample at the least radius that finds `wanted` of the true pairs,
    and the share that it finds."""
    faiss.extract_index_ivf(index).nprobe = NPROBE
    best = None
    for radius in np.geomspace(NEAR, 64 * NEAR, 25):
        start = time.perf_counter()
        limits, _, ids = index.range_search(queries, float(radius))
        seconds = time.perf_counter() - start
        found = [
            set(map(int, ids[limits[i] : limits[i + 1]])) - {int(row)}
            for i, row in enumerate(sample)
        ]
        best = (seconds, share(found, truth), float(radius))
        if best[1] >= wanted:
            break
    again = []
    for _ in range(3):
        start = time.perf_counter()
        index.range_search(queries, best[2])
        again.append(time.perf_counter() - start)
    return sorted(again)[1], best[1], best[2]


def measured(a, base, times):
    folder = a.out / f"dedup-{times}"
    index, part, raw = built(a, base, folder, times)
    took, report, pairs = deduplicated(a, index, part, folder)
    n = report["join"]["rows"]
    x = np.memmap(raw, np.uint8, "r", offset=8, shape=(n, base.shape[1]))
    # Half of the sample has copies.
    rng = np.random.default_rng(5)
    copies = rng.choice(len(base) // 10, SAMPLE // 2, replace=False) * 10 + 9
    others = rng.choice(n, SAMPLE // 2, replace=False)
    sample = np.unique(np.concatenate([copies, others]))
    truth = true_pairs(np.array(x, np.float32), sample) if times == 1 else None
    peer = faiss.read_index(str(folder / "faiss"))
    queries = np.array(x[sample], np.float32)
    if truth is None:
        truth = exact(x, queries, sample)
    recall = share(joined(pairs, sample), truth)
    seconds, peer_recall, radius = peer_join(peer, queries, sample, truth, recall)
    peer_s = seconds * n / len(sample)
    say(
        f"  {n:,} rows: ocelli {took.wall_s:.1f} s ({n / took.wall_s:,.0f} rows/s, "
        f"{took.peak_bytes / 2**30:.2f} GiB, {report['compared']:,} pairs of codes, "
        f"{report['join']['candidates']:,} scored, {report['pairs']['pairs']:,} pairs), "
        f"recall {recall:.4f}; "
        f"FAISS {peer_s:.0f} s by {len(sample):,} queries at radius {radius:.0f}, recall "
        f"{peer_recall:.4f}: {peer_s / took.wall_s:.1f} x"
    )
    return {
        "rows": n,
        "seconds": took.wall_s,
        "recall": recall,
        "ratio": peer_s / took.wall_s,
        "largest": largest_share(pairs, n),
        "compared": report["compared"],
    }


def exact(x, queries, sample):
    """[`true_pairs`] of more vectors than memory holds as floats."""
    found = [set() for _ in sample]
    for start in range(0, len(x), 1_000_000):
        flat = faiss.IndexFlatL2(x.shape[1])
        flat.add(np.array(x[start : start + 1_000_000], np.float32))
        limits, _, ids = flat.range_search(queries, NEAR + 0.5)
        for i in range(len(sample)):
            found[i].update(int(start + other) for other in ids[limits[i] : limits[i + 1]])
    return [others - {int(row)} for others, row in zip(found, sample)]


def largest_share(pairs, n):
    """Share of the rows that are in the largest component of the pairs."""
    parent = {}

    def root(row):
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in pairs.tolist():
        parent[root(a)] = root(b)
    sizes = {}
    for row in list(parent):
        sizes[root(row)] = sizes.get(root(row), 0) + 1
    return max(sizes.values(), default=0) / n


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--ocelli", required=True, help="the ocelli command")
    p.add_argument("--out", type=Path, required=True, help="where data are kept")
    p.add_argument("--result", type=Path, help="a file that gets the last line, too")
    p.add_argument("--only-first", action="store_true", help="a million rows, and no more")
    a = p.parse_args()
    source = vectors(a.out)
    base = vecs.mapped(source / "base.fvecs")
    cores = len(os.sched_getaffinity(0))
    faiss.omp_set_num_threads(cores)
    say(
        f"== {source.name}, each tenth a copy, near within {NEAR}, m = {M}, nprobe {NPROBE}, "
        f"{cores} cores, on {processor.name()}"
    )
    results = [measured(a, base, times) for times in ([1] if a.only_first else [1, 10])]
    first, last = results[0], results[-1]
    growth = None
    if len(results) > 1:
        growth = math.log(last["seconds"] / first["seconds"]) / math.log(
            last["rows"] / first["rows"]
        )
    say()
    line = json.dumps(
        {
            "processor": processor.name(),
            "speed_ratio": round(last["ratio"], 2),
            "rows_per_s_1m": round(first["rows"] / first["seconds"]),
            "rows_per_s_10m": None
            if growth is None
            else round(last["rows"] / last["seconds"]),
            "join_recall": round(min(r["recall"] for r in results), 4),
            "largest_component_share": round(max(r["largest"] for r in results), 6),
            "growth_exponent": growth and round(growth, 3),
        }
    )
    if a.result:
        a.result.write_text(line)
    say(line)


if __name__ == "__main__":
    main()
