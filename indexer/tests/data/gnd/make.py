"""Writes the pickles beside it: one small made-up ground truth, as several programs would write it.

Run it with Python 2.7 and numpy 1.16 (py2.pkl), with Python 3 and numpy below 2 (numpy1.pkl) and
with Python 3 and numpy 2 (all others). It writes those that its Python can write.
"""

import pickle
import sys

import numpy as np

IMAGES = ["hall_%06d" % number for number in range(8)]
QUERIES = ["gate_000001", "gate_000002"]
BOXES = [[136.5, 34.1, 648.5, 955.7], [0.0, 0.0, 10.0, 20.0]]
# Photos of hall by their number: easy, hard, junk.
LISTS = [([2, 5], [0], [7, 1]), ([], [3, 4, 6], [])]


def truth(names, numbers, box):
    keys = ("easy", "hard", "junk")
    return {
        "imlist": names(IMAGES),
        "qimlist": names(QUERIES),
        "gnd": [
            dict([("bbx", box(b))] + [(k, numbers(v)) for k, v in zip(keys, lists)])
            for b, lists in zip(BOXES, LISTS)
        ],
    }


def write(name, protocol, what):
    with open(name, "wb") as out:
        pickle.dump(what, out, protocol=protocol)


def integers(values):
    return np.array(values, dtype=np.int64)


if sys.version_info[0] == 2:
    write("py2.pkl", 2, truth(list, integers, np.array))
elif int(np.__version__.split(".")[0]) < 2:
    write("numpy1.pkl", 3, truth(list, integers, list))
else:
    write("lists-2.pkl", 2, truth(list, list, list))
    write("arrays-2.pkl", 2, truth(np.array, integers, np.array))
    write("arrays-4.pkl", 4, truth(np.array, integers, np.array))
    write("arrays-5.pkl", 5, truth(np.array, integers, np.array))
    # Numbers and names of numpy one by one, and arrays of other types and orders.
    write("scalars-4.pkl", 4, truth(
        lambda names: [np.str_(name) for name in names],
        lambda values: [np.int32(value) for value in values],
        lambda box: [np.float64(x) for x in box],
    ))
    write("odd-4.pkl", 4, truth(
        lambda names: np.array(names, dtype="S" if names is IMAGES else object),
        lambda values: tuple(values) if len(values) == 2 else np.array(values, dtype=">u2"),
        lambda box: np.array(box, dtype=">f8"),
    ))
