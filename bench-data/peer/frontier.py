"""Bytes, recall and time of refined searches beside FAISS's: what `./bench frontier` runs.

One model serves all of Ocelli's points: the codes that FAISS trained as `IVF2048,PQ16np`, imported,
and finer codes that Ocelli learns for that same model (`ocelli train --base … --fine-codes …`).
FAISS's points are its plain indexes, its own second quantizer (`IVF2048,PQ16+32`, `PQ16+64`), and
`PQ16np` refined by 8-bit scalars or by the floats themselves. Refined searches on both sides
re-rank as many candidates.

All points are timed in windows, one thread, one point after the other. Each window begins with
another point, so that a slow moment of the machine hits all of them alike. A time is that of a
batch, divided by its queries; Ocelli's plain and refined single queries are timed too. Bytes are
those that a search needs: codes, finer codes, the byte for L2, list directory and ids; for FAISS
its file with the model over the rows, as FAISS stores it.

Writes frontier.png, frontier.svg and frontier.json to --out. Then comes the comparison with the
best of today at equal recall and equal bytes, at each instruction level: see equal.py.

The last line is one JSON object: recall10@10 of the refined points with most lists, and their time
over that of the plain search at nprobe 64 (medians of batches); and the ratios at equal recall.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from cores import bind_to_one

bind_to_one()

import faiss  # noqa: E402
import matplotlib  # noqa: E402
import numpy as np  # noqa: E402

import clock  # noqa: E402
import equal  # noqa: E402
import faiss_peer  # noqa: E402
import processor  # noqa: E402
import refined  # noqa: E402
import vecs  # noqa: E402
from datasets import recall, vectors  # noqa: E402
from processes import Worker, say  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

K = 100
WINDOWS = 5
QUERIES = 2000
NPROBE = 64
# Candidates that refined searches score again, on both sides: the server's default.
CANDIDATES = 150
BASE = refined.LISTS_OF
# Label in the result, kind for `ocelli train`, and the point that the result gives: lists and
# candidates that reach the recall wanted of it.
REFINED = (
    ("16+32", "pq32", 64, 100),
    ("16+64", "pq64", 72, 110),
    ("sq8", "sq8", 64, 150),
    ("f16", "f16", 64, 150),
)


class Ocelli:
    """A point of Ocelli's."""

    system = "Ocelli"

    def __init__(self, label, worker, nprobe, refine, bytes_per_vector):
        self.label, self.worker, self.nprobe, self.refine, self.bytes = (
            label,
            worker,
            nprobe,
            refine,
            bytes_per_vector,
        )

    def recall(self, truth):
        with tempfile.TemporaryDirectory() as scratch:
            ids = Path(scratch) / "ids.ivecs"
            self.worker.ask("ids", self.nprobe, K, self.refine, ids)
            return recall(vecs.read(ids, np.int32), truth)

    def batch_us(self):
        return self.worker.ask("batch", self.nprobe, K, self.refine, QUERIES)["us"]

    def single_us(self):
        return self.worker.ask("single", self.nprobe, K, self.refine, QUERIES)["us"]


class Faiss:
    """A point of FAISS's."""

    system = "FAISS"

    def __init__(self, label, index, queries, nprobe, bytes_per_vector, k_factor=None):
        self.label, self.index, self.queries = label, index, queries
        self.nprobe, self.bytes, self.k_factor = nprobe, bytes_per_vector, k_factor

    def set(self):
        base = self.index.base_index if isinstance(self.index, faiss.IndexRefine) else self.index
        faiss.extract_index_ivf(base).nprobe = self.nprobe
        if self.k_factor:
            self.index.k_factor = self.k_factor

    def recall(self, truth):
        self.set()
        return recall(self.index.search(self.queries, K)[1], truth)

    def batch_us(self):
        self.set()
        n = min(QUERIES, len(self.queries))
        start = time.perf_counter()
        self.index.search(self.queries[:n], K)
        return (time.perf_counter() - start) / n * 1e6


