"""The photos of the demo without a data directory: real ones, copies of them, generated ones."""

import json
import shutil

from .terminal import BIN, ROOT, say

# Photos that are copied, ten times each; generated photos that show no landmark.
ORIGINALS = 40
DISTRACTORS = 130
# Kinds of queries, in words.
COPIES, MONUMENTS, LANDMARKS = "graded copies", "other photo of it", "generated landmarks"


class Collection:
    """Photos, and which of them should be found for which.

    `photos` and `queries` are lists for `ocelli encode --list`, `truth` is for `ocelli eval
    retrieval`, and `kinds` says of what kind a query is.
    """

    def __init__(self, out):
        self.out = out
        self.photos, self.queries = out / "photos.jsonl", out / "queries.jsonl"
        self.truth = out / "groundtruth.json"
        self.kinds = {}
        self.real = self.copies = self.generated = 0

    def folders(self):
        return [f for f in (self.out / "copies", self.out / "landmarks") if f.is_dir()]

    def make(self, stage):
        tool = BIN / "ocelli-bench-data"
        real = photographs(stage)
        sets = []
        if real:
            folder = self.out / "copies"
            same = ["--same", real / "same.json"]
            made = ["copies", "--photos", real, *same, "--originals", ORIGINALS]
            fresh(folder, (real / "complete.json").read_text())
            stage.run(tool, *made, "--out", folder)
            sets.append(folder)
            counts = json.loads((folder / "manifest.json").read_text())
            self.copies = counts["copies"]
            self.real = counts["photos"] - self.copies
        else:
            shutil.rmtree(self.out / "copies", ignore_errors=True)
        folder = self.out / "landmarks"
        stage.run(tool, "landmarks", "--distractors", DISTRACTORS, "--out", folder)
        sets.append(folder)
        self.generated = len(list((folder / "photos").iterdir()))
        self.merge(sets)

    def merge(self, sets):
        """One list of photos, one of queries with their boxes, and one truth, of all sets."""
        rows, asked, truth = (
            [],
            [],
            {"images": [], "folder_label": {}, "own": "hidden", "queries": []},
        )
        for folder in sets:
            part = json.loads((folder / "groundtruth.json").read_text())
            for name in part["images"]:
                path = f"{folder.name}/photos/{name}.jpg"
                rows.append({"path": path, "key": path})
            for query in part["queries"]:
                truth["queries"].append(query)
                line = {"path": f"{folder.name}/photos/{query['name']}.jpg", "key": query["name"]}
                asked.append(line | ({"box": query["bbox"]} if "bbox" in query else {}))
                self.kinds[query["name"]] = kind(folder.name, query)
            truth["images"] += part["images"]
            truth["folder_label"] |= part["folder_label"]
        for target, lines in ((self.photos, rows), (self.queries, asked)):
            write_if_changed(target, "".join(json.dumps(line) + "\n" for line in lines))
        write_if_changed(self.truth, json.dumps(truth) + "\n")

    def shown(self):
        """Five queries for a picture: of each kind some, evenly spread over their names."""
        chosen = []
        for name, count in ((COPIES, 2), (MONUMENTS, 2), (LANDMARKS, 1)):
            names = sorted(q for q, k in self.kinds.items() if k == name)
            chosen += [
                names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count) if names
            ]
        return chosen


def kind(folder, query):
    if folder != "copies":
        return LANDMARKS
    return (
        COPIES if any(name.startswith(f"{query['name']}-") for name in query["ok"]) else MONUMENTS
    )


def photographs(stage):
    """The folder of real photographs; None if they cannot be fetched."""
    fetched = stage.run(ROOT / "bench-data" / "photographs", allow=(3,))
    if fetched is None:
        say("  They cannot be fetched here (offline?): generated photos alone are used.")
        return None
    say("  " + fetched.splitlines()[-1].split(": ")[-1])
    return ROOT / ".photographs"


def fresh(folder, version):
    """Forgets copies that were made of an earlier choice of photos."""
    mark = folder.with_name(f"{folder.name}.made-from")
    if not mark.exists() or mark.read_text() != version:
        shutil.rmtree(folder, ignore_errors=True)
        mark.write_text(version)


def write_if_changed(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
