"""The path of one's own network: a whitening and codebooks are learned here, on other photos."""

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

from .figures import Judge, table
from .terminal import BIN, ROOT, head, say, short

# Training needs 39 region vectors for each of the 256 codewords, and a photo gives about 20: so
# about 500 photos.
QUICK_DISTRACTORS = 530
RESNET = ["--form", "v1", "--input", "caffe-bgr", "--bn-eps", "1.001e-5"]
CODE_BYTES = (16, 32, 64)


def data_directory():
    return Path(os.environ.get("OCELLI_DATA") or ROOT / ".." / "shared" / "data").resolve()


def resnet():
    """The weights and the photos of the data directory; None where it has none."""
    data = data_directory()
    weights = data / "weights" / "resnet50_v1_conv1-conv4.safetensors"
    truth = data / "images" / "paris124" / "groundtruth.json"
    return (weights, truth) if weights.is_file() and truth.is_file() else None


class Trained:
    """The whole path: regions, whitening, descriptors, codebooks, indexes."""

    def __init__(self, stage, out, weights, flags, photos, full):
        self.stage, self.photos, self.full = stage, photos, full
        self.network = ["--weights", weights, *flags]
        self.name = "resnet50" if flags == RESNET else Path(weights).stem
        self.sizes = "448"
        found = resnet()
        self.truth, self.distractors = None, []
        if photos:
            self.root, self.folders = photos, [photos]
            say(f"photos: {short(photos)}; no ground truth, so no mAP")
        elif found:
            images = found[1].parent.parent
            self.root, self.truth = images, found[1]
            self.folders = [images / "paris124"]
            self.distractors = [images / "imagenet", images / "corel"]
            say("photos: 124 of Paris6k, with ImageNet and Corel photos as distractors")
        else:
            self.root, self.folders = out / "landmarks-to-learn", None
            tool = BIN / "ocelli-bench-data"
            stage.run(tool, "landmarks", "--out", self.root)
            self.truth = self.root / "groundtruth.json"
            say("photos: generated landmarks")
        parts = [self.name, "photos" if photos else "", "full" if full else ""]
        self.work = out / "-".join(part for part in parts if part)
        self.work.mkdir(parents=True, exist_ok=True)
        self.dim = 256
        self.serve = None

    def lists(self):
        """Two list files: the photos that are judged, and the distractors, on which everything is
        trained."""
        photos, distractors = self.work / "photos.jsonl", self.work / "distractors.jsonl"
        tool = [BIN / "ocelli-bench-data", "list"]
        if self.folders is None:  # Generated: the ground truth names the landmarks' photos.
            names = set(json.loads(self.truth.read_text())["folder_label"])
            files = sorted((self.root / "photos").glob("*.jpg"))
            for target, chosen in ((photos, True), (distractors, False)):
                rows = [
                    {"path": str(f), "key": str(f.relative_to(self.root))}
                    for f in files
                    if (f.stem in names) == chosen
                ]
                target.write_text("".join(json.dumps(r) + "\n" for r in rows))
            return photos, distractors
        root = ["--root", self.root]
        self.stage.run(*tool, "--photos", *self.folders, *root, "--out", photos)
        if not self.distractors:
            return photos, None
        take = [] if self.full else ["--take", QUICK_DISTRACTORS]
        chosen = [*root, *take, "--seed", "1", "--out", distractors]
        self.stage.run(*tool, "--photos", *self.distractors, *chosen)
        return photos, distractors

    def forget_if_changed(self, lists):
        """What is kept from an earlier run holds for the same photos and network only."""
        digest = hashlib.sha256(repr((self.network, self.sizes, len(lists))).encode())
        for listed in lists:
            for line in listed.read_text().splitlines():
                photo = listed.parent / json.loads(line)["path"]
                stat = photo.stat()
                digest.update(f"{photo} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        mark = self.work / "inputs.sha256"
        if not mark.exists() or mark.read_text() != digest.hexdigest():
            for old in self.work.iterdir():
                made = old.suffix in (".part", ".whitening", ".model", ".index")
                if made or old.name.endswith("rejected.jsonl"):
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            mark.write_text(digest.hexdigest())

    def describe(self, photos, distractors):
        """Makes descriptors of all photos and whitened region vectors; returns parts and the keys
        of rejected photos."""
        w, stage, encode = self.work, self.stage, [BIN / "ocelli", "encode"]
        sets = {"photos": photos} | ({"distractors": distractors} if distractors else {})
        head("Encode: region vectors of every photo (the network runs here, and only here)")
        regions = {name: w / f"{name}.regions.part" for name in sets}
        for name, listed in sets.items():
            common = [*self.network, "--sizes", self.sizes, "--output", "regions"]
            stage.keep(regions[name], *encode, "--list", listed, *common, "--out", regions[name])
        teacher = regions["distractors" if distractors else "photos"]
        whitening = w / "pca.whitening"
        if distractors:
            head("Whiten: PCA of the region vectors of photos that are not judged")
            rows = stage.json(BIN / "ocelli", "inspect", teacher, quiet=True)["rows"]
            # A PCA needs more rows than dimensions; 64-byte codes need a multiple of 64.
            dim = min(self.dim, (rows - 1) // 64 * 64)
            flags = ["--covariance", "all", "--dim", dim]
        else:
            head("Whiten: PCA of what near photos of the collection differ in")
            flags = []
        stage.keep(whitening, BIN / "ocelli", "whiten", teacher, *flags, "--out", whitening)
        dim = stage.json(BIN / "ocelli", "inspect", whitening, quiet=True)["dim_out"]
        if dim % max(CODE_BYTES):
            sys.exit(
                f"demo: the photos are too few to learn from ({dim} directions vary, "
                f"{max(CODE_BYTES)} are needed): give more"
            )
        whitened = ["--whitening", whitening]
        parts = [w / f"{name}.part" for name in sets]
        for name, part in zip(sets, parts, strict=True):
            stage.keep(part, *encode, "--regions", regions[name], *whitened, "--out", part)
        train = w / "train.part"
        learn = ["--regions", teacher, *whitened, "--output", "regions"]
        stage.keep(train, *encode, *learn, "--out", train)
        rejects = [f.read_text() for f in w.glob("*.regions.part.rejected.jsonl")]
        rejected = {json.loads(line)["key"] for text in rejects for line in text.splitlines()}
        return parts, train, whitening, rejected

    def queries(self, whitening):
        """Encodes the query boxes; returns their list and their part."""
        listed, queries = self.work / "queries.jsonl", self.work / "queries.part"
        folder = self.folders[0] if self.folders else self.root / "photos"
        asked = ["eval", "queries", self.truth, "--photos", folder, "--out", listed]
        self.stage.run(BIN / "ocelli", *asked)
        settings = [*self.network, "--sizes", self.sizes, "--whitening", whitening]
        encode = [BIN / "ocelli", "encode", "--list", listed, *settings]
        self.stage.keep(queries, *encode, "--out", queries)
        return listed, queries

    def run(self):
        """Runs the path; returns figures, and what a server of it needs."""
        photos, distractors = self.lists()
        lists = [listed for listed in (photos, distractors) if listed]
        self.forget_if_changed(lists)
        parts, train, whitening, rejected = self.describe(photos, distractors)
        found, columns = {}, {}
        judge = Judge(self.stage, self.truth, self.work) if self.truth else None
        if judge:
            head("Judge: mean average precision of the exact float descriptors")
            listed, queries = self.queries(whitening)
            asked = ["--queries", queries]
            exact = ["--descriptors", *parts]
            found["map_exact"], columns["exact"] = judge.judge("exact", "official", *asked, *exact)
            found["map_exact_leave_one_out"], _ = judge.judge("exact", "leave-one-out", *exact)
        head("Train and build: one model and one index of two shards for each code size")
        # Training needs about 500 photos. One's own may be fewer.
        forced = [] if distractors else ["--force"]
        built = {}
        for m in CODE_BYTES:
            model, index = self.work / f"{m}b.model", self.work / f"{m}b.index"
            learn = [train, "--nlist", "16", "--m", m, *forced]
            self.stage.keep(model, BIN / "ocelli", "train", *learn, "--out", model)
            build = ["build", *parts, "--model", model, "--shards", "2", "--out", index]
            built[m] = self.stage.json(BIN / "ocelli", *build)
            if judge:
                search = [*asked, "--index", index]
                found[f"map_{m}b"], columns[f"{m} bytes"] = judge.judge(
                    f"{m}b", "official", *search
                )
        if judge:
            head("Judge: the same queries by a perceptual hash of the photos")
            found["map_phash"], columns["hash"] = judge.phash(lists, listed)
            table(columns, dict.fromkeys(columns["exact"], "official queries"))
        found["bytes_per_image"] = round(built[32]["bytes_per_image"], 2)
        found["images"], found["rejected"] = built[32]["rows"], len(rejected)
        items = [json.loads(line) for line in photos.read_text().splitlines()]
        ask = [photos.parent / i["path"] for i in items if i["key"] not in rejected]
        serve = [*self.network, "--sizes", self.sizes, "--whitening", whitening]
        return argparse.Namespace(
            found=found,
            serve=serve,
            index=self.work / "32b.index",
            ask=ask,
            example=ask[len(ask) // 2],
            network=self.name,
        )
