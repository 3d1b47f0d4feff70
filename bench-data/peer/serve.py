"""The search server beside PostgreSQL with pgvector: what `./bench serve` runs.

One million SIFT vectors, nprobe 64, k = 10, no keys; the server on one core, its client on another.
Both servers are asked for the same recall: pgvector's two kinds of index with the least effort that
reaches Ocelli's, see postgres.py.

The last line is one JSON object.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import search
import vecs

HERE = Path(__file__).resolve().parent
NPROBE, K = 64, 10
REQUIREMENTS = HERE / "requirements-postgres.txt"


def say(text=""):
    print(text, flush=True)


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


def recall(ids, truth):
    return float((ids[:, :K, None] == truth[:, None, :K]).any(1).mean())


def postgres_python(out):
    """Python with PostgreSQL in it, made once; None if it cannot be made."""
    folder = out / "postgres-venv"
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != REQUIREMENTS.read_bytes():
        say("installing the peer (PostgreSQL with pgvector, once)")
        shutil.rmtree(folder, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", folder]).returncode == 0
        pip = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "-r",
            REQUIREMENTS,
        ]
        if not made or subprocess.run(pip).returncode != 0:
            return None
        shutil.copy(REQUIREMENTS, stamp)
    return python


def postgres(a, folder, wanted):
    python = postgres_python(a.out)
    if python is None:
        say("PostgreSQL cannot be installed here: no peer is measured")
        return None
    database = folder / "pgvector"
    return lines(
        [python, HERE / "postgres.py", folder, database, K, wanted, a.server_core, a.client_core]
    )


def compare(found, peer):
    """Prints both servers and gives the ratios, each against the better of the peer's kinds of
    index."""
    say(
        f"\nPostgreSQL {peer['version']} with pgvector {peer['pgvector']} on the same core, the "
        "client on the other; "
        "'empty' is SELECT 1, or an empty call"
    )
    say(
        f"  {'':<34}{'recall':>8}{'empty us':>10}{'single p50':>12}{'p99':>8}{'per s':>9}"
        f"{'batch per s':>13}{'index MB':>10}"
    )
    for kind, row in peer["kinds"].items():
        say(
            f"  {kind + ', ' + row['knob']:<34}{row['recall']:>8.4f}{row['empty_p50_us']:>10.0f}"
            f"{row['p50_us']:>12.0f}{row['p99_us']:>8.0f}{row['per_s']:>9,.0f}"
            f"{row['batch_per_s']:>13,.0f}{row['index_bytes'] / 1e6:>10.0f}"
        )
    say(
        f"  {'Ocelli':<34}{found['recall']:>8.4f}{found['empty_p50_us']:>10.0f}"
        f"{found['single_p50_us']:>12.0f}{found['single_p99_us']:>8.0f}"
        f"{found['queries_per_s']:>9,.0f}{found['batch_queries_per_s']:>13,.0f}"
    )
    kinds = peer["kinds"].values()
    best = {
        "single": min(row["p50_us"] for row in kinds),
        "rate": max(row["per_s"] for row in kinds),
        "batch": max(row["batch_per_s"] for row in kinds),
    }
    return {
        "peer_single_ratio": round(best["single"] / found["single_p50_us"], 1),
        "peer_rate_ratio": round(found["queries_per_s"] / best["rate"], 1),
        "peer_batch_ratio": round(found["batch_queries_per_s"] / best["batch"], 1),
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

    folder = a.vectors or search.vectors(a.out)
    truth = vecs.read(folder / "groundtruth.ivecs", np.int32)
    trained = folder / f"{search.SAME_CODES.replace(',', '_')}.faiss-{search.faiss.__version__}"
    search.run(
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
        search.run(a.ocelli, "import", "faiss", trained, "--out", index, "--spec", "foreign:sift")
        say(
            f"\n== {truth.shape[0]:,} queries of 1 M SIFT vectors, {search.SAME_CODES}, nprobe "
            f"{NPROBE}, k = {K}; server "
            f"on core {a.server_core}, client on core {a.client_core}"
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
    peer = None if a.no_peer else postgres(a, folder, found["recall"])
    if peer:
        found.update(compare(found, peer))
    say()
    say(json.dumps(found))


if __name__ == "__main__":
    main()
