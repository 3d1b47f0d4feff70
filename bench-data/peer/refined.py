"""Indexes with finer codes: Ocelli's, and FAISS's on the same lists."""

import hashlib
import json
import shutil
import subprocess
import sys

import faiss

from processes import HERE, run

LISTS_OF, CODE_BYTES = "IVF2048,PQ16np", 16


def trained(folder, factory):
    path = folder / f"{factory.replace(',', '_')}.faiss-{faiss.__version__}"
    borrows = "IVF" in factory and factory != LISTS_OF
    lists = ["--lists-of", trained(folder, LISTS_OF)] if borrows else []
    if not path.exists():
        run(sys.executable, HERE / "train.py", folder / "base.fvecs", factory, path, *lists)
    return path


def build(ocelli, folder, base_file, kinds):
    """Ocelli's indexes of these kinds of finer codes, and the plain one, unless this version of the
    program made them of these codes: {kind: folder}.

    Building them takes minutes. Remove the folder after a change of how they are made.
    """
    root = folder / "frontier"
    done = subprocess.run([ocelli, "--version"], check=True, stdout=subprocess.PIPE, text=True)
    stamp = f"{done.stdout}{hashlib.sha256(base_file.read_bytes()).hexdigest()}\n"
    if not (root / "stamp").exists() or (root / "stamp").read_text() != stamp:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        spec = ("--spec", "foreign:sift")
        run(ocelli, "import", "faiss", base_file, "--out", root / "plain", *spec)
        (root / "stamp").write_text(stamp)
    part = root / "sift.part"
    for kind in kinds:
        if (root / kind).exists():
            continue
        if not part.exists():
            base = folder / "base.fvecs"
            run(ocelli, "import", "vectors", base, "--spec", "foreign:sift", "--out", part)
        (base,) = (root / "plain" / "models").glob("*.model")
        model, made = root / f"{kind}.model", root / f"{kind}.tmp"
        shutil.rmtree(made, ignore_errors=True)
        run(ocelli, "train", part, "--base", base, "--fine-codes", kind, "--out", model)
        run(ocelli, "build", part, "--model", model, "--out", made)
        made.rename(root / kind)
    part.unlink(missing_ok=True)
    return {kind: root / kind for kind in ("plain", *kinds)}


def inspect(ocelli, index):
    command = [ocelli, "inspect", index, "--format", "json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def bytes_of(ocelli, index):
    """Bytes a vector that a search needs."""
    about = inspect(ocelli, index)
    return about["search_bytes_per_image"] + about["fine_bytes_per_image"]


def code_bytes_of(ocelli, index):
    """Bytes a vector of codes, of finer codes, and the one for L2, without ordinals."""
    codec = inspect(ocelli, index)["fine_codec"]
    return CODE_BYTES + 1 + (codec["code_bytes"] if codec else 0)
