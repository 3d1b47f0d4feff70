"""The vectors of the benchmarks, which are made once, and how well their neighbours are found."""

import os
import sys
from pathlib import Path

from processes import HERE, run, say


def made(out, name, *how):
    """Makes vectors unless they are there; returns their folder."""
    folder = out / name
    if not (folder / "about.json").exists():
        say(f"making the vectors of {name} (once)")
        run(sys.executable, HERE / "sift.py", folder, *how)
    return folder


def source():
    """The source of the vectors: its name in folders, and the arguments of `sift.py`."""
    data = Path(os.environ.get("OCELLI_DATA") or HERE.parents[1] / ".." / "shared" / "data")
    photos = all((data / "images" / name).is_dir() for name in ("imagenet", "corel", "paris124"))
    return ("sift-photos", ["--data", data]) if photos else ("sift-synthetic", [])


def vectors(out):
    """The folder of the million vectors that most benchmarks use."""
    name, how = source()
    return made(out, name, *how)


def recall(ids, truth):
    """recall10@10: share of the ten nearest that are among the first ten found."""
    return float((ids[:, :10, None] == truth[:, None, :10]).any(1).mean())


def least(reaches, highest):
    """The least effort of 1 to `highest` that `reaches` its aim, if more effort never finds less;
    None if not even the highest does."""
    if not reaches(highest):
        return None
    low, high = 0, highest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high
