"""Golden values for vision transformers, from the formulas, in PyTorch.

Thin transformers (width 128, three blocks) in the layouts that are published. Their weights are not
stored: `draw` makes every number from the tensor's name and its place, and the test makes the same.
What they must answer for a picture at several sizes is computed here in float64, layer by layer:
softmax, GELU and normalisation as written in the papers, and positions scaled as DINOv2's code
scales them. Needs torch, numpy, pillow and safetensors (in a virtual environment outside the
repository); writes beside itself:

    python make_vit.py

Tensors of vit.golden.safetensors, float16, for each case CASE and picture WIDTHxHEIGHT:
    CASE.WIDTHxHEIGHT.map      (C, h, w)  normalised tokens of the patches
    CASE.WIDTHxHEIGHT.cls      (C,)       normalised class token, where there is one
The pictures are the upper left WIDTH x HEIGHT pixels of picture.png.

    python make_vit.py FILE.safetensors HEADS PICTURE

does the same for a file of weights with DINOv2's names, and writes FILE.vit.safetensors in float32.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
WIDTH, DEPTH = 128, 3
SIZES = [(131, 97), (64, 80), (56, 56), (33, 17)]


# ---- the weights -------------------------------------------------------------------------------


def draw(name, shape, centre, spread):
    """float32 numbers in centre ± spread, scattered by mixing the bits of their place."""
    seed = 2166136261  # FNV-1a of the name
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 % 2**32
    with np.errstate(over="ignore"):
        x = np.arange(math.prod(shape), dtype=np.uint32) + np.uint32(seed)
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
    unit = x.astype(np.float64) / 2.0**32 * 2.0 - 1.0
    return (centre + spread * unit).astype(np.float32).reshape(shape)


def weights(patch, grid, registers, scaled, class_token=True):
    """A network's tensors by DINOv2's names."""
    tensors = {}

    def put(name, shape, centre, spread):
        tensors[name] = draw(name, shape, centre, spread)

    def linear(name, out, inputs, shape=None):
        put(f"{name}.weight", shape or (out, inputs), 0.0, math.sqrt(3.0 / inputs))
        put(f"{name}.bias", (out,), 0.0, 0.2)

    def norm(name):
        put(f"{name}.weight", (WIDTH,), 1.0, 0.4)
        put(f"{name}.bias", (WIDTH,), 0.0, 0.2)

    if class_token:
        put("cls_token", (1, 1, WIDTH), 0.0, 1.0)
    put("pos_embed", (1, grid * grid + int(class_token), WIDTH), 0.0, 1.0)
    if registers:
        put("register_tokens", (1, registers, WIDTH), 0.0, 1.0)
    linear("patch_embed.proj", WIDTH, 3 * patch * patch, (WIDTH, 3, patch, patch))
    for n in range(DEPTH):
        norm(f"blocks.{n}.norm1")
        linear(f"blocks.{n}.attn.qkv", 3 * WIDTH, WIDTH)
        linear(f"blocks.{n}.attn.proj", WIDTH, WIDTH)
        norm(f"blocks.{n}.norm2")
        linear(f"blocks.{n}.mlp.fc1", 4 * WIDTH, WIDTH)
        linear(f"blocks.{n}.mlp.fc2", WIDTH, 4 * WIDTH)
        if scaled:
            put(f"blocks.{n}.ls1.gamma", (WIDTH,), 0.6, 0.4)
            put(f"blocks.{n}.ls2.gamma", (WIDTH,), 0.6, 0.4)
    norm("norm")
    return tensors


# ---- the network -------------------------------------------------------------------------------


def normalise(x, t, name, eps=1e-6):
    centred = x - x.mean(-1, keepdim=True)
    deviation = torch.sqrt((centred**2).mean(-1, keepdim=True) + eps)
    return centred / deviation * t[f"{name}.weight"] + t[f"{name}.bias"]


def dense(x, t, name):
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def positions(t, rows, columns, square, offset, antialias, class_token):
    """(rows * columns, C) for the patches."""
    learned = t["pos_embed"][0, int(class_token) :]
    side = math.isqrt(len(learned))
    if rows * columns == side * side and square:
        return learned
    plane = learned.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    how = {"mode": "bicubic", "antialias": antialias}
    if offset:
        how["scale_factor"] = ((rows + offset) / side, (columns + offset) / side)
    else:
        how["size"] = (rows, columns)
    plane = F.interpolate(plane, **how)
    assert plane.shape[2:] == (rows, columns)
    return plane[0].permute(1, 2, 0).reshape(rows * columns, -1)


def run(tensors, rgb, heads, offset=0.1, antialias=False, depth=None):
    """Class token (C,) or None, and map (C, h, w)."""
    t = {name: torch.tensor(value, dtype=torch.float64) for name, value in tensors.items()}
    class_token = "cls_token" in t
    width, _, patch, _ = t["patch_embed.proj.weight"].shape
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.tensor((rgb / 255.0 - mean) / deviation)
    rows, columns = rgb.shape[0] // patch, rgb.shape[1] // patch
    tokens = []
    for row in range(rows):
        for column in range(columns):
            cut = pixels[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            kernel = t["patch_embed.proj.weight"].permute(0, 2, 3, 1)
            tokens.append((kernel * cut).sum((1, 2, 3)) + t["patch_embed.proj.bias"])
    square = rgb.shape[0] == rgb.shape[1]
    x = torch.stack(tokens)
    x = x + positions(t, rows, columns, square, offset, antialias, class_token)
    special = []
    if class_token:
        special.append(t["cls_token"][0] + t["pos_embed"][0, :1])
    if "register_tokens" in t:
        special.append(t["register_tokens"][0])
    before = sum(len(part) for part in special)
    x = torch.cat([*special, x])
    blocks = 1 + max(int(name.split(".")[1]) for name in t if name.startswith("blocks."))
    for n in range(depth or blocks):
        name = f"blocks.{n}"
        qkv = dense(normalise(x, t, f"{name}.norm1"), t, f"{name}.attn.qkv")
        query, key, value = (
            part.reshape(len(x), heads, width // heads).transpose(0, 1)
            for part in qkv.split(width, 1)
        )
        share = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(width // heads), -1)
        mixed = (share @ value).transpose(0, 1).reshape(len(x), width)
        branch = dense(mixed, t, f"{name}.attn.proj")
        x = x + branch * t.get(f"{name}.ls1.gamma", 1.0)
        hidden = dense(normalise(x, t, f"{name}.norm2"), t, f"{name}.mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        branch = dense(hidden, t, f"{name}.mlp.fc2")
        x = x + branch * t.get(f"{name}.ls2.gamma", 1.0)
    x = normalise(x, t, "norm").numpy()
    feature = x[before:].T.reshape(width, rows, columns)
    return (x[0] if class_token else None), np.ascontiguousarray(feature)


# ---- what is written ---------------------------------------------------------------------------


def main():
    picture = np.asarray(Image.open(HERE / "picture.png").convert("RGB"))
    dinov2 = weights(14, 4, 0, True)
    cases = {
        "dinov2": (dinov2, {"heads": 2}),
        "dinov2_block2": (dinov2, {"heads": 2, "depth": 2}),
        "dinov2_reg": (weights(14, 4, 4, True), {"heads": 2, "offset": 0, "antialias": True}),
        "dino": (weights(16, 4, 0, False), {"heads": 4}),
        "no_class": (weights(16, 3, 0, False, class_token=False), {"heads": 2}),
    }
    out = {}
    for case, (tensors, how) in cases.items():
        for width, height in SIZES:
            token, feature = run(tensors, picture[:height, :width], **how)
            out[f"{case}.{width}x{height}.map"] = feature.astype(np.float16)
            if token is not None:
                out[f"{case}.{width}x{height}.cls"] = token.astype(np.float16)
    save_file(out, HERE / "vit.golden.safetensors")


def of_file(path, heads, picture):
    rgb = np.asarray(Image.open(picture).convert("RGB"))
    tensors = load_file(path)
    registers = "register_tokens" in tensors
    token, feature = run(
        tensors, rgb, heads, offset=0 if registers else 0.1, antialias=registers
    )
    out = {"cls": token.astype(np.float32), "map": feature.astype(np.float32)}
    save_file(out, Path(path).with_suffix(".vit.safetensors"))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        of_file(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        main()
