"""turbovec as a peer: `turbovec_peer.py QUERIES FOLDER BITS…`

turbovec scans all vectors and ranks by inner product. Distances are made inner products by one more
dimension: of q·x − |x|²/2 the greatest is the nearest. It takes dimensions by eights, so the rest
are zeros. An index is made once and kept in FOLDER. There are no lists to choose: an effort is
passed over.
"""

import sys
from pathlib import Path

import numpy as np
import turbovec

import vecs
from peer_process import Served

MORE = 8


def lifted(x, last):
    """Rows with MORE dimensions, of which the first is `last`."""
    out = np.zeros((len(x), x.shape[1] + MORE), np.float32)
    out[:, : x.shape[1]] = x
    out[:, x.shape[1]] = last
    return out


class Indexes(Served):
    def __init__(self, queries, folder, bits):
        super().__init__(queries)
        self.bits = [int(b) for b in bits]
        self.scale = scale(Path(folder))
        self.indexes = [made(Path(folder), b, self.scale) for b in self.bits]
        self.queries = lifted(self.queries, self.scale)
        empty = turbovec.TurboQuantIndex(self.queries.shape[1], self.bits[0])
        empty.add(self.queries[:1])
        self.nothing = lambda x, k: empty.search(x, 1)

    def about(self):
        # Bits of every dimension and a scale.
        size = lambda bits: self.queries.shape[1] * bits // 8 + 4
        return {"level": "best", "bytes": [size(bits) for bits in self.bits]}

    def many(self, i, lists, candidates):
        return lambda x, k: self.indexes[i].search(x, k)[1]

    one = many


def scale(folder):
    """A value about as large as the others, which the last dimension's unit is."""
    return float(np.sqrt((vecs.mapped(folder / "base.fvecs")[:10_000] ** 2).mean()))


def made(folder, bits, unit):
    file = folder / f"turbovec-{bits}.tv"
    if not file.exists():
        base = vecs.read(folder / "base.fvecs", np.float32)
        halves = (base**2).sum(1) / 2
        rows = lifted(base, (halves.mean() - halves) / unit)
        index = turbovec.TurboQuantIndex(rows.shape[1], bits)
        index.calibrate(rows[np.random.default_rng(1).permutation(len(rows))[:4096]])
        index.add(rows)
        index.write(str(file))
    index = turbovec.TurboQuantIndex.load(str(file))
    index.prepare()
    return index


if __name__ == "__main__":
    Indexes(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]).serve()
