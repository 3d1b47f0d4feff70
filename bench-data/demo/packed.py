"""The path without training: the default pack has the network, the whitening and the codebooks."""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

from .collection import Collection
from .figures import Judge, table
from .terminal import BIN, head, say, serve, short

CODE_BYTES = (16, 32, 64)
HITS = 8


class Packed:
    """Photos are encoded once for each spec of descriptors; sizes of codes may share one."""

    def __init__(self, stage, out, pack, photos):
        self.stage, self.pack, self.own = stage, pack, photos
        self.card = stage.json(BIN / "ocelli", "pack", "inspect", pack, quiet=True)["card"]
        self.work = out / ("collection-photos" if photos else "collection")
        self.work.mkdir(parents=True, exist_ok=True)
        self.network = self.card["network"]["name"]
        self.specs = {v["code_bytes"]: v["spec"] for v in self.card["variants"]}
        self.sizes = [m for m in CODE_BYTES if m in self.specs] or list(self.specs)[-1:]
        self.encoded = set()
        # What is searched by the questions, and judged exactly.
        self.main = 32 if 32 in self.sizes else self.sizes[-1]

    def settings(self, m):
        return ["--pack", self.pack, "--code-bytes", m]

    def photos(self):
        """What is searched: a list, and a collection if its truth is known."""
        if self.own:
            listed = self.work / "photos.jsonl"
            chosen = ["--photos", self.own, "--root", self.own, "--out", listed]
            self.stage.run(BIN / "ocelli-bench-data", "list", *chosen)
            return listed, None
        head("Photos: real ones, graded copies of them, and generated landmarks")
        collection = Collection(self.work)
        collection.make(self.stage)
        return collection.photos, collection

    def forget_if_changed(self, lists):
        """What is kept from an earlier run holds for the same photos and pack only."""
        digest = hashlib.sha256(json.dumps(self.card, sort_keys=True).encode())
        for listed in lists:
            for line in listed.read_text().splitlines():
                stat = (listed.parent / json.loads(line)["path"]).stat()
                digest.update(f"{line} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        mark = self.work / "inputs.sha256"
        if not mark.exists() or mark.read_text() != digest.hexdigest():
            for old in self.work.iterdir():
                if old.suffix in (".part", ".index") or old.name.endswith("rejected.jsonl"):
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            mark.write_text(digest.hexdigest())

    def encode(self, name, listed, m):
        """A part of the descriptors from which codes of `m` bytes are made."""
        part = self.work / f"{name}-{self.specs[m][:8]}.part"
        encode = [BIN / "ocelli", "encode", "--list", listed, *self.settings(m), "--out", part]
        if part not in self.encoded:
            self.encoded.add(part)
            self.stage.keep(part, *encode)
        return part

    def run(self):
        """Runs the path; returns figures, and what a server of it needs."""
        listed, collection = self.photos()
        lists = [listed] + ([collection.queries] if collection else [])
        self.forget_if_changed(lists)
        head(f"Encode, build, judge: {self.network} and codebooks from the pack, no training")
        found, columns, built = {}, {}, {}
        judge = Judge(self.stage, collection.truth, self.work) if collection else None
        for m in self.sizes:
            part = self.encode("photos", listed, m)
            index = self.work / f"{m}b.index"
            build = ["build", part, *self.settings(m), "--shards", "2", "--out", index]
            built[m] = self.stage.json(BIN / "ocelli", *build)
            if not judge:
                continue
            asked = ["--queries", self.encode("queries", collection.queries, m)]
            search = [*asked, "--index", index]
            if m == self.main:
                exact = ["--descriptors", part]
                shown = self.page(collection)
                found["map_exact"], columns["exact"] = judge.judge(
                    "exact", "official", *asked, *exact
                )
                found["map_exact_leave_one_out"], _ = judge.judge("exact", "leave-one-out", *exact)
                search += shown
            found[f"map_{m}b"], columns[f"{m} bytes"] = judge.judge(f"{m}b", "official", *search)
        if judge:
            found["map_phash"], columns["hash"] = judge.phash([listed], collection.queries)
            # The exact search first, then codes from few bytes to many.
            columns = {"exact": columns.pop("exact")} | columns
            self.tell(collection, columns)
        rejects = [f.read_text() for f in self.work.glob("photos-*.rejected.jsonl")]
        rejected = {json.loads(line)["key"] for text in rejects for line in text.splitlines()}
        found["bytes_per_image"] = round(built[self.main]["bytes_per_image"], 2)
        found["images"], found["rejected"] = built[self.main]["rows"], len(rejected)
        items = [json.loads(line) for line in listed.read_text().splitlines()]
        ask = [listed.parent / i["path"] for i in items if i["key"] not in rejected]
        first = collection.shown()[0] if collection else None
        example = next((photo for photo in ask if photo.stem == first), ask[0])
        self.listed = listed
        return argparse.Namespace(
            found=found,
            serve=self.settings(self.main),
            index=self.work / f"{self.main}b.index",
            ask=ask,
            example=example,
            network=self.network,
        )

    def up(self):
        """Makes one directory of the photos and serves it until Ctrl-C."""
        head("Serve: one directory, one command")
        index = self.work / "photos.index"
        made = ["index", self.listed, "--out", index, *self.settings(self.main)]
        self.stage.run(BIN / "ocelli", *made)
        serve([BIN / "ocelli", "up", index])

    def page(self, collection):
        """Flags that write the rankings and a page of five queries."""
        rankings, page = self.work / "rankings.csv", self.work / "answers.html"
        queries = [a for name in collection.shown() for a in ("--page-query", name)]
        photos = [a for f in collection.folders() for a in ("--photos", f / "photos")]
        return ["--rankings-out", rankings, "--page", page, *queries, *photos]

    def tell(self, collection, columns):
        """The figures as a table, and five queries as a picture."""
        sheet = self.work / "answers.png"
        lists = ["--list", collection.photos, "--queries", collection.queries]
        drawn = ["--rankings", self.work / "rankings.csv", *lists, "--hits", HITS]
        shown = ["--show", *collection.shown()]
        tool = BIN / "ocelli-bench-data"
        self.stage.run(tool, "sheet", *drawn, *shown, "--out", sheet, quiet=True)
        say()
        table(columns, collection.kinds)
        real = f"{collection.real} real, {collection.copies} copies, " if collection.real else ""
        say(f"  in {real}{collection.generated} generated photos; a query's own photo is left out")
        say(f"\n  five queries and what {self.main}-byte codes found: {short(sheet)}")
        say(f"  the same as a page: {short(self.work / 'answers.html')}")
