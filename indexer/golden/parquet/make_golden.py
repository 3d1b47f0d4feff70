"""Writes the golden files of the Parquet import, as pyarrow and what stands on it write columns of
vectors.

    python -m venv venv && venv/bin/pip install pyarrow numpy && venv/bin/python make_golden.py

Row r of the sound files is (r, r + 1/2, -r), its id 1000 - r, its key "photos/r.jpg"; of int8
(r, -r, 2 r - 100), of uint8 (r, 2 r, 255 - r).
"""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = 23
VECTORS = [[float(r), r + 0.5, -float(r)] for r in range(ROWS)]


def write(name, columns, **options):
    pq.write_table(pa.table(columns), os.path.join(HERE, name + ".parquet"), **options)


ids = pa.array([1000 - r for r in range(ROWS)], pa.int64())
keys = pa.array([f"photos/{r}.jpg" for r in range(ROWS)])
fixed = pa.array(VECTORS, pa.list_(pa.float32(), 3))
lists = pa.array(VECTORS, pa.list_(pa.float32()))
doubles = pa.array(VECTORS, pa.list_(pa.float64()))


def spoiled(row, vector):
    return pa.array(VECTORS[:row] + [vector] + VECTORS[row + 1 :], pa.list_(pa.float32()))


write("fixed-snappy", {"id": ids, "emb": fixed, "key": keys}, row_group_size=10)
write("list-zstd", {"emb": lists}, compression="zstd", data_page_version="2.0")
write("double-plain", {"emb": doubles}, compression="none", use_dictionary=False)
write("two-columns", {"a": lists, "b": doubles})
write("bad-null", {"emb": spoiled(12, None)}, row_group_size=10)
write("bad-element", {"emb": spoiled(13, [1.0, None, 2.0])}, row_group_size=10)
write("bad-short", {"emb": spoiled(14, [1.0, 2.0])}, row_group_size=10)
write("bad-nan", {"emb": spoiled(15, [1.0, 2.0, float("nan")])}, row_group_size=10)
write(
    "bad-id",
    {"emb": lists, "id": pa.array([None if r == 16 else r for r in range(ROWS)], pa.int64())},
)
write("text", {"emb": keys})

sound = {"id": ids, "emb": fixed, "key": keys}
for codec in ("gzip", "brotli", "lz4"):
    write("codec-" + codec, sound, compression=codec, row_group_size=10)
halves = [[np.float16(x) for x in v] for v in VECTORS]
write("half", {"emb": pa.array(halves, pa.list_(pa.float16(), 3))})
write("half-list", {"emb": pa.array(halves, pa.list_(pa.float16()))}, use_dictionary=False)
small = [[r, -r, 2 * r - 100] for r in range(ROWS)]
write(
    "int8",
    {"emb": pa.array(small, pa.list_(pa.int8(), 3)), "wide": pa.array(small, pa.list_(pa.int64()))},
)
write("uint8", {"emb": pa.array([[r, 2 * r, 255 - r] for r in range(ROWS)], pa.list_(pa.uint8()))})
# Beyond 31 bits; and the last three beyond 63.
write(
    "ids-uint32", {"emb": fixed, "id": pa.array([2**32 - 1 - r for r in range(ROWS)], pa.uint32())}
)
write(
    "ids-uint64", {"emb": fixed, "id": pa.array([2**63 - 20 + r for r in range(ROWS)], pa.uint64())}
)
write(
    "checksums",
    sound,
    compression="none",
    use_dictionary=False,
    write_page_checksum=True,
    row_group_size=10,
)
write("checksums-v2", sound, write_page_checksum=True, row_group_size=10, data_page_version="2.0")
