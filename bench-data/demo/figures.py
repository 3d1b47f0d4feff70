"""Figures: mean average precision of a search, over all queries and by kind."""

import json
import statistics

from .terminal import BIN, say


class Judge:
    """Judges searches of one data set, each once as often as its files change."""

    def __init__(self, stage, truth, work):
        self.stage, self.truth, self.work = stage, truth, work

    def judge(self, name, setup, *search):
        """The mAP of a search, and the average precision of each query."""
        per_query = self.work / f"{name}.{setup}.json"
        report = self.stage.json(
            BIN / "ocelli",
            "eval",
            "retrieval",
            self.truth,
            "--setup",
            setup,
            *search,
            "--per-query-out",
            per_query,
        )
        [judged] = report["setups"]
        rows = json.loads(per_query.read_text())
        return judged["map"], {row["query"]: row["average_precision"] for row in rows}

    def phash(self, photos, queries):
        """The rankings of a perceptual hash, judged alike."""
        rankings = self.work / "phash.csv"
        tool = [BIN / "ocelli-bench-data", "phash"]
        self.stage.run(*tool, "--list", *photos, "--queries", queries, "--out", rankings)
        return self.judge("phash", "official", "--rankings", rankings)


def table(columns, kinds):
    """Prints mAP by kind of query (rows) and by search (columns: name → AP by query)."""
    rows = [
        (kind, [q for q, k in kinds.items() if k == kind]) for kind in dict.fromkeys(kinds.values())
    ]
    if len(rows) > 1:
        rows.append(("all queries", list(kinds)))
    wide = max(len(f"{name} ({len(queries)})") for name, queries in rows)
    say(f"  {'mean average precision':{wide}}" + "".join(f"{name:>10}" for name in columns))
    for name, queries in rows:
        cells = [statistics.fmean(ap[q] for q in queries) for ap in columns.values()]
        label = f"{name} ({len(queries)})"
        say(f"  {label:{wide}}" + "".join(f"{cell:10.3f}" for cell in cells))
