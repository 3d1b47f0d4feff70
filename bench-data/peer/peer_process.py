"""A peer in a process of its own, which answers a request a line as JSON. Both ends are here.

- `batch I EFFORT K [N]`: all queries, or the first N, in one call of index I; queries a second
- `single I EFFORT K N`: the first N one by one; queries a second, and the seconds of an empty call
  that were subtracted from each
- `ids I EFFORT K FILE`: writes what was found, as ivecs

An EFFORT is the number of lists; with `*R` after it, R candidates are scored again.
"""

import json
import sys

import numpy as np

import clock
import vecs
from processes import Worker


class Process:
    """Our end: a program that serves the indexes of some files, with one thread."""

    def __init__(self, *command, env=None):
        self.worker = Worker(*command, env=env)
        self.about = self.worker.about
        self.level = self.about["level"]

    def close(self):
        self.worker.close()


class Searches:
    """One index of a process: a system that is timed."""

    def __init__(self, process, at):
        self.process, self.at = process, at

    @property
    def level(self):
        return self.process.level

    def ask(self, kind, *arguments):
        return self.process.worker.ask(kind, self.at, *arguments)

    def batch(self, effort, k, *n):
        return self.ask("batch", effort, k, *n)

    def single(self, effort, k, n):
        return self.ask("single", effort, k, n)

    def write_ids(self, effort, k, file):
        self.ask("ids", effort, k, file)


class Served:
    """The other end. A peer says `about()` itself and, for an index, how many lists and how many
    candidates: `many(i, lists, candidates)`, which is a function of (queries, k) → ids, and
    `one(i, lists, candidates)`, of (a query (1, dim), k). `nothing` is the same as `one`, of an
    index that holds nothing."""

    def __init__(self, queries):
        self.queries = vecs.read(queries, np.float32)

    def many(self, i, lists, candidates):
        raise NotImplementedError

    def one(self, i, lists, candidates):
        raise NotImplementedError

    def batch(self, at, k, *n):
        search, x = self.many(*at), self.queries[: int(n[0])] if n else self.queries
        start = clock.now()
        search(x, int(k))
        return len(x) / (clock.now() - start)

    def seconds(self, search, k, n):
        """Seconds of n calls, one query each."""
        x = self.queries
        start = clock.now()
        for i in range(n):
            search(x[i : i + 1], k)
        return clock.now() - start

    def single(self, at, k, n):
        k, n = int(k), int(n)
        empty = self.seconds(self.nothing, k, n)
        qps = n / max(self.seconds(self.one(*at), k, n) - empty, 1e-9)
        return {"qps": qps, "empty": empty / n}

    def ids(self, at, k, file):
        vecs.write(file, np.asarray(self.many(*at)(self.queries, int(k)), np.int32))
        return {}

    def serve(self):
        """Answers until standard input ends."""
        print(json.dumps(self.about()), flush=True)
        for line in sys.stdin:
            kind, i, effort, *arguments = line.split()
            lists, _, candidates = effort.partition("*")
            at = (int(i), int(lists), int(candidates or 0))
            print(json.dumps(getattr(self, kind)(at, *arguments)), flush=True)