def faiss_points(folder, queries, base):
    """FAISS's indexes, trained unless they are there."""

    def trained(factory):
        path = refined.trained(folder, factory)
        return faiss.read_index(str(path)), path.stat().st_size / len(base)

    points = []
    for factory in (BASE, "IVF2048,PQ32x4fs", "IVF2048,PQ64np"):
        index, size = trained(factory)
        name = factory.split(",")[1]
        points += [Faiss(f"{name}", index, queries, nprobe, size) for nprobe in (4, 16, NPROBE)]
        if factory == BASE:
            plain, plain_bytes = index, size
    for factory in ("IVF2048,PQ16+32", "IVF2048,PQ16+64"):
        index, size = trained(factory)
        points.append(Faiss(factory.split(",")[1], index, queries, NPROBE, size, CANDIDATES / K))
    scalars = faiss.IndexScalarQuantizer(base.shape[1], faiss.ScalarQuantizer.QT_8bit)
    scalars.train(base[:: max(1, len(base) // 65536)])
    scalars.add(base)
    floats = faiss.IndexFlat(base.shape[1])
    floats.add(base)
    for name, finer in (("PQ16np,Refine(SQ8)", scalars), ("PQ16np,RFlat", floats)):
        index = faiss.IndexRefine(plain, finer)
        points.append(
            Faiss(name, index, queries, NPROBE, plain_bytes + finer.sa_code_size(), CANDIDATES / K)
        )
    return points


def measure(points):
    """Microseconds a query of every window: batches of all, singles of Ocelli's."""
    times = {id(p): {"batch": [], "single": []} for p in points}
    for window in range(-1, WINDOWS):  # The first is for the caches and not counted.
        turn = (
            points[max(window, 0) * 3 % len(points) :] + points[: max(window, 0) * 3 % len(points)]
        )
        for p in turn:
            batch = p.batch_us()
            single = p.single_us() if isinstance(p, Ocelli) else None
            if window >= 0:
                times[id(p)]["batch"].append(batch)
                if single is not None:
                    times[id(p)]["single"].append(single)
    return times


# Where a label stands beside its point (points right and up, and the text's end that is there),
# where the usual place would hide it: by system and label, for both plots.
USUAL = {"Ocelli": (-8, 4, "right"), "FAISS": (8, -10, "left")}
SHIFTS = {
    ("Ocelli", "f16"): (-8, 7, "right"),
    ("Ocelli", "sq8"): (-8, -9, "right"),
    ("FAISS", "PQ16np,RFlat"): (8, 5, "left"),
}


def plot(rows, about, out):
    """Recall over bytes at nprobe 64, and recall over time."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 6.2), sharey=True)
    colors = {"Ocelli": "#c1440e", "FAISS": "#2a5d8f"}
    markers = {"Ocelli": "o", "FAISS": "s"}

    def note(axis, row, x, text, size=8):
        dx, dy, side = SHIFTS.get((row["system"], row["label"]), USUAL[row["system"]])
        axis.annotate(
            text,
            (x, row["recall10"]),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=side,
            fontsize=size,
            color=colors[row["system"]],
        )

    for system in ("FAISS", "Ocelli"):
        mine = [r for r in rows if r["system"] == system]
        at64 = [r for r in mine if r["nprobe"] >= NPROBE]
        style = {
            "color": colors[system],
            "marker": markers[system],
            "linestyle": "none",
            "markersize": 7,
        }
        left.plot([r["bytes"] for r in at64], [r["recall10"] for r in at64], label=system, **style)
        for r in at64:
            note(left, r, r["bytes"], r["label"])
        for label in dict.fromkeys(r["label"] for r in mine):
            line = [r for r in mine if r["label"] == label]
            xs, ys = [r["batch_us"] for r in line], [r["recall10"] for r in line]
            right.plot(xs, ys, **style | {"linestyle": "-", "linewidth": 1, "alpha": 0.8})
            note(right, line[-1], xs[-1], label)
            for r in line[:-1]:
                right.annotate(
                    f"nprobe {r['nprobe']}",
                    (r["batch_us"], r["recall10"]),
                    xytext=(0, -13),
                    textcoords="offset points",
                    ha="center",
                    fontsize=6.5,
                    color=colors[system],
                )
    for axis, ticks in (
        (left, (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)),
        (right, (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)),
    ):
        xs = [x for line in axis.lines for x in line.get_xdata()]
        axis.set_xscale("log")
        axis.set_xticks(ticks, ticks)
        axis.set_xlim(min(xs) * 0.7, max(xs) * 2)
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    left.set_xlabel("bytes a vector")
    left.set_ylabel("recall10@10")
    left.set_title(f"what bytes buy, at nprobe {NPROBE} (16+64: 80)")
    left.legend(loc="lower right")
    right.set_xlabel("µs a query, one thread, batch")
    right.set_title(f"what time buys (labels stand at nprobe {NPROBE}; 16+64: 80)")
    figure.suptitle(about, fontsize=9)
    figure.tight_layout()
    for kind in ("png", "svg"):
        figure.savefig(out / f"frontier.{kind}", dpi=120)
    plt.close(figure)


def tables(a, folder, about, indexes, sizes):
    """Ocelli's and FAISS's points in windows, printed and plotted; what the last line says of
    them."""
    faiss.omp_set_num_threads(1)
    base = vecs.read(folder / "base.fvecs", np.float32)
    queries = vecs.read(folder / "query.fvecs", np.float32)
    truth = vecs.read(folder / "groundtruth.ivecs", np.int32)
    workers = {
        kind: Worker(a.worker, index, folder / "query.fvecs") for kind, index in indexes.items()
    }
    points = [
        Ocelli("16", workers["plain"], nprobe, 0, sizes["plain"]) for nprobe in (4, 16, NPROBE)
    ]
    plain = points[-1]
    told = {}
    for label, kind, nprobe, candidates in REFINED:
        points.append(Ocelli(label, workers[kind], 16, candidates, sizes[kind]))
        told[label] = Ocelli(label, workers[kind], nprobe, candidates, sizes[kind])
        points.append(told[label])
    points += faiss_points(folder, queries, base)

    title = (
        f"{len(base):,} vectors ({about['source']}), {len(queries):,} queries, k = {K}, one "
        "thread; "
        f"Ocelli at {workers['plain'].about['simd']}, FAISS {faiss.__version__} at "
        f"{faiss_peer.level(faiss)}; {processor.name()}"
    )
    say(f"\n{title}")
    recalls = {id(p): p.recall(truth) for p in points}
    times = measure(points)
    rows = []
    say(
        f"medians of {WINDOWS} windows, in brackets the lowest and the highest; r: candidates "
        "scored again\n"
    )
    say(
        f"{'':<28}{'bytes':>8}{'nprobe':>8}{'r':>6}{'recall10@10':>13}   "
        f"{'µs, batch':<26}{'µs, single':<26}"
    )

    def cell(values):
        return (
            f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            if values
            else ""
        )

    for p in points:
        t = times[id(p)]
        refine = p.refine if isinstance(p, Ocelli) else int((p.k_factor or 0) * K)
        rows.append(
            {
                "system": p.system,
                "label": p.label,
                "bytes": round(p.bytes, 2),
                "nprobe": p.nprobe,
                "refine": refine,
                "recall10": round(recalls[id(p)], 4),
                "batch_us": round(statistics.median(t["batch"]), 2),
                "single_us": round(statistics.median(t["single"]), 2) if t["single"] else None,
            }
        )
        say(
            f"{p.system + ' ' + p.label:<28}{p.bytes:>8.1f}{p.nprobe:>8}{refine or '':>6}"
            f"{recalls[id(p)]:>13.4f}   "
            f"{cell(t['batch']):<26}{cell(t['single']):<26}"
        )
    for worker in workers.values():
        worker.close()

    (a.out / "frontier.json").write_text(json.dumps(rows, indent=1))
    plot(rows, title, a.out)
    say(
        f"\nplots: {a.out / 'frontier.png'}, {a.out / 'frontier.svg'}; figures: "
        f"{a.out / 'frontier.json'}"
    )

    def ratio(p, kind):
        """Median of the windows' ratios: each window compares with its own plain search."""
        return round(
            statistics.median(x / y for x, y in zip(times[id(p)][kind], times[id(plain)][kind])), 3
        )

    say(
        "time over the plain search's at nprobe 64, batch / single: "
        + ", ".join(
            f"{name} {ratio(p, 'batch')} / {ratio(p, 'single')}" for name, p in told.items()
        )
    )
    return {
        "recall10": {name: round(recalls[id(p)], 4) for name, p in told.items()},
        "time_ratio": {name: ratio(p, "batch") for name, p in told.items()},
        "time_ratio_single": {name: ratio(p, "single") for name, p in told.items()},
    }


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--worker", required=True, help="executable of the bench `frontier` of ocelli-index"
    )
    p.add_argument("--ocelli", required=True, help="the ocelli command")
    p.add_argument("--out", type=Path, required=True, help="where data and plots are kept")
    p.add_argument(
        "--vectors",
        type=Path,
        help="folder with base.fvecs, query.fvecs, groundtruth.ivecs of your own",
    )
    p.add_argument(
        "--only-equal", action="store_true", help="the comparison at equal recall alone"
    )
    p.add_argument("--no-others", action="store_true", help="FAISS alone beside Ocelli")
    clock.add_argument(p)
    a = p.parse_args()
    clock.choose(a.clock)
    folder = a.vectors or vectors(a.out)
    about = folder / "about.json"
    about = json.loads(about.read_text()) if about.exists() else {"source": f"vectors in {folder}"}
    if about.get("synthetic"):
        say(
            "SYNTHETIC VECTORS: no photos were found (OCELLI_DATA); these figures compare with no "
            "others."
        )
    kinds = [kind for _, kind, _, _ in REFINED]
    indexes = refined.build(a.ocelli, folder, refined.trained(folder, BASE), kinds)
    sizes = {kind: refined.bytes_of(a.ocelli, index) for kind, index in indexes.items()}
    result = {"processor": processor.name(), "clock": a.clock}
    if not a.only_equal:
        result |= tables(a, folder, about, indexes, sizes)
    sizes = {kind: refined.code_bytes_of(a.ocelli, index) for kind, index in indexes.items()}
    del sizes["f16"]  # Beyond the bytes that are compared.
    result["equal_recall"] = equal.both_levels(a, folder, indexes, sizes)
    say()
    say(json.dumps(result))


if __name__ == "__main__":
    main()
