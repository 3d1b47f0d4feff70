"""The search server beside PostgreSQL with pgvector: what `./bench serve` runs.

One million SIFT vectors, k = 10, no keys; the server on one core, its client on another. Ocelli's
own figures are at nprobe 64, without finer codes.

Beside PostgreSQL both are asked for the same recall. pgvector's two kinds of index are asked with
the least effort that reaches each of RECALLS (postgres.py). For each of these, Ocelli searches an
index of the same vectors with 8-bit scalars as finer codes, with the lists and candidates that find
as much, within .01. Where none do, there is no ratio.

The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import processor
import refined
import search
import vecs
from datasets import recall, vectors
from processes import HERE, environment, run, say

NPROBE, K = 64, 10
# What the peer is asked for, and how far a recall may be from another that is called equal.
RECALLS, EQUAL = (0.60, 0.75, 0.80, 0.90, 0.95, 0.98), 0.01
FINE_CODES = "sq8"
# Efforts of Ocelli that are tried: lists, and candidates that are scored again.
LISTS = (6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192)
CANDIDATES = (10, 12, 15, 17, 20, 22, 25, 27, 30, 35, 40, 50, 60, 80, 100, 150, 200)
REQUIREMENTS = HERE / "requirements-postgres.txt"


def lines(command, echo=True):
    """Runs a command; prints its output except the last line, and returns that line."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    last = None
    for line in process.stdout:
        if last is not None and echo:
            say(last)
        last = line.rstrip("\n")
    if process.wait() != 0 or last is None:
        sys.exit(
            f"bench: {' '.join(map(str, command[:6]))} ended with exit code {process.returncode}"
        )
    return json.loads(last)


def postgres(a, folder):
    what = "the peer (PostgreSQL with pgvector)"
    python = environment(a.out / "postgres-venv", REQUIREMENTS, what)
    if python is None:
        say("PostgreSQL cannot be installed here: no peer is measured")
        return None
    database, wanted = folder / "pgvector", ",".join(map(str, RECALLS))
    return lines(
        [python, HERE / "postgres.py", folder, database, K, wanted, a.server_core, a.client_core]
    )


def ask(a, index, folder, out, efforts):
    """Ocelli's client, with these efforts: the times of those without a `?`."""
    client = ["taskset", "-c", a.client_core, a.client, "at", index, folder / "query.fvecs"]
    return lines([*client, a.server, a.server_core, out, *efforts], echo=False)


def cost(lists, candidates):
    """About how long a query takes: a list is as much as four candidates."""
    return 4 * lists + candidates


def beside(a, folder, index, truth, rows):
    """Ocelli at the recall of each of the peer's rows: (row, effort, recall, times), of None where
    no effort finds as much."""
    out = []
    with tempfile.TemporaryDirectory(dir=a.out) as scratch:
        scratch = Path(scratch)
        every = [(n, r) for n in LISTS for r in CANDIDATES]
        name = lambda effort: f"{effort[0]}*{effort[1]}"
        ask(a, index, folder, scratch, [f"?{name(effort)}" for effort in every])
        file = lambda effort: scratch / f"{name(effort)}.ivecs"
        found = {effort: recall(vecs.read(file(effort), np.int32), truth) for effort in every}
        for row in rows:
            # As much as the peer finds, or a little more; else a little less.
            more = [e for e in every if 0 <= found[e] - row["recall"] <= EQUAL]
            less = [e for e in every if 0 < row["recall"] - found[e] <= EQUAL]
            effort = min(more or less, key=lambda e: cost(*e), default=None)
            out.append((row, effort))
        times = ask(a, index, folder, scratch, sorted({name(e) for _, e in out if e}))
    return [(row, e and name(e), e and found[e], e and times[name(e)]) for row, e in out]


