"""Trains and fills an index of FAISS with its defaults, on all cores, unless the file is there.

    python train.py BASE.fvecs FACTORY OUT.faiss [--metric l2|ip] [--rows-per-list N]
                    [--lists-of TRAINED.faiss]

With --lists-of the lists are those of another index, so that only codes are learned. A factory
without lists (`SQ8`) makes the finer codes of an index that refines.

This is a process of its own, because the process of the timed searches must never have had a
second thread.
"""

import argparse
import os
import time

import faiss
import numpy as np

import vecs

# Rows per list that k-means looks at: what FAISS itself would sample down to.
ROWS_PER_LIST = 256
# What an index without lists counts instead.
LISTS = 2048
# Rows added at a time.
BLOCK = 500_000


def take_lists(index, trained, sample):
    """Gives an index the centroids of another one, turned as its own vectors are."""
    centroids = faiss.extract_index_ivf(trained).quantizer.reconstruct_n()
    if isinstance(index, faiss.IndexPreTransform):
        turn = faiss.downcast_VectorTransform(index.chain.at(0))
        turn.train(sample)
        centroids = turn.apply(centroids)
    quantizer = faiss.extract_index_ivf(index).quantizer
    quantizer.add(centroids)
    quantizer.is_trained = True


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("base")
    p.add_argument("factory")
    p.add_argument("out")
    p.add_argument("--metric", choices=("l2", "ip"), default="l2")
    p.add_argument("--rows-per-list", type=int, default=ROWS_PER_LIST)
    p.add_argument("--lists-of", help="an index with as many lists, trained before")
    a = p.parse_args()
    if os.path.exists(a.out):
        return
    x = vecs.mapped(a.base)
    metric = faiss.METRIC_L2 if a.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(x.shape[1], a.factory, metric)
    ivf = faiss.try_extract_index_ivf(index)
    rows = min(len(x), a.rows_per_list * (ivf.nlist if ivf else LISTS))
    sample = np.ascontiguousarray(x[:rows])
    start = time.perf_counter()
    if a.lists_of:
        take_lists(index, faiss.read_index(a.lists_of), sample)
    index.train(sample)
    trained = time.perf_counter()
    for at in range(0, len(x), BLOCK):
        index.add(np.ascontiguousarray(x[at : at + BLOCK]))
    print(
        f"FAISS {faiss.__version__} {a.factory} ({a.metric}): trained on {rows} rows in "
        f"{trained - start:.1f} s, "
        f"{len(x)} added in {time.perf_counter() - trained:.1f} s",
        flush=True,
    )
    faiss.write_index(index, f"{a.out}.tmp")
    os.replace(f"{a.out}.tmp", a.out)


if __name__ == "__main__":
    main()
