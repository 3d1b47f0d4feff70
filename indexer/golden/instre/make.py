"""Writes made-up ground truth in the form of gnd_instre.mat, and forms of it with one fault each.
`pip install scipy`, then `python make.py` in this folder."""

import numpy as np
from scipy.io import savemat


def cells(names):
    return np.array(names, dtype=object).reshape(-1, 1)


def truth(ok, bbx):
    both = [(np.array(o, dtype="f8"), np.array(b, dtype="f8")) for o, b in zip(ok, bbx)]
    return np.array(both, dtype=[("ok", "O"), ("bbx", "O")])


images = ["S1/a/1.jpg", "S1/a/2.jpg", "S1/b/1.jpg", "S2/1.jpg"]
queries = ["q/a.jpg", "q/b.jpg", "q/c.jpg"]
ok = [[1, 2], [4], []]
bbx = [[10, 20, 30, 40], [0, 0, 5.5, 5], []]


def write(name, **other):
    arrays = {"imlist": cells(images), "qimlist": cells(queries), "gnd": truth(ok, bbx)} | other
    arrays = {name: array for name, array in arrays.items() if array is not None}
    savemat(name, arrays, oned_as="row", do_compression=True)


write("gnd_instre.mat")
write("zero.mat", gnd=truth([[1], [4, 0], []], bbx))
write("beyond.mat", gnd=truth([[5], [4], []], bbx))
write("twice.mat", gnd=truth([[1, 2, 1], [4], []], bbx))
write("fewer.mat", gnd=truth(ok[:2], bbx[:2]))
write("names.mat", imlist=cells(images + images[:1]))
write("numbers.mat", imlist=np.zeros((4, 1)))
write("boxes.mat", gnd=truth(ok, [[10, 20, 0, 40], [], []]))
write("missing.mat", qimlist=None)
