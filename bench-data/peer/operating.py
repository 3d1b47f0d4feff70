"""Where a system reaches a recall fastest: the search for efforts of `./bench frontier`.

An index has two efforts: lists, and candidates that finer codes score again. For each number of
candidates, the fewest lists of a grid that reach a recall are found by halving; each such point is
timed once, roughly. What is fastest within some bytes is timed again, in windows, by the caller.
All systems are asked through the same grids.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np

import vecs
from datasets import least, recall

LISTS = (
    *(2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64),
    *(80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512),
)
CANDIDATES = (15, 20, 25, 30, 40, 50, 60, 80, 100, 125, 150, 200, 300)
K = 10
# Queries of the rough time of single queries.
SINGLES = 300


class Index:
    """An index of a system, at one level: what is asked of it (see peer_process.py), its bytes a
    vector, and whether it has finer codes and lists to choose."""

    def __init__(self, system, label, searches, bytes_per_vector, refines=False, lists=LISTS):
        self.system, self.label, self.searches = system, label, searches
        self.bytes, self.refines, self.lists = bytes_per_vector, refines, lists
        self.recalls = {}

    def recall(self, lists, candidates, truth):
        """Kept: the answers are the same at every level and time."""
        at = (lists, candidates)
        if at not in self.recalls:
            with tempfile.TemporaryDirectory() as scratch:
                ids = Path(scratch) / "ids.ivecs"
                self.searches.write_ids(effort(*at), K, ids)
                self.recalls[at] = recall(vecs.read(ids, np.int32), truth)
        return self.recalls[at]

    def points(self, wanted, truth):
        """Points that reach `wanted`, with the fewest lists for each number of candidates."""
        out = []
        for candidates in CANDIDATES if self.refines else (0,):
            reaches = lambda i: self.recall(self.lists[i - 1], candidates, truth) >= wanted
            fewest = least(reaches, len(self.lists))
            if fewest is None:
                continue
            point = Point(self, self.lists[fewest - 1], candidates, truth)
            # More candidates for as many lists only take more time.
            if not out or out[-1].lists > point.lists:
                out.append(point)
        return out


def effort(lists, candidates):
    return f"{lists}*{candidates}" if candidates else str(lists)


class Point:
    """An index with its efforts, and the times that were measured: µs a query of each window."""

    def __init__(self, index, lists, candidates, truth):
        self.index, self.lists, self.candidates = index, lists, candidates
        self.recall = index.recall(lists, candidates, truth)
        self.rough = {}
        self.times = {"batch": [], "single": []}

    @property
    def key(self):
        return id(self.index), self.lists, self.candidates

    def batch_us(self):
        return 1e6 / self.index.searches.batch(effort(self.lists, self.candidates), K)

    def single_us(self, n):
        return 1e6 / self.index.searches.single(effort(self.lists, self.candidates), K, n)["qps"]

    def time_roughly(self):
        """The better of two, so that a pause of the machine decides less."""
        if not self.rough:
            self.rough["batch"] = min(self.batch_us() for _ in range(2))
            self.rough["single"] = min(self.single_us(SINGLES) for _ in range(2))

    def window(self, n):
        self.times["batch"].append(self.batch_us())
        self.times["single"].append(self.single_us(n))

    def median(self, kind):
        return statistics.median(self.times[kind])


def table(indexes, recalls, truth, slack):
    """{recall: points of all indexes that reach it}, roughly timed. A point that reaches a recall
    at more than `slack` times the time of its system's best of at most as many bytes is left
    out, because it will not be the fastest."""
    found = {}
    for wanted in recalls:
        points = [p for index in indexes for p in index.points(wanted, truth)]
        for point in points:
            point.time_roughly()
        found[wanted] = [
            p
            for p in points
            if any(
                p.rough[kind]
                <= slack
                * min(
                    q.rough[kind]
                    for q in points
                    if q.index.system == p.index.system and q.index.bytes <= p.index.bytes
                )
                for kind in p.rough
            )
        ]
    return found


def fastest(points, budget, kind):
    """{system: its fastest point of at most `budget` bytes}."""
    best = {}
    for p in points:
        if p.index.bytes <= budget:
            now = best.get(p.index.system)
            if now is None or p.median(kind) < now.median(kind):
                best[p.index.system] = p
    return best
