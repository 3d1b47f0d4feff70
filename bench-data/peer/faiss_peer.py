"""FAISS as a peer: a process of its own for each way in which it is run.

FAISS chooses its kernels when it is loaded, and so does the OpenBLAS in its wheel, whose matrix
products choose the lists of a batch. A process can therefore have one choice of each:

- `usual`: as the wheel chooses for this processor and this environment;
- `tuned`: the same kernels, with an OpenBLAS that was told what a processor with AVX-512 can do
  (it takes recent processors of AMD for much older ones);
- `avx2`: FAISS's AVX2 build with OpenBLAS's kernels for AVX2: what a processor without AVX-512
  runs. Wheels of 1.15 hold all builds and choose by FAISS_SIMD_LEVEL; in earlier wheels
  FAISS_OPT_LEVEL does it.

As a program: `faiss_peer.py QUERIES INDEX…`, where INDEX is a file, or two with a ; between them:
an index and the finer codes that score its candidates again.
"""

import ctypes
import os
import sys
from pathlib import Path

import processor
from peer_process import Process, Served

WAYS = {
    "usual": {},
    "tuned": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "avx2": {
        "FAISS_SIMD_LEVEL": "AVX2",
        "FAISS_OPT_LEVEL": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}


def ways():
    """The ways that differ here: one on a processor without AVX-512."""
    return list(WAYS) if processor.has_avx512() else ["usual"]


def environment(threads, way):
    """The environment of a process that trains or fills an index in a way, on so many threads."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # Idle OpenMP threads that spin would take the core from those that work.
        "OMP_WAIT_POLICY": "PASSIVE",
        **way,
    }


class Faiss(Process):
    """FAISS run in one way, with indexes of files, and one thread."""

    def __init__(self, way, queries, files):
        super().__init__(
            sys.executable, __file__, queries, *files, env={**os.environ, **WAYS[way]}
        )
        self.way, self.blas = way, self.about["blas"]
        if way == "avx2" and self.level != "avx2":
            sys.exit(f"bench: expected FAISS's AVX2 build, found {self.level}")


class Indexes(Served):
    """The indexes of the process that answers."""

    def __init__(self, queries, files):
        super().__init__(queries)
        import faiss

        faiss.omp_set_num_threads(1)
        self.faiss = faiss
        parts = {file: None for name in files for file in name.split(";")}
        parts = {file: faiss.read_index(file) for file in parts}
        self.kept = [[parts[file] for file in name.split(";")] for name in files]
        self.indexes = [
            faiss.IndexRefine(*parts) if len(parts) > 1 else parts[0] for parts in self.kept
        ]
        self.nothing = faiss.IndexFlatL2(self.queries.shape[1]).search

    def about(self):
        return {
            "version": self.faiss.__version__,
            "level": level(self.faiss),
            "blas": blas(self.faiss),
            "bytes": [self.bytes(parts) for parts in self.kept],
        }

    def bytes(self, parts):
        """Bytes of codes a vector, finer ones too, without ids."""
        ivf = self.faiss.downcast_index(self.faiss.extract_index_ivf(parts[0]))
        finer = parts[1].sa_code_size() if len(parts) > 1 else 0
        if isinstance(ivf, self.faiss.IndexIVFPQR):
            finer += ivf.refine_pq.code_size
        return ivf.code_size + finer

    def at(self, i, lists, candidates):
        index = self.indexes[i]
        ivf = self.faiss.downcast_index(self.faiss.extract_index_ivf(self.kept[i][0]))
        ivf.nprobe = lists
        self.refines = index if index is not self.kept[i][0] else ivf
        self.candidates = candidates
        return self.search(index)

    def search(self, index):
        def found(x, k):
            if self.candidates:
                self.refines.k_factor = self.candidates / k
            return index.search(x, k)[1]

        return found

    many = one = at


def level(faiss):
    """The level of FAISS's kernels, in small letters as Ocelli writes it."""
    if hasattr(faiss, "SIMDConfig"):
        return faiss.SIMDConfig.get_level_name().lower()
    return faiss.get_compile_options().split()[-1].lower()


def blas(faiss):
    """What OpenBLAS takes this processor for; "unknown" if the wheel has another library."""
    for file in (Path(faiss.__file__).parents[1] / "faiss_cpu.libs").glob("libopenblas*"):
        name = ctypes.CDLL(str(file)).openblas_get_corename
        name.restype = ctypes.c_char_p
        return name().decode()
    return "unknown"


if __name__ == "__main__":
    Indexes(Path(sys.argv[1]), sys.argv[2:]).serve()
