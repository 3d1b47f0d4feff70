"""Writes images.parquet as the `datasets` library lays images out: a struct of bytes and path; and
paths.parquet with the bytes left out of some rows, as it does for images that stay in files of
their own.

    python -m venv venv && venv/bin/pip install pyarrow pillow && venv/bin/python make_parquet.py
"""

import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(row):
    out = io.BytesIO()
    Image.new("RGB", (4 + row, 3), (40 * row, 200, 10)).save(out, "PNG")
    return out.getvalue()


kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
rows = [{"bytes": None if row == 3 else png(row), "path": f"{row}.png"} for row in range(5)]
table = pa.table({"image": pa.array(rows, kind), "label": pa.array([0, 1, 0, 1, 0], pa.int64())})
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "images.parquet")
pq.write_table(table, path, row_group_size=3, data_page_version="2.0", compression="snappy")

rows = [
    {"bytes": png(row) if row < 2 else None, "path": f"{row}.png" if row < 4 else None}
    for row in range(5)
]
table = pa.table(
    {"image": pa.array(rows, kind), "id": pa.array([2**31 + row for row in range(5)], pa.uint32())}
)
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "paths.parquet")
pq.write_table(table, path, compression="gzip", write_page_checksum=True)
