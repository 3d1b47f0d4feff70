"""Long lists: what `./bench lists` runs. No peer takes part; the instruction levels are compared.

Ten million vectors in 4,096 lists, 2,441 each: the million SIFT vectors, and nine times the same
with noise (a standard deviation of 12 in each dimension). Ocelli trains, builds, and then

- answers all 10,000 queries in one call, each scanning its own lists or sharing lists with others;
- joins the index with itself, as deduplication does: rows of a list against the 64 nearest lists,
  both ways, each pair once.

The last line is one JSON object. `billion_core_hours` is what the join of a billion rows takes at
the rate that was measured: 2¹⁸ lists of 3,815 rows, where a row meets the rows of as many lists as
here.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import processor
import vecs
from datasets import vectors
from processes import run, say

COPIES, NOISE = 10, 12
NLIST, M, NPROBE, K = 4096, 16, 64, 100
# A squared distance that near copies have.
NEAR = 3000
JOIN_SECONDS = 30
BILLION, BILLION_NLIST = 1_000_000_000, 1 << 18


def build(a, source, folder):
    """Trains on the first million and builds the ten; some 3 GB for a while, 0.2 GB afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    base = vecs.mapped(source / "base.fvecs")
    rng = np.random.default_rng(7)
    parts = []
    for copy in range(COPIES):
        raw, part = folder / f"{copy}.u8bin", folder / f"{copy}.part"
        with open(raw, "wb") as out:
            np.array(base.shape, np.uint32).tofile(out)
            for start in range(0, len(base), 50_000):
                x = np.array(base[start : start + 50_000])
                if copy:
                    x += rng.normal(0, NOISE, x.shape).astype(np.float32)
                np.clip(np.rint(x), 0, 255).astype(np.uint8).tofile(out)
        run(a.ocelli, "import", "vectors", raw, "--out", part, "--spec", "foreign:sift")
        raw.unlink()
        parts.append(part)
    train = [a.ocelli, "train", parts[0], "--nlist", NLIST, "--m", M, "--metric", "l2"]
    run(*train, "--opq", "false", "--max-rows", 0, "--niter", 10, "--out", folder / "model")
    partial = folder / "index.partial"
    shutil.rmtree(partial, ignore_errors=True)
    run(a.ocelli, "build", *parts, "--model", folder / "model", "--out", partial)
    for path in folder.glob("*.part*"):
        path.unlink()
    os.replace(partial, folder / "index")


def measure(*command):
    """Runs a worker with one thread, shows what it prints, and returns its last line."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {command[0]} ended with exit code {done.returncode}")
    *table, last = done.stdout.strip().splitlines()
    say("\n".join(table))
    return json.loads(last)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", required=True)
    parser.add_argument("--join", required=True)
    parser.add_argument("--ocelli", required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    source = vectors(a.out)
    folder = a.out / f"{source.name}-long-lists"
    if not (folder / "index" / "CURRENT").exists():
        build(a, source, folder)
    index, queries = folder / "index", source / "query.fvecs"
    rows = COPIES * len(vecs.mapped(source / "base.fvecs"))
    say(f"== {rows:,} vectors in {NLIST:,} lists, one thread, on {processor.name()}")
    say(f"\nBatches, nprobe {NPROBE}, k = {K}")
    batches = measure(a.batches, index, queries, NPROBE, K)
    say("\nSelf-join")
    join = measure(a.join, index, NPROBE, NEAR, JOIN_SECONDS)
    result = {"processor": processor.name(), "rows": rows, "nlist": NLIST}
    for level in ("avx2", "avx512", "avx512vbmi"):
        if f"{level}_gpairs_s" in join:
            rate = join[f"{level}_gpairs_s"]
            # As many lists for each row as here, each so much longer.
            longer = (BILLION / BILLION_NLIST) / (rows / NLIST)
            pairs = BILLION * join[f"{level}_pairs_a_row"] * longer
            never, shared = batches[f"{level}_never_us"], batches[f"{level}_where_pays_us"]
            result[level] = {
                "batch_ratio": round(never / shared, 3),
                "batch_us": shared,
                "join_gpairs_s": rate,
                "join_pairs_a_row": join[f"{level}_pairs_a_row"],
                "billion_core_hours": round(pairs / (rate * 1e9) / 3600, 1),
            }
    say("")
    say(json.dumps(result))


if __name__ == "__main__":
    main()
