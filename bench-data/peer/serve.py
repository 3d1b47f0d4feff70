"""The search server beside Milvus: what `./bench serve` runs.

One million SIFT vectors, nprobe 64, k = 10, no keys; the server on one core, its client on another. The client is
the bench `serve` of ocelli-searcher: it sends prepared bytes and looks at answers only as far as gRPC does, so
that it costs the same for both servers. Milvus comes from PyPI as a package with the server in it; it has the same
kind of index (IVF_PQ, 2048 lists, 16 bytes a vector, 8 bits) and is asked over gRPC as well.

PostgreSQL with pgvector is not measured: Debian 12 has no package of pgvector.

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
MILVUS = ("milvus==2.3.5", "pymilvus==2.3.7", "marshmallow<4", "setuptools<80", "numpy")


def say(text=""):
    print(text, flush=True)


def lines(command, echo=True):
    """Runs a command; echoes what it prints but for the last line, and returns that."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    last = None
    for line in process.stdout:
        if last is not None and echo:
            say(last)
        last = line.rstrip("\n")
    if process.wait() != 0 or last is None:
        sys.exit(f"bench: {' '.join(map(str, command[:6]))} ended with exit code {process.returncode}")
    return json.loads(last)


def recall(ids, truth):
    return float((ids[:, :K, None] == truth[:, None, :K]).any(1).mean())


def milvus_python(out):
    """Python with Milvus in it, made once; None where it cannot be."""
    folder = out / "milvus-venv"
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        say("installing the peer (Milvus, once)")
        shutil.rmtree(folder, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", folder]).returncode == 0
        made = made and subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *MILVUS]).returncode == 0
        if not made:
            return None
        (folder / ".complete").touch()
    return python


def milvus(a, folder, truth):
    python = milvus_python(a.out)
    if python is None:
        say("Milvus cannot be installed here: no peer is measured")
        return None
    with tempfile.TemporaryDirectory() as scratch:
        process = subprocess.Popen(
            [str(python), str(HERE / "milvus_server.py"), str(folder), scratch, str(NPROBE), str(K), a.server_core],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        address = process.stdout.readline().strip()
        if not address:
            say("Milvus does not run here: no peer is measured")
            return None
        ids = vecs.read(Path(scratch) / "ids.ivecs", np.int32)
        found = {"recall": recall(ids, truth)}
        for kind, path in (("single", "single.messages"), ("batch", "batch.messages")):
            found[kind] = lines(["taskset", "-c", a.client_core, a.client, "raw", address,
                                 "/milvus.proto.milvus.MilvusService/Search", Path(scratch) / path, 3])
        process.stdin.close()
        process.wait()
        return found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--client", required=True, help="executable of the bench `serve` of ocelli-searcher")
    p.add_argument("--server", required=True, help="the ocelli-searcher program")
    p.add_argument("--ocelli", required=True, help="the ocelli command")
    p.add_argument("--out", type=Path, required=True, help="where data are kept")
    p.add_argument("--vectors", type=Path, help="folder with base.fvecs, query.fvecs, groundtruth.ivecs of your own")
    p.add_argument("--no-peer", action="store_true", help="Ocelli alone")
    a = p.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench: serve needs two cores, one for the server and one for the client; found one")
    a.server_core, a.client_core = str(cores[0]), str(cores[1])

    folder = a.vectors or search.vectors(a.out)
    truth = vecs.read(folder / "groundtruth.ivecs", np.int32)
    trained = folder / f"{search.SAME_CODES.replace(',', '_')}.faiss-{search.faiss.__version__}"
    search.run(sys.executable, HERE / "train.py", folder / "base.fvecs", search.SAME_CODES, trained, "--metric", "l2")
    with tempfile.TemporaryDirectory(dir=a.out) as scratch:
        index, ids = Path(scratch) / "index", Path(scratch) / "ids.ivecs"
        search.run(a.ocelli, "import", "faiss", trained, "--out", index, "--spec", "foreign:sift")
        say(f"\n== {truth.shape[0]:,} queries of 1 M SIFT vectors, {search.SAME_CODES}, nprobe {NPROBE}, k = {K}; server "
            f"on core {a.server_core}, client on core {a.client_core}")
        found = lines(["taskset", "-c", a.client_core, a.client, "load", index, folder / "query.fvecs", a.server,
                       a.server_core, ids])
        found["recall"] = round(recall(vecs.read(ids, np.int32), truth), 4)
    say(f"recall10@10: {found['recall']:.4f}")
    peer = None if a.no_peer else milvus(a, folder, truth)
    if peer:
        say(f"\nMilvus 2.3.5, IVF_PQ with the same sizes, on the same core, the same client: recall10@10 {peer['recall']:.4f}; "
            f"single query p50 {peer['single']['p50_us']:,.0f} us (p99 {peer['single']['p99_us']:,.0f}), at most "
            f"{peer['single']['per_s']:,.0f}/s; in batches of 1,000 {1000 * peer['batch']['per_s']:,.0f} queries/s")
        say(f"Ocelli: single query p50 {found['single_p50_us']:,.0f} us, at most {found['queries_per_s']:,.0f}/s; in batches "
            f"{found['batch_queries_per_s']:,.0f} queries/s")
        found["peer_recall"] = round(peer["recall"], 4)
        found["peer_single_ratio"] = round(peer["single"]["p50_us"] / found["single_p50_us"], 1)
        found["peer_rate_ratio"] = round(found["queries_per_s"] / peer["single"]["per_s"], 1)
        found["peer_batch_ratio"] = round(found["batch_queries_per_s"] / (1000 * peer["batch"]["per_s"]), 1)
    say()
    say(json.dumps(found))


if __name__ == "__main__":
    main()
