"""Writes reference.json beside it: query expansion and DBA by the published formulas, in float64.

AQE and DBA as the released code of Gordo et al. (IJCV 2017) computes them, αQE as dirtorch's
expand_descriptors. Run it with any numpy >= 1.24; the numbers do not depend on the version.
"""

import json
from pathlib import Path

import numpy as np

DIM, ROWS, K = 24, 40, 5
rng = np.random.Generator(np.random.PCG64(2017))
centre = rng.standard_normal(DIM)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# Rounded to float32 first, for the program reads them so. One direction in common, as descriptors
# of photos have.
database = unit(rng.standard_normal((ROWS, DIM)) + centre).astype(np.float32).astype(np.float64)
queries = unit(rng.standard_normal((3, DIM)) + centre).astype(np.float32).astype(np.float64)


def top(x, k):
    return np.argsort(-(database @ x), kind="stable")[:k]


def average(q, hits):
    return np.mean(np.vstack([q, database[hits]]), axis=0)


def alpha(q, hits, power):
    sim = database @ q
    stacked = np.vstack([q] + [database[j] * sim[j] ** power for j in hits])
    mean = np.mean(stacked, axis=0)
    return mean / np.linalg.norm(mean)


def rounds(q, times, combine):
    x = q
    for _ in range(times):
        x = combine(q, top(x, K))
    return x.tolist()


def dba(k):
    similarity = database @ database.T
    np.fill_diagonal(similarity, 2.0)  # itself is the first
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : k + 1]
    weights = np.hstack([[1.0], np.arange(k, 0, -1) / k])
    return [(weights @ database[row] / weights.sum()).tolist() for row in order]


out = {
    "k": K,
    "database": database.tolist(),
    "queries": queries.tolist(),
    "average": [[rounds(q, n, average) for q in queries] for n in (1, 2)],
    "alpha3": [
        [rounds(q, n, lambda q, hits: alpha(q, hits, 3.0)) for q in queries] for n in (1, 2)
    ],
    "dba": dba(K),
}
path = Path(__file__).with_name("reference.json")
path.write_text(json.dumps(out) + "\n")
print(path)
