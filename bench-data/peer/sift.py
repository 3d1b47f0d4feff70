"""Makes the vectors of `./bench search`: 1 M base vectors, 10 k queries, exact neighbours.

    python sift.py OUT_DIR [--data DIR | --unit-of DIR] [--base N] [--queries N] [--neighbours K]

With photos (DIR/images with imagenet, corel and paris124) these are SIFT descriptors: the base from
ImageNet and Corel, the queries from Paris, so that no photo is on both sides. Without photos they
are drawn from a Gaussian mixture of the same size, which is easier to search; figures from it are
not comparable, and everything that reads them says so. Both are the same bytes at every run.

With --unit-of they are the vectors of another such folder at unit length, and neighbours are by
inner product.

Writes base.fvecs, query.fvecs, groundtruth.ivecs (by exhaustive search) and, last, about.json.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import vecs

DIM = 128


def sift_of(path):
    """SIFT descriptors (n, 128) uint8 of one photo, at its own and at double size. Low contrast
    is kept: the photos are small, and they have to give a million."""
    import cv2

    cv2.setNumThreads(1)
    sift = cv2.SIFT_create(contrastThreshold=0.005, edgeThreshold=30)
    photo = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if photo is None:
        raise SystemExit(f"{path}: no photo that OpenCV can read")
    double = cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    found = [sift.detectAndCompute(p, None)[1] for p in (photo, double)]
    found = [f.astype(np.uint8) for f in found if f is not None]
    return np.concatenate(found) if found else np.empty((0, DIM), np.uint8)


def from_photos(folders, want, seed):
    """`want` distinct descriptors in random order: no duplicates, so that ids can be compared."""
    photos = sorted(p for folder in folders for p in folder.glob("*.jpg"))
    with ProcessPoolExecutor() as workers:
        every = np.concatenate(list(workers.map(sift_of, photos, chunksize=8)))
    # As opaque rows of 128 bytes: sorting those is much faster than column by column.
    distinct = np.unique(every.view(f"V{DIM}").ravel()).view(np.uint8).reshape(-1, DIM)
    order = np.random.default_rng(seed).permutation(len(distinct))[:want]
    print(f"{len(photos)} photos, {len(every)} descriptors, {len(order)} taken", flush=True)
    return distinct[order].astype(np.float32)


def from_mixture(n_base, n_query):
    """Both sets from one mixture: 16,384 components of uneven weight around centres of a decaying
    spectrum, as bytes. Each component has its own spread."""
    rng = np.random.default_rng(1)
    components = 16_384
    scale = 60.0 / np.sqrt(1.0 + np.arange(DIM) / 8.0)
    rotation = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
    centres = rng.standard_normal((components, DIM)) * scale
    spread = rng.uniform(0.25, 0.6, components)
    weight = rng.gamma(1.0, size=components)

    def draw(n):
        out = np.empty((n, DIM), np.float32)
        which = rng.choice(components, n, p=weight / weight.sum())
        for at in range(0, n, 65_536):
            c = which[at : at + 65_536]
            x = centres[c] + rng.standard_normal((len(c), DIM)) * scale * spread[c, None]
            out[at : at + len(c)] = np.clip(np.rint(x @ rotation + 100.0), 0, 255)
        return out

    return draw(n_base), draw(n_query)


def neighbours(base, query, k, unit):
    """Ids (rows, k) int32 of the k nearest. Small whole values are exact in float32."""
    import faiss

    flat = faiss.IndexFlatIP(DIM) if unit else faiss.IndexFlatL2(DIM)
    flat.add(base)
    return flat.search(query, k)[1].astype(np.int32)


def at_unit_length(folder):
    """Base and queries of a folder, each divided by its norm."""
    pair = (vecs.read(folder / f"{name}.fvecs", np.float32) for name in ("base", "query"))
    return (x / np.linalg.norm(x, axis=1, keepdims=True) for x in pair)


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("out", type=Path)
    p.add_argument("--data", type=Path, help="folder with images/; without it, the mixture")
    p.add_argument(
        "--unit-of", type=Path, metavar="DIR", help="folder of vectors that were made before"
    )
    p.add_argument("--base", type=int, default=1_000_000)
    p.add_argument("--queries", type=int, default=10_000)
    p.add_argument("--neighbours", type=int, default=100)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.unit_of:
        base, query = at_unit_length(a.unit_of)
    elif a.data:
        images = a.data / "images"
        base = from_photos([images / "imagenet", images / "corel"], a.base, 1)
        query = from_photos([images / "paris124"], a.queries, 2)
    else:
        base, query = from_mixture(a.base, a.queries)
    vecs.write(a.out / "base.fvecs", base)
    vecs.write(a.out / "query.fvecs", query)
    print("exact neighbours by exhaustive search", flush=True)
    vecs.write(a.out / "groundtruth.ivecs", neighbours(base, query, a.neighbours, bool(a.unit_of)))
    if a.unit_of:
        made = json.loads((a.unit_of / "about.json").read_text())
    else:
        made = {
            "source": "SIFT of photos" if a.data else "synthetic Gaussian mixture",
            "synthetic": a.data is None,
        }
    about = {
        "source": made["source"] + (", unit norm" if a.unit_of else ""),
        "synthetic": made["synthetic"],
        "base": len(base),
        "queries": len(query),
        "dim": DIM,
    }
    temporary = a.out / "about.json.tmp"
    temporary.write_text(json.dumps(about) + "\n")
    os.replace(temporary, a.out / "about.json")
    print(json.dumps(about), flush=True)


if __name__ == "__main__":
    main()
