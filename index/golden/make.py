"""Writes matlab/ and hdf5/: files as SciPy 1.17 and h5py 3.16 write them, and one in the layout of
MATLAB's version 7.3. `pip install scipy h5py`, then `python make.py` in this folder."""

import h5py
import numpy as np
from scipy.io import savemat

# 5 descriptors of 3 numbers, exact in every type of float: row i is 3i, 3i + 1, 3i + 2, quartered.
x = (np.arange(15).reshape(5, 3) / 4).astype("f4")
names = [f"Q{i:05d}" for i in range(5)]
cells = np.array(names, dtype=object)

arrays = {
    # MATLAB's way: a descriptor is a column.
    "X": x.T,
    "Q": x[:2].T.astype("f8"),
    "bytes": np.array([[1, 2, 255]], dtype="u1"),
    "shorts": np.array([[-300], [300]], dtype="i2"),
    "longs": np.array([[2**53, -1]], dtype="i8"),
    "logical": np.array([[True, False]]),
    "empty": np.zeros((0, 0)),
    "cube": np.arange(24).reshape(2, 3, 4).astype("f8"),
    "complex": np.array([[1 + 2j]]),
    "imlist": cells.reshape(5, 1),
    "text": "Füße",
    "rows": np.array(["ab", "cde"]),
    "gnd": np.array(
        [([1, 3], [1.5, 2, 10, 20]), ([2], [0, 0, 5, 5])], dtype=[("ok", "O"), ("bbx", "O")]
    ),
    "glob": {"V": np.array([x[i].reshape(3, 1) for i in range(5)] + [None], dtype=object)[:5]},
}
savemat("matlab/plain.mat", arrays, oned_as="row")
savemat("matlab/compressed.mat", arrays, oned_as="row", do_compression=True)

with h5py.File("hdf5/fixed.h5", "w") as f:
    f["vectors"] = x
    f["image_names"] = np.array([name.encode() for name in names])
with h5py.File("hdf5/chunked.h5", "w") as f:
    f.create_dataset(
        "features", data=x.astype("f8"), chunks=(2, 2), compression="gzip", shuffle=True
    )
    f.create_dataset("index", data=names, dtype=h5py.string_dtype())
with h5py.File("hdf5/latest.hdf5", "w", libver="latest") as f:
    f.create_dataset(
        "g/half", data=x.astype("f2"), chunks=(2, 3), maxshape=(None, 3), fletcher32=True
    )
    f.create_dataset("g/bytes", data=(x * 4).astype("u1"))
    f.create_dataset("g/big", data=x.astype(">f4"))
    f.create_dataset("g/names", data=names, dtype=h5py.string_dtype())
with h5py.File("hdf5/claims.h5", "w") as f:
    # A terabyte that nobody wrote.
    f.create_dataset("vectors", shape=(2**36, 4), chunks=(1024, 4), dtype="f4")
    f.create_dataset("once", shape=(2**36, 4), dtype="f4")

with h5py.File("hdf5/v73.mat", "w", userblock_size=512) as f:

    def put(name, data, matlab_class, **more):
        put = f.create_dataset(name, data=data, **more)
        put.attrs["MATLAB_class"] = np.bytes_(matlab_class)
        return put

    def utf16(text):
        return np.array([[ord(c)] for c in text], dtype="u2")

    put("X", x, "single", chunks=(5, 3), compression="gzip")
    put("Q", x[:2].astype("f8"), "double")
    put("text", utf16("Füße"), "char")
    put("rows", np.array([[ord(a), ord(b)] for a, b in zip("ab ", "cde")], dtype="u2"), "char")
    refs = [put(f"#refs#/{chr(97 + i)}", utf16(name), "char").ref for i, name in enumerate(names)]
    put("imlist", np.array(refs, dtype=h5py.ref_dtype).reshape(1, 5), "cell", dtype=h5py.ref_dtype)
with open("hdf5/v73.mat", "r+b") as f:
    f.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
