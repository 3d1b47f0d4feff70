"""Writes the golden files of the FAISS import: small indexes, and what FAISS itself answers from
them.

    python -m venv venv && venv/bin/pip install numpy faiss-cpu==1.15.1
    venv/bin/python make_golden.py

The same with faiss-cpu 1.12.0 (the oldest version that is imported), 1.13.2 and 1.14.3 writes the
files whose names begin with the version.

Beside each NAME.faiss that can be imported stands NAME.json: queries, and for some nprobe the
ids and scores that FAISS found, k of them. Files under refused/ are sound, but not importable.
Training in FAISS is not reproducible across machines, so a second run writes other files; the
tests hold for those too.
"""

import json
import os
import sys

import faiss
import numpy as np

faiss.omp_set_num_threads(1)
K = 20
# What wrapped indexes refer to.
KEPT = []
HERE = os.path.dirname(os.path.abspath(__file__))


def mixture(n, d, seed):
    """Rows around 12 centres, the mean far from the origin, so that a forgotten mean shows."""
    centres = np.random.default_rng(5).normal(size=(12, d)) + 0.7
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, 12, n)] + 0.35 * rng.normal(size=(n, d))).astype("float32")


def write(
    name,
    factory,
    metric,
    d=16,
    rows=400,
    ids=None,
    prepare=None,
    training_rows=1200,
    queries=6,
    wrap=None,
):
    index = faiss.index_factory(d, factory, metric)
    if prepare is not None:
        prepare(index)
    index.train(mixture(training_rows, d, 1))
    x = mixture(rows, d, 2)
    if ids == "sparse":
        # Only what falls into three of the lists, so that the file lists the others not at all.
        _, lists = faiss.extract_index_ivf(index).quantizer.search(x, 1)
        x = x[lists[:, 0] < 3]
        # Ids with gaps, in no order, beyond 32 bits.
        numbers = np.random.default_rng(3).permutation(len(x)).astype("int64") * 1_000_000_007 + 42
        index.add_with_ids(x, numbers)
        faiss.extract_index_ivf(index).set_direct_map_type(faiss.DirectMap.Hashtable)
    elif ids == "mapped":
        if wrap is not None:
            index = wrap(index)
        # Ids with gaps, in no order, beyond 32 bits, up to the largest that there is.
        numbers = np.random.default_rng(3).permutation(len(x)).astype("int64") * 1_000_000_007 + 42
        numbers[7] = 2**63 - 1
        index.add_with_ids(x, numbers)
    else:
        index.add(x)
    faiss.write_index(index, os.path.join(HERE, name + ".faiss"))
    if name.startswith("refused/"):
        return
    ivf = faiss.extract_index_ivf(index)
    q = mixture(queries, d, 4)
    searches = []
    for nprobe in (ivf.nlist, 2):
        ivf.nprobe = nprobe
        scores, found = index.search(q, K)
        searches.append(
            {
                "nprobe": nprobe,
                "ids": found.tolist(),
                "scores": [[float(s) for s in row] for row in scores],
            }
        )
    expected = {
        "factory": factory,
        "faiss": faiss.__version__,
        "metric": "l2" if metric == faiss.METRIC_L2 else "ip",
        "rows": index.ntotal,
        "nlist": ivf.nlist,
        "queries": q.tolist(),
        "searches": searches,
    }
    with open(os.path.join(HERE, name + ".json"), "w") as out:
        json.dump(expected, out, separators=(",", ":"))
        out.write("\n")


def no_residual(index):
    faiss.extract_index_ivf(index).by_residual = False


def array_map(index):
    faiss.extract_index_ivf(index).set_direct_map_type(faiss.DirectMap.Array)


def map_within(index):
    """The id map between the transforms and the lists."""
    outer = faiss.downcast_index(index)
    inner = faiss.IndexIDMap(outer.index)
    inner.own_fields = False
    outer.own_fields = False
    wrapped = faiss.IndexPreTransform(inner)
    for i in reversed(range(outer.chain.size())):
        wrapped.prepend_transform(outer.chain.at(i))
    wrapped.own_fields = False
    KEPT.extend([index, inner])
    return wrapped


