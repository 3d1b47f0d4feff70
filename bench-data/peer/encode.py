"""`ocelli encode` beside a straightforward pipeline of PyTorch and Pillow on the same photos and
weights.

The peer decodes and resizes a batch in two threads, then runs the network with two threads,
eagerly, in the module's own precision, with the same batch size; R-MAC of three levels follows,
without whitening. Both sides are timed end to end without loading weights, in turn, and medians are
compared.

Needs photos in OCELLI_DATA (images/paris124). ResNet-50 v1 takes its weights from there too;
ResNet-101's are drawn at random: neither speed nor agreement depends on what they find.
"""

import argparse
import copy
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

LEVELS = 3


class Bottleneck(nn.Module):
    """He et al. 2016. `v1` strides in the first convolution, otherwise in the second."""

    def __init__(self, width, mid, stride, v1, eps):
        super().__init__()
        first, second = (stride, 1) if v1 else (1, stride)
        self.conv1 = nn.Conv2d(width, mid, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(mid, eps)
        self.conv2 = nn.Conv2d(mid, mid, 3, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(mid, eps)
        self.conv3 = nn.Conv2d(mid, 4 * mid, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * mid, eps)
        self.downsample = None
        if stride != 1 or width != 4 * mid:
            self.downsample = nn.Sequential(
                nn.Conv2d(width, 4 * mid, 1, stride, bias=False), nn.BatchNorm2d(4 * mid, eps)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Resnet(nn.Module):
    """The trunk, with torchvision's names."""

    def __init__(self, blocks, v1, eps):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width, self.stages = 64, []
        for stage, count in enumerate(blocks):
            mid = 64 << stage
            layers = []
            for block in range(count):
                layers.append(Bottleneck(width, mid, 2 if stage and not block else 1, v1, eps))
                width = 4 * mid
            self.stages.append(f"layer{stage + 1}")
            setattr(self, self.stages[-1], nn.Sequential(*layers))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return x


def grid(height, width):
    """Tolias, Sicre, Jegou 2016: squares of side 2 min / (l + 1), overlapping by about 40 %."""
    short, long = min(height, width), max(height, width)
    more = min(
        range(1, 7), key=lambda m: abs((short**2 - short * (long - short) / m) / short**2 - 0.4)
    )

    def along(size, side, count):
        if count == 1:
            return [0]
        step, half = (size - side) / (count - 1), side // 2 - 1
        return [min(math.floor(half + step * i) - half, size - side) for i in range(count)]

    for level in range(1, LEVELS + 1):
        side = max(1, 2 * short // (level + 1))
        for y in along(height, side, level + (more if height > width else 0)):
            for x in along(width, side, level + (more if width > height else 0)):
                yield y, x, side


def rmac(maps):
    """(N, C, h, w) to (N, C)."""
    total = 0
    for y, x, side in grid(*maps.shape[2:]):
        region = maps[:, :, y : y + side, x : x + side].amax((2, 3))
        total = total + nn.functional.normalize(region)
    return nn.functional.normalize(total)


class Case:
    """A network at a size, on both sides."""

    def __init__(self, name, size, count, blocks, v1, eps, bgr, weights):
        self.name, self.size, self.count, self.v1, self.eps, self.bgr = (
            name,
            size,
            count,
            v1,
            eps,
            bgr,
        )
        self.weights = weights
        self.model = Resnet(blocks, v1, eps).eval()

    def flags(self):
        return [
            *(
                "--weights",
                self.weights,
                "--form",
                "v1" if self.v1 else "v1.5",
                "--bn-eps",
                str(self.eps),
            ),
            *("--input", "caffe-bgr" if self.bgr else "torchvision-rgb", "--sizes", str(self.size)),
        ]


def read_safetensors(path):
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(length)), f.read()
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            assert entry["dtype"] == "F32", f"{path}: {name}: expected F32, found {entry['dtype']}"
            array = np.frombuffer(data[start:end], np.float32).reshape(entry["shape"])
            out[name] = torch.from_numpy(array.copy())
    return out


def write_safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(blob)],
        }
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def draw(model):
    """Weights that keep the scale of the activations through the depth."""
    torch.manual_seed(0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            if name.endswith("bn3"):
                module.weight.data *= 0.3
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.05)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return {
        name: t
        for name, t in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def load(case, path):
    """A photo as (3, h, w)."""
    image = Image.open(path).convert("RGB")
    scale = case.size / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.BILINEAR)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    if case.bgr:
        return x.flip(0) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x / 255 - mean[:, None, None]) / std[:, None, None]


def peer(case, photos, batch, dtype):
    """Descriptors (n, dim) and seconds."""
    # A copy: what was rounded to bfloat16 does not come back.
    model = copy.deepcopy(case.model).to(dtype)
    out = [None] * len(photos)
    start = time.perf_counter()
    with torch.inference_mode(), ThreadPoolExecutor(2) as pool:
        for at in range(0, len(photos), batch):
            images = list(pool.map(lambda path: load(case, path), photos[at : at + batch]))
            shapes = {}
            for i, image in enumerate(images):
                shapes.setdefault(image.shape, []).append(i)
            for members in shapes.values():
                maps = model(torch.stack([images[i] for i in members]).to(dtype)).float()
                for i, row in zip(members, rmac(maps)):
                    out[at + i] = row
    seconds = time.perf_counter() - start
    return torch.stack(out).numpy(), seconds


