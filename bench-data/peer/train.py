"""Trains and fills an index of FAISS with its defaults, on all cores, unless the file is there.

    python train.py BASE.fvecs FACTORY OUT.faiss

A process of its own, because the searches beside Ocelli run in one that never had a second thread.
"""

import os
import sys
import time

import faiss
import numpy as np

import vecs

# Rows per list that k-means looks at: what FAISS itself would sample down to.
ROWS_PER_LIST = 256


def main(base, factory, out):
    if os.path.exists(out):
        return
    x = vecs.read(base, np.float32)
    index = faiss.index_factory(x.shape[1], factory)
    rows = min(len(x), ROWS_PER_LIST * faiss.extract_index_ivf(index).nlist)
    start = time.perf_counter()
    index.train(x[:rows])
    trained = time.perf_counter()
    index.add(x)
    print(f"FAISS {faiss.__version__} {factory}: trained on {rows} rows in {trained - start:.1f} s, "
          f"{len(x)} added in {time.perf_counter() - trained:.1f} s", flush=True)
    faiss.write_index(index, f"{out}.tmp")
    os.replace(f"{out}.tmp", out)


if __name__ == "__main__":
    main(*sys.argv[1:4])
