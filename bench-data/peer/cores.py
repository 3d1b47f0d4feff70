"""Threads: training may use all cores, timed work may not. Libraries read the number of threads
when they are loaded, so this module is imported first."""

import os

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
# The environment of what may use all cores.
ALL_CORES = dict(os.environ)


def bind_to_one():
    """Libraries that this process loads and programs that it starts use one thread from now on."""
    os.environ.update({name: "1" for name in THREADS})
