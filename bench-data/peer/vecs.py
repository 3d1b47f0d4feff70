"""Files of vectors as the TEXMEX data sets have them: each row an int32 length, then the values."""

import os
from pathlib import Path

import numpy as np


def read(path, dtype):
    """Rows (rows, dim) of float32 (fvecs) or int32 (ivecs)."""
    words = np.fromfile(path, dtype="<i4")
    rows = words.reshape(-1, int(words[0]) + 1)[:, 1:]
    return np.ascontiguousarray(rows).view(dtype)


def mapped(path):
    """(rows, dim) of float32 in a file of fvecs, mapped, for files that memory would not hold
    twice."""
    dim = int(np.fromfile(path, dtype="<i4", count=1)[0])
    return np.memmap(path, dtype="<f4", mode="r").reshape(-1, dim + 1)[:, 1:]


def write(path, rows):
    """Writes (rows, dim) of a 4-byte type under a temporary name first, so that an existing file
    is whole."""
    rows = np.ascontiguousarray(rows)
    out = np.empty((len(rows), rows.shape[1] + 1), "<i4")
    out[:, 0] = rows.shape[1]
    out[:, 1:] = rows.view("<i4")
    temporary = Path(f"{path}.tmp")
    out.tofile(temporary)
    os.replace(temporary, path)