def write_fast_scan(name, factory, metric, **more):
    """An index of plain 4-bit codes and what it answers, then the same codes for fast scan in
    its place: fast scan itself answers from rounded tables."""
    write(name, factory, metric, **more)
    path = os.path.join(HERE, name + ".faiss")
    index = faiss.read_index(path)
    fast = faiss.IndexIVFPQFastScan(faiss.downcast_index(index))
    faiss.write_index(fast, path)


L2, IP = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT
if not faiss.__version__.startswith("1.15."):
    write(f"{faiss.__version__}-l2-pca-opq", "PCA12,OPQ4,IVF4,PQ4x4np", L2, d=20)
    write(f"{faiss.__version__}-ip-sparse", "IVF8,PQ8x4np", IP, d=32, ids="sparse")
    sys.exit()

os.makedirs(os.path.join(HERE, "refused"), exist_ok=True)

write("l2", "IVF8,PQ4np", L2)
write("ip", "IVF8,PQ4np", IP)
write("l2-polysemous-map", "IVF4,PQ4", L2, prepare=array_map)
write("l2-opq", "OPQ4,IVF4,PQ4np", L2)
write("ip-opq-reduce", "OPQ4_12,IVF4,PQ4x4np", IP, d=20)
write("l2-4bit-odd", "IVF4,PQ5x4np", L2, d=20)
write("l2-pca", "PCA12,IVF4,PQ4x4np", L2, d=20)
write("l2-pca-rotated", "PCAR12,IVF4,PQ4x4np", L2, d=20)
write("l2-pca-opq", "PCA12,OPQ4,IVF4,PQ4x4np", L2, d=20)
write("ip-pca-norm", "PCA12,L2norm,IVF4,PQ4x4np", IP, d=20)
write("ip-norm-opq", "L2norm,OPQ4,IVF4,PQ4x4np", IP)
write("l2-rotation", "RR16,IVF4,PQ4x4np", L2, d=12)
write("l2-sparse", "IVF8,PQ8x4np", L2, d=32, ids="sparse")

write("l2-idmap", "IDMap,IVF4,PQ4x4np", L2, ids="mapped")
write("ip-idmap2-opq", "IDMap2,OPQ4,IVF4,PQ4x4np", IP, ids="mapped")
write("l2-opq-idmap", "OPQ4,IVF4,PQ4x4np", L2, ids="mapped", wrap=map_within)
write("l2-hnsw-coarse", "IVF6_HNSW4,PQ4x4np", L2)
write_fast_scan("l2-fastscan", "IVF4,PQ4x4np", L2)
write_fast_scan("ip-fastscan-odd", "IVF4,PQ5x4np", IP, d=20)

write("refused/ip-pca", "PCA12,IVF4,PQ4x4np", IP, d=20, rows=40)
write("refused/l2-pca-whitening", "PCAW12,IVF4,PQ4x4np", L2, d=20, rows=40)
write("refused/l2-norm-pca", "L2norm,PCA12,IVF4,PQ4x4np", L2, d=20, rows=40)
write("refused/l2-no-residual", "IVF4,PQ4x4np", L2, rows=40, prepare=no_residual)
write("refused/l2-fastscan", "IVF4,PQ4x4fs", L2, rows=40)
write("refused/l2-hnsw-codes", "IVF4(HNSW4_SQ8),PQ4x4np", L2, rows=40)
write("refused/l2-ivfflat", "IVF4,Flat", L2, rows=40)
write("refused/l2-pq", "PQ4x4np", L2, rows=40)
write("refused/l2-6bit", "IVF4,PQ4x6np", L2, rows=40)
write("refused/l2-empty", "IVF4,PQ4x4np", L2, rows=0)
write("refused/l2-padded", "Pad16,IVF4,PQ4x4np", L2, d=12, rows=40)
