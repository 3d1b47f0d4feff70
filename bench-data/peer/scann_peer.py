"""ScaNN as a peer: `scann_peer.py QUERIES FOLDER LEVEL CONFIGURATION…`

A CONFIGURATION is DIMENSIONS or DIMENSIONS+int8: 4-bit codes of that many dimensions each, and
8-bit scalars that score its candidates again. The searcher is made once and kept in FOLDER. LEVEL
is `best` or `avx2`. ScaNN's own switches for instructions are set for it, since the wheel leaves
them off on some processors, which makes it a quarter slower.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
from scann.scann_ops.py import scann_ops_pybind
from scann.scann_ops.py.scann_builder import ReorderType

import processor
import vecs
from peer_process import Served

LEAVES = 2048
# Switches of the library, and the flag of the processor that each needs.
SWITCHES = {
    "should_use_avx2": "avx2",
    "should_use_avx512": "avx512dq",
    "should_use_avx512_vnni": "avx512_vnni",
}


def set_level(level):
    """Sets the switches. Returns the level that is used."""
    library = ctypes.CDLL(scann_ops_pybind.scann_pybind.__file__)
    can = processor.fields().get("flags", "").split()
    for name, needs in SWITCHES.items():
        symbol = f"_ZN14research_scann14flags_internal{len(name)}{name}E"
        wanted = needs in can and (level == "best" or needs == "avx2")
        ctypes.c_bool.in_dll(library, symbol).value = wanted
    return "avx512" if level == "best" and "avx512dq" in can else "avx2"


class Searchers(Served):
    def __init__(self, queries, folder, level, configurations):
        super().__init__(queries)
        self.level = set_level(level)
        self.configurations = [c.split("+") for c in configurations]
        self.searchers = [made(folder, name) for name in configurations]
        one = np.ones((1, self.queries.shape[1]), np.float32)
        empty = scann_ops_pybind.builder(one, 1, "squared_l2").score_brute_force().build()
        self.nothing = lambda x, k: empty.search(x[0], k)

    def about(self):
        dim = self.queries.shape[1]
        codes = [(-(-dim // int(c[0])) + 1) // 2 for c in self.configurations]
        finer = [dim * (len(c) > 1) for c in self.configurations]
        return {"level": self.level, "bytes": [a + b for a, b in zip(codes, finer)]}

    def many(self, i, lists, candidates):
        search, more = self.searchers[i].search_batched, candidates or None
        # Where it finds fewer than k, there are ids that are none.
        return lambda x, k: np.asarray(search(x, k, more, lists)[0]).astype(np.int64)

    def one(self, i, lists, candidates):
        search, more = self.searchers[i].search, candidates or -1
        return lambda x, k: search(x[0], k, more, lists)


def made(folder, name):
    kept = Path(folder) / f"scann-{name}"
    if not (kept / "whole").exists():
        base = np.ascontiguousarray(vecs.read(Path(folder) / "base.fvecs", np.float32))
        dimensions, *finer = name.split("+")
        builder = scann_ops_pybind.builder(base, 10, "squared_l2")
        builder = builder.tree(LEAVES, 64, training_sample_size=256 * LEAVES)
        builder = builder.score_ah(int(dimensions), training_sample_size=256 * LEAVES)
        if finer:
            builder = builder.reorder(100, ReorderType.INT8)
        searcher = builder.build()
        kept.mkdir(exist_ok=True)
        searcher.serialize(str(kept), relative_path=True)
        (kept / "whole").write_text(json.dumps({"rows": len(base)}))
    return scann_ops_pybind.load_searcher(str(kept))


if __name__ == "__main__":
    Searchers(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]).serve()
