"""Training and adding beside FAISS, and the recall that comes of it: what `./bench train` runs.

Both train nlist 2048, m = 16 on 256 rows a list of the same million vectors and then encode all of
them, in turn, each in a process of its own with the same number of threads (two, or one where there
is one core). FAISS runs once by default and once with OPENBLAS_CORETYPE=SkylakeX if that makes a
difference (see faiss_peer.py). Its times are those of `train` and `add` on arrays in memory.
Ocelli's are those that its commands report, which include more: reading and verifying the part, and
writing the shard to disk.

The last line is one JSON object: ratios of the medians, Ocelli's time over FAISS's (below 1:
faster).
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

import numpy as np

import faiss_peer
import vecs
from datasets import recall, vectors
from processes import Worker, run, say
from search import K, NPROBES, SAME_CODES

NLIST, M = 2048, 16
ROWS_PER_LIST = 256
ROUNDS = 3


def peer(base, out):
    """One training of FAISS, in this process. Returns the times and the recalls of the result."""
    import faiss

    x = vecs.read(base / "base.fvecs", np.float32)
    index = faiss.index_factory(x.shape[1], SAME_CODES)
    start = time.perf_counter()
    index.train(x[: ROWS_PER_LIST * NLIST])
    trained = time.perf_counter()
    index.add(x)
    added = time.perf_counter()
    queries, truth = (
        vecs.read(base / "query.fvecs", np.float32),
        vecs.read(base / "groundtruth.ivecs", np.int32),
    )
    recalls = {}
    for nprobe in NPROBES:
        faiss.extract_index_ivf(index).nprobe = nprobe
        recalls[str(nprobe)] = recall(index.search(queries, K)[1], truth)
    result = {
        "train_s": trained - start,
        "add_s": added - trained,
        "recall": recalls,
        "version": faiss.__version__,
        "options": faiss.get_compile_options().strip(),
    }
    Path(out).write_text(json.dumps(result))


def theirs(base, threads, scratch, **tuned):
    out = scratch / "peer.json"
    env = faiss_peer.environment(threads, tuned)
    done = subprocess.run([sys.executable, __file__, "--peer", base, out], env=env)
    if done.returncode != 0:
        sys.exit(f"bench: FAISS ended with exit code {done.returncode}")
    return json.loads(out.read_text())


def ocelli(program, *args):
    done = subprocess.run(
        [program, *map(str, args), "--format", "json"], stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        sys.exit(f"bench: ocelli {args[0]} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def ours(a, base, part, threads, seed, scratch):
    model, index = scratch / "ours.model", scratch / "ours.index"
    shutil.rmtree(index, ignore_errors=True)
    trained = ocelli(
        a.ocelli,
        "train",
        part,
        "--nlist",
        NLIST,
        "--m",
        M,
        "--max-rows",
        ROWS_PER_LIST * NLIST,
        "--threads",
        threads,
        "--seed",
        seed,
        "--out",
        model,
    )
    built = ocelli(a.ocelli, "build", part, "--model", model, "--threads", threads, "--out", index)
    truth = vecs.read(base / "groundtruth.ivecs", np.int32)
    worker = Worker(a.worker, index, base / "query.fvecs")
    recalls = {}
    for nprobe in NPROBES:
        worker.ask("ids", nprobe, K, scratch / "ids.ivecs")
        recalls[str(nprobe)] = recall(vecs.read(scratch / "ids.ivecs", np.int32), truth)
    worker.close()
    return {
        "train_s": trained["seconds"],
        "add_s": built["seconds"],
        "recall": recalls,
        "stages": trained["stage_seconds"],
        "rows": built["rows"],
    }


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--peer", nargs=2, metavar=("VECTORS", "OUT"), help=argparse.SUPPRESS)
    p.add_argument("--worker", help="executable of the bench `search` of ocelli-index")
    p.add_argument("--ocelli", help="the ocelli command")
    p.add_argument("--out", type=Path, help="where data are kept")
    p.add_argument(
        "--vectors",
        type=Path,
        help="folder with base.fvecs, query.fvecs, groundtruth.ivecs of your own",
    )
    p.add_argument("--rounds", type=int, default=ROUNDS)
    a = p.parse_args()
    if a.peer:
        return peer(Path(a.peer[0]), a.peer[1])
    base = a.vectors or vectors(a.out)
    threads = min(2, len(os.sched_getaffinity(0)))
    part = a.out / "train-base.part"
    part.unlink(missing_ok=True)
    run(a.ocelli, "import", "vectors", base / "base.fvecs", "--spec", "foreign:sift", "--out", part)
    tuned = {"faiss tuned": faiss_peer.WAYS["tuned"]} if "tuned" in faiss_peer.ways() else {}
    found = {"ocelli": [], "faiss": [], **{name: [] for name in tuned}}
    with tempfile.TemporaryDirectory(dir=a.out) as scratch:
        scratch = Path(scratch)
        for round_ in range(a.rounds):
            turns = [
                ("ocelli", lambda: ours(a, base, part, threads, 1234 + round_, scratch)),
                ("faiss", lambda: theirs(base, threads, scratch)),
                *(
                    (name, lambda: theirs(base, threads, scratch, **env))
                    for name, env in tuned.items()
                ),
            ]
            # Who begins changes, so that neither always follows the other.
            for name, turn in turns if round_ % 2 == 0 else turns[::-1]:
                found[name].append(turn())
                f = found[name][-1]
                say(
                    f"round {round_ + 1} {name:<11} train {f['train_s']:6.1f} s, add "
                    f"{f['add_s']:5.1f} s, recall10@10 "
                    + ", ".join(f"{r:.4f} at nprobe {n}" for n, r in f["recall"].items())
                )
    part.unlink()

    median = lambda name, of: statistics.median(of(f) for f in found[name])
    kinds = {
        "train": lambda f: f["train_s"],
        "add": lambda f: f["add_s"],
        "train_add": lambda f: f["train_s"] + f["add_s"],
    }
    about = found["faiss"][0]
    say(
        f"\n{found['ocelli'][0]['rows']:,} vectors, nlist {NLIST}, m = {M}, {threads} "
        f"thread{'s' * (threads > 1)} each; "
        f"FAISS {about['version']} ({about['options']}); medians of {a.rounds} rounds, in brackets "
        "lowest to highest"
    )
    ratios = {}
    for kind, of in kinds.items():
        mine, its = median("ocelli", of), median("faiss", of)
        ratios[kind] = round(mine / its, 3)
        spread = lambda name: f"{min(map(of, found[name])):.1f} to {max(map(of, found[name])):.1f}"
        say(
            f"  {kind.replace('_', ' + '):<12} Ocelli {mine:6.1f} s ({spread('ocelli')})   FAISS "
            f"{its:6.1f} s ({spread('faiss')})   "
            f"Ocelli / FAISS {ratios[kind]:.3f}"
        )
    for name in tuned:
        mine, its = median("ocelli", kinds["train_add"]), median(name, kinds["train_add"])
        ratios["tuned"] = round(mine / its, 3)
        say(
            f"  train + add  FAISS with {tuned[name]} {its:6.1f} s, Ocelli / "
            f"FAISS {ratios['tuned']:.3f}"
        )
    recalls = {
        name: {str(n): round(median(name, lambda f: f["recall"][str(n)]), 4) for n in NPROBES}
        for name in found
    }
    for n in NPROBES:
        say(
            f"  recall10@10 at nprobe {n:<3} Ocelli {recalls['ocelli'][str(n)]:.4f}   FAISS "
            f"{recalls['faiss'][str(n)]:.4f}"
        )
    say(
        "  Ocelli's stages, last round: "
        + ", ".join(f"{k} {v:.1f} s" for k, v in found["ocelli"][-1]["stages"].items())
    )
    if (base / "about.json").exists() and json.loads((base / "about.json").read_text()).get(
        "synthetic"
    ):
        say(
            "SYNTHETIC VECTORS: no photos were found (OCELLI_DATA); these figures compare with no "
            "others."
        )
    say()
    say(
        json.dumps(
            {
                "train_ratio": ratios["train"],
                "add_ratio": ratios["add"],
                "train_add_ratio": ratios["train_add"],
                "train_add_ratio_tuned_blas": ratios.get("tuned"),
                "recall_ours": recalls["ocelli"],
                "recall_faiss": recalls["faiss"],
                "threads": threads,
            }
        )
    )


if __name__ == "__main__":
    main()