def compare(peer, pairs):
    """Prints both servers at each recall; the ratios."""
    say(
        f"\nPostgreSQL {peer['version']} with pgvector {peer['pgvector']} on the same core, the "
        f"client on the other; below each, Ocelli with {FINE_CODES} at the same recall; 'empty' is "
        "SELECT 1"
    )
    say(
        f"  {'':<40}{'recall':>8}{'empty us':>10}{'single p50':>12}{'p99':>8}{'per s':>9}"
        f"{'batch per s':>13}{'index MB':>10}"
    )
    out = []
    for row, effort, found, times in pairs:
        say(
            f"  {row['kind'] + ', ' + row['knob']:<40}{row['recall']:>8.4f}"
            f"{row['empty_p50_us']:>10.0f}{row['p50_us']:>12.0f}{row['p99_us']:>8.0f}"
            f"{row['per_s']:>9,.0f}{row['batch_per_s']:>13,.0f}{row['index_bytes'] / 1e6:>10.0f}"
        )
        if effort is None:
            say(f"    no effort of Ocelli finds as much, within {EQUAL}: no ratio")
            continue
        ratios = {
            "single": round(row["p50_us"] / times["single_p50_us"], 1),
            "rate": round(times["queries_per_s"] / row["per_s"], 1),
            "batch": round(times["batch_queries_per_s"] / row["batch_per_s"], 1),
        }
        say(
            f"    {'Ocelli, nprobe * candidates ' + effort:<38}{found:>8.4f}{'':>10}"
            f"{times['single_p50_us']:>12.0f}{times['single_p99_us']:>8.0f}"
            f"{times['queries_per_s']:>9,.0f}{times['batch_queries_per_s']:>13,.0f}"
        )
        say(f"      ratios: {ratios}")
        told = {"peer": f"{row['kind']}, {row['knob']}", "recall": round(row["recall"], 4)}
        out.append({**told, "ocelli": effort, "ocelli_recall": round(found, 4), **ratios})
    lowest = lambda kind: min((of[kind] for of in out), default=None)
    return {
        "peer_equal_recall": out,
        "peer_single_ratio": lowest("single"),
        "peer_rate_ratio": lowest("rate"),
        "peer_batch_ratio": lowest("batch"),
    }


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--client", required=True, help="executable of the bench `serve` of ocelli-searcher"
    )
    p.add_argument("--server", required=True, help="the ocelli-searcher program")
    p.add_argument("--ocelli", required=True, help="the ocelli command")
    p.add_argument("--out", type=Path, required=True, help="where data are kept")
    p.add_argument(
        "--vectors",
        type=Path,
        help="folder with base.fvecs, query.fvecs, groundtruth.ivecs of your own",
    )
    p.add_argument("--no-peer", action="store_true", help="Ocelli alone")
    a = p.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit(
            "bench: serve needs two cores, one for the server and one for the client; found one"
        )
    a.server_core, a.client_core = str(cores[0]), str(cores[1])

    folder = a.vectors or vectors(a.out)
    truth = vecs.read(folder / "groundtruth.ivecs", np.int32)
    trained = folder / f"{search.SAME_CODES.replace(',', '_')}.faiss-{search.faiss.__version__}"
    run(
        sys.executable,
        HERE / "train.py",
        folder / "base.fvecs",
        search.SAME_CODES,
        trained,
        "--metric",
        "l2",
    )
    with tempfile.TemporaryDirectory(dir=a.out) as scratch:
        index, ids = Path(scratch) / "index", Path(scratch) / "ids.ivecs"
        run(a.ocelli, "import", "faiss", trained, "--out", index, "--spec", "foreign:sift")
        say(
            f"\n== {truth.shape[0]:,} queries of 1 M SIFT vectors, {search.SAME_CODES}, nprobe "
            f"{NPROBE}, k = {K}; server "
            f"on core {a.server_core}, client on core {a.client_core}, {processor.name()}"
        )
        found = lines(
            [
                "taskset",
                "-c",
                a.client_core,
                a.client,
                "load",
                index,
                folder / "query.fvecs",
                a.server,
                a.server_core,
                ids,
            ]
        )
        found["recall"] = round(recall(vecs.read(ids, np.int32), truth), 4)
    say(f"recall10@10: {found['recall']:.4f}")
    found["processor"] = processor.name()
    peer = None if a.no_peer else postgres(a, folder)
    if peer:
        fine = refined.build(a.ocelli, folder, trained, [FINE_CODES])[FINE_CODES]
        found.update(compare(peer, beside(a, folder, fine, truth, peer["rows"])))
    say()
    say(json.dumps(found))


if __name__ == "__main__":
    main()
