"""Trains and fills an index of FAISS with its defaults, on all cores, unless the file is there.

    python train.py BASE.fvecs FACTORY OUT.faiss [--metric l2|ip] [--rows-per-list N]

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
# Rows added at a time.
BLOCK = 500_000


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("base")
    p.add_argument("factory")
    p.add_argument("out")
    p.add_argument("--metric", choices=("l2", "ip"), default="l2")
    p.add_argument("--rows-per-list", type=int, default=ROWS_PER_LIST)
    a = p.parse_args()
    if os.path.exists(a.out):
        return
    x = vecs.mapped(a.base)
    metric = faiss.METRIC_L2 if a.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(x.shape[1], a.factory, metric)
    rows = min(len(x), a.rows_per_list * faiss.extract_index_ivf(index).nlist)
    start = time.perf_counter()
    index.train(np.ascontiguousarray(x[:rows]))
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