def ocelli(case, args, listed, precision):
    """Descriptors (n, dim), and the job's own summary."""
    part = args.out / f"{case.name}-{precision}.part"
    command = [
        args.encoder,
        "encode",
        "--device",
        "cpu",
        "--list",
        listed,
        *case.flags(),
        "--precision",
        precision,
        "--workers",
        "2",
    ]
    command += ["--batch", str(args.batch), "--out", part, "--format", "json", "--log", "warn"]
    summary = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert summary["rejected"] == 0, f"{part}: {summary['rejected']} photos were rejected"
    inspected = subprocess.run(
        [args.ocelli, "inspect", part, "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    facts = json.loads(inspected.stdout)
    section = next(s for s in facts["file"]["sections"] if s["name"] == "vectors")
    flat = np.fromfile(part, np.float32, facts["rows"] * facts["dim"], offset=section["offset"])
    return flat.reshape(facts["rows"], facts["dim"]), summary


def decode_rates(case, photos):
    """Pillow, one thread: images a second through decoding and resizing to 8-bit RGB."""
    start = time.perf_counter()
    for path in photos:
        image = Image.open(path).convert("RGB")
        scale = case.size / max(image.size)
        np.asarray(
            image.resize([max(1, round(side * scale)) for side in image.size], Image.BILINEAR)
        )
    return len(photos) / (time.perf_counter() - start)


def measure(case, args, photos):
    photos = photos[: case.count]
    listed = args.out / f"{case.name}.list"
    listed.write_text("".join(f"{path}\n" for path in photos))
    runs = {}

    def note(name, rate):
        runs.setdefault(name, []).append(rate)

    stages = {}
    for round_ in range(args.rounds + 1):
        peer_rows, seconds = peer(case, photos, args.batch, torch.float32)
        _, half_seconds = peer(case, photos, args.batch, torch.bfloat16)
        pillow = decode_rates(case, photos)
        single_rows, single = ocelli(case, args, listed, "f32")
        half_rows, half = ocelli(case, args, listed, "bf16")
        if round_ == 0:  # pages, caches, code
            continue
        note("peer f32", len(photos) / seconds)
        note("peer bf16", len(photos) / half_seconds)
        note("pillow", pillow)
        for name, summary in (("f32", single), ("bf16", half)):
            s = summary["stage_seconds"]
            note(f"ocelli {name}", summary["images_per_s"])
            note("decode", len(photos) / (s["decode"] + s["resize"]))
            for stage, value in s.items():
                stages.setdefault((name, stage), []).append(1000 * value / len(photos))
    median = {name: statistics.median(rates) for name, rates in runs.items()}
    cosines = [(peer_rows * rows).sum(1).min() for rows in (single_rows, half_rows)]
    paired = {
        name: statistics.median(
            ours / theirs for ours, theirs in zip(runs[f"ocelli {name}"], runs["peer f32"])
        )
        for name in ("f32", "bf16")
    }
    print(
        f"\n{case.name}, longest side {case.size}, {len(photos)} photos, batch {args.batch}, "
        f"{args.rounds} rounds"
    )
    print(f"  {'':24} images/s   over the peer's f32")
    for name in ("peer f32", "peer bf16", "ocelli f32", "ocelli bf16"):
        ratio = paired[name[7:]] if name.startswith("ocelli") else median[name] / median["peer f32"]
        print(f"  {name:24} {median[name]:8.2f}   {ratio:8.2f}")
    print(f"  smallest cosine to the peer: f32 {cosines[0]:.6f}, bf16 {cosines[1]:.6f}")
    print(
        f"  decode and resize, images/s a core: Ocelli {median['decode']:.0f}, Pillow "
        f"{median['pillow']:.0f}"
    )
    names = list(dict.fromkeys(stage for _, stage in stages))
    print("  ms an image, one thread: " + "".join(f"{stage:>9}" for stage in names))
    for precision in ("f32", "bf16"):
        row = [statistics.median(stages[precision, stage]) for stage in names]
        print(f"  {'ocelli ' + precision:24} " + "".join(f"{value:9.2f}" for value in row))
    sys.stdout.flush()
    return {
        "ratio_f32": paired["f32"],
        "ratio_bf16": paired["bf16"],
        "cos_f32_min": float(cosines[0]),
        "cos_bf16_min": float(cosines[1]),
        "decode_images_s": median["decode"],
        "images_s": median["ocelli f32"],
    }


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--encoder", required=True, help="the ocelli-encoder program")
    p.add_argument("--ocelli", required=True, help="the ocelli program")
    p.add_argument("--out", required=True, type=Path)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--only", choices=("resnet50", "resnet101"))
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ.get("OCELLI_DATA", "../shared/data"))
    photos = sorted((data / "images/paris124").resolve().glob("*.jpg"))
    weights = data / "weights/resnet50_v1_conv1-conv4.safetensors"
    if not photos or not weights.exists():
        sys.exit(f"bench: expected photos and weights in {data} (OCELLI_DATA), found none")
    torch.set_num_threads(2)
    best = {}
    if args.only != "resnet101":
        case = Case("resnet50", 448, 24, (3, 4, 6), True, 1.001e-5, True, weights.resolve())
        case.model.load_state_dict(read_safetensors(weights), strict=False)
        best["resnet50"] = measure(case, args, photos)
    if args.only != "resnet50":
        drawn = args.out / "resnet101.safetensors"
        case = Case("resnet101", 800, 12, (3, 4, 23, 3), False, 1e-5, False, drawn)
        write_safetensors(drawn, draw(case.model))
        best["resnet101"] = measure(case, args, photos)
    result = {
        name: min(found[name] for found in best.values()) for name in next(iter(best.values()))
    }
    for name in ("decode_images_s", "images_s"):
        result[name] = next(iter(best.values()))[name]
    print(json.dumps({name: round(value, 6) for name, value in result.items()}))


if __name__ == "__main__":
    main()
