"""Writes reference.json beside it: diffusion as published, solved exactly by numpy in float64.

Zhou et al. (NIPS 2003) on the mutual k-nearest-neighbour graph of Iscen et al. (CVPR 2017):
affinities to the power gamma, normalised symmetrically, (I - alpha S) f = y with a dense solver.
Run it with any numpy >= 1.24.
"""

import json
from pathlib import Path

import numpy as np

DIM, ROWS = 16, 60
rng = np.random.Generator(np.random.PCG64(2003))
# Two curved threads of points: neighbours are near each other, ends are not.
angles = np.sort(rng.uniform(0, 2.2, (2, ROWS // 2)), axis=1)
planes = [np.linalg.qr(rng.standard_normal((DIM, 2)))[0] for _ in range(2)]
points = [
    np.stack([np.cos(a), np.sin(a)], 1) @ plane.T + 0.05 * rng.standard_normal((len(a), DIM))
    for a, plane in zip(angles, planes)
]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


database = unit(np.vstack(points)[rng.permutation(ROWS)]).astype(np.float32).astype(np.float64)
queries = (
    unit(np.stack([points[0][0], points[1][4], points[0][15] + points[1][15]]))
    .astype(np.float32)
    .astype(np.float64)
)


def top(similarities, k):
    return np.argsort(-similarities, kind="stable")[:k]


def diffusion(q, x, k, kq, gamma, alpha):
    s = np.maximum(x @ x.T, 0) ** gamma
    np.fill_diagonal(s, 0)
    raw = x @ x.T
    np.fill_diagonal(raw, -np.inf)
    near = np.zeros_like(s, dtype=bool)
    for i, row in enumerate(raw):
        near[i, top(row, k)] = True
    a = np.where(near & near.T, s, 0)
    d = a.sum(1)
    scale = np.where(d > 0, 1 / np.sqrt(np.where(d > 0, d, 1)), 0)
    y = np.zeros(len(x))
    begin = top(x @ q, kq)
    y[begin] = np.maximum(x[begin] @ q, 0) ** gamma
    return np.linalg.solve(np.eye(len(x)) - alpha * scale[:, None] * a * scale[None], y)


cases = []
for neighbours, query_neighbours, gamma, alpha in [
    (8, 3, 3.0, 0.99),
    (50, 10, 3.0, 0.99),
    (4, 1, 1.0, 0.5),
    (59, 60, 2.5, 0.9),
]:
    f = [
        diffusion(q, database, neighbours, query_neighbours, gamma, alpha).tolist() for q in queries
    ]
    cases.append(
        {
            "neighbours": neighbours,
            "query_neighbours": query_neighbours,
            "gamma": gamma,
            "alpha": alpha,
            "f": f,
        }
    )
path = Path(__file__).with_name("reference.json")
path.write_text(
    json.dumps({"database": database.tolist(), "queries": queries.tolist(), "cases": cases}) + "\n"
)
print(path)
