"""Looks for every row of an array (n, dim) and writes the ids found, an array (n, k).

Rows with fewer hits end in 2**64 - 1.

python batch.py 127.0.0.1:7070 queries.npy ids.npy 10
"""

import sys

import numpy as np
from ocelli_client import Client

target, queries, out, k = (
    sys.argv[1],
    np.load(sys.argv[2], mmap_mode="r"),
    sys.argv[3],
    int(sys.argv[4]),
)
with Client(target, timeout_s=60) as client:
    hits = client.search_batch(queries, k=k, with_keys=False)
for row, error in hits.errors.items():
    print(f"row {row}: {error}", file=sys.stderr)
np.save(out, hits.ids)
