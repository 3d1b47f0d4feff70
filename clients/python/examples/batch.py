"""Looks for every row of an array (n, dim) and writes the ids (n, k) found; rows with fewer hits end in -1.

    python batch.py 127.0.0.1:7070 queries.npy ids.npy 10
"""

import sys

import numpy as np
from ocelli_client import Client

target, queries, out, k = sys.argv[1], np.load(sys.argv[2], mmap_mode="r"), sys.argv[3], int(sys.argv[4])
found = np.full((len(queries), k), -1, dtype=np.int64)
with Client(target) as client:
    for row, hits in enumerate(client.search_many(queries, k=k, with_keys=False)):
        found[row, : len(hits)] = hits.ids
np.save(out, found)
