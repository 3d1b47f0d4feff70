"""Where a system reaches a recall fastest: the search for efforts of `./bench frontier`.

An index has two efforts: lists, and candidates that finer codes score again. For each number of
candidates, the fewest lists of a grid that reach a recall are found; each such point is timed once,
roughly. What is fastest within some bytes is timed again, in windows, by the caller. All systems
are asked through the same grids.
"""

import json
import statistics
import tempfile
from pathlib import Path

import numpy as np

import vecs
from datasets import recall
from processes import say

LISTS = (
    *(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22, 24, 26, 28, 32, 36, 40, 44, 48),
    *(52, 56, 64, 72, 80, 88, 96, 112, 128, 144, 160, 192, 224, 256, 320, 384, 448, 512),
)
CANDIDATES = (15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 100, 125, 150, 200, 250, 300, 400, 600, 1000)
K = 10
# Queries of the rough times.
ROUGH = 300
# A time over the least that was seen, from which on it will not fall again.
PAST = 1.5
# Lists from where on recall gains ever less with each step of the grid.
CONCAVE = 16


class Index:
    """An index of a system, at one level: what is asked of it (see peer_process.py), its bytes a
    vector, and whether it has finer codes and lists to choose."""

    def __init__(self, system, label, searches, bytes_per_vector, refines=False, lists=LISTS):
        self.system, self.label, self.searches = system, label, searches
        self.bytes, self.refines, self.lists = bytes_per_vector, refines, lists
        self.recalls = {}

    def recall(self, lists, candidates, truth):
        """Kept: the answers are the same at every level and time."""
        at = effort(lists, candidates)
        if at not in self.recalls:
            with tempfile.TemporaryDirectory() as scratch:
                ids = Path(scratch) / "ids.ivecs"
                self.searches.write_ids(at, K, ids)
                self.recalls[at] = recall(vecs.read(ids, np.int32), truth)
        return self.recalls[at]

    def fewest(self, candidates, wanted, truth, start):
        """The place in the grid, from `start` on, of the fewest lists that reach `wanted`; None if
        the grid's most do not, or can't be expected to from what the last steps gained."""
        recall = lambda i: self.recall(self.lists[i], candidates, truth)
        last, before, here, step = len(self.lists) - 1, start - 1, start, 1
        while recall(here) < wanted:
            if here == last:
                return None
            ahead = min(here + step, last)
            gain = (recall(ahead) - recall(here)) / (ahead - here)
            missing = wanted - recall(ahead)
            if self.lists[here] >= CONCAVE and gain * (last - ahead) < missing:
                return None
            before, here, step = here, ahead, 2 * step
        while here - before > 1:
            middle = (before + here) // 2
            before, here = (before, middle) if recall(middle) >= wanted else (middle, here)
        return here

    def points(self, wanted, truth):
        """Points that reach `wanted`, with the fewest lists for each number of candidates."""
        out, start = [], 0
        # With fewer candidates it takes as many lists or more.
        for candidates in reversed(CANDIDATES) if self.refines else (0,):
            start = self.fewest(candidates, wanted, truth, start)
            if start is None:
                break
            point = Point(self, self.lists[start], candidates, truth)
            if out and out[-1].lists == point.lists:
                out.pop()  # More candidates for as many lists only take more time.
            out.append(point)
            point.time_roughly()
            best = {kind: min(p.rough[kind] for p in out) for kind in point.rough}
            if all(point.rough[kind] > PAST * best[kind] for kind in best):
                break  # With ever fewer candidates, ever more lists.
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

    def batch_us(self, *n):
        return 1e6 / self.index.searches.batch(effort(self.lists, self.candidates), K, *n)

    def single_us(self, n):
        return 1e6 / self.index.searches.single(effort(self.lists, self.candidates), K, n)["qps"]

    def time_roughly(self):
        """The better of two, so that a pause of the machine decides less."""
        if not self.rough:
            self.rough["batch"] = min(self.batch_us(ROUGH) for _ in range(2))
            self.rough["single"] = min(self.single_us(ROUGH) for _ in range(2))

    def window(self, n):
        self.times["batch"].append(self.batch_us())
        self.times["single"].append(self.single_us(n))

    def median(self, kind):
        return statistics.median(self.times[kind])


class Recalls:
    """What the peers' indexes find with each effort, kept in a file: finding it takes most of the
    time, and it does not change. {name of an index: {effort: recall}}. `stamp` says of what."""

    def __init__(self, file, stamp):
        self.file, self.stamp = file, stamp
        kept = json.loads(file.read_text()) if file.exists() else {}
        self.found = kept["found"] if kept.get("stamp") == stamp else {}

    def of(self, name):
        return self.found.setdefault(name, {})

    def save(self):
        self.file.write_text(json.dumps({"stamp": self.stamp, "found": self.found}))


def table(indexes, recalls, truth, slack, kept):
    """{recall: points of all indexes that reach it}, roughly timed. A point that reaches a recall
    at more than `slack` times the time of its system's best of at most as many bytes is left out,
    because it will not be the fastest."""
    found = {}
    for wanted in recalls:
        points = []
        for index in indexes:
            points += index.points(wanted, truth)
            kept.save()
        say(f"   recall {wanted:.2f}: {len(points)} points reach it")
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
