"""The network that `ocelli learn` trains, in plain PyTorch: a residual network, regional maxima,
L2, shift and FC, L2, sum, L2; and the triplet loss.

Written from the formulas, for comparisons of values, gradients and time. It reads the safetensors
files that `ocelli-learn train` writes: batch normalisation is folded into the convolutions.
"""

import json
import math
import re
import struct

import numpy as np
import torch
from torch.nn import functional

DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
# Plane p is its channel times scale, minus shift; the last is whether the first plane is blue.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INPUTS = {
    "caffe-bgr": ((1.0,) * 3, (103.939, 116.779, 123.68), True),
    "torchvision-rgb": (
        tuple(1 / (255 * std) for std in IMAGENET_STD),
        tuple(mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD)),
        False,
    ),
    "centred-rgb": ((1 / 128,) * 3, (127 / 128,) * 3, False),
    "raw-rgb": ((1.0,) * 3, (0.0,) * 3, False),
    "unit-rgb": ((1 / 255,) * 3, (0.0,) * 3, False),
    "symmetric-rgb": ((1 / 127.5,) * 3, (1.0,) * 3, False),
}
FORMS = ("v1", "v1-caffe", "v1.5")
OVERLAP = 0.4


def read(path):
    """The arrays of a safetensors file by their names, and its metadata."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {name}: expected F32, F64 or I64, found {entry['dtype']}")
        start, end = entry["data_offsets"]
        values = np.frombuffer(data[start:end], DTYPES[entry["dtype"]])
        arrays[name] = values.reshape(entry["shape"])
    return arrays, metadata


def rigid_grid(height, width, levels):
    """Regions (y, x, height, width) of Tolias, Sicre, Jegou (ICLR 2016): at level l squares of
    2 / (l + 1) of the shorter side, whose neighbours overlap by about 40 %."""
    short, long = min(height, width), max(height, width)
    more = min(
        range(1, 7),
        key=lambda m: abs((short**2 - short * ((long - short) / m)) / short**2 - OVERLAP),
    )

    def along(size, side, count):
        step, half = (size - side) / (count - 1) if count > 1 else 0.0, side // 2 - 1
        starts = (max(0, math.floor(half + step * i) - half) for i in range(count))
        return [min(start, size - side) for start in starts]

    regions = []
    for level in range(1, levels + 1):
        side = max(1, 2 * short // (level + 1))
        for y in along(height, side, level + (more if height > width else 0)):
            for x in along(width, side, level + (more if width > height else 0)):
                regions.append((y, x, side, side))
    return regions


def image_grid(image, size, stride, levels):
    """The grid on the pixels of `image`, projected on a map of `size`, both (height, width), as ROI
    pooling does: ends over the stride, halves rounded up, the last cell included."""

    def project(start, length, cells):
        first = min(math.floor(start / stride + 0.5), cells - 1)
        last = math.floor((start + length - 1) / stride + 0.5)
        return first, min(max(last, first), cells - 1) - first + 1

    regions = []
    for y, x, height, width in rigid_grid(*image, levels):
        top, rows = project(y, height, size[0])
        left, columns = project(x, width, size[1])
        regions.append((top, left, rows, columns))
    return regions


def units(rows):
    """Rows along the last axis L2-normalised; rows of zeros stay."""
    return functional.normalize(rows, dim=-1, eps=torch.finfo(rows.dtype).tiny)


def triplet_losses(descriptors, triplets, margin):
    """Losses (T,) of triplets (T, 3), the rows of query, positive and negative, of descriptors
    (n, D): half of max(0, margin + |q - p|^2 - |q - n|^2)."""
    query, positive, negative = (descriptors.index_select(0, rows) for rows in triplets.unbind(1))
    near = (query - positive).square().sum(1)
    far = (query - negative).square().sum(1)
    return 0.5 * functional.relu(near - far + margin)


def triplet_loss(descriptors, triplets, margin):
    """The mean of `triplet_losses`; 0 without a triplet."""
    if len(triplets) == 0:
        return descriptors.sum() * 0
    return triplet_losses(descriptors, triplets, margin).mean()


class Block:
    """A residual block: the names and strides of its convolutions."""

    def __init__(self, prefix, strides, shortcut):
        self.branch = [(f"{prefix}.conv{i}", stride) for i, stride in enumerate(strides, 1)]
        self.shortcut = (f"{prefix}.downsample.0", math.prod(strides)) if shortcut else None


class Network:
    """A network with weights that gradients are made for, in the precision of its file."""

    def __init__(self, path, channels_last=False):
        """Takes the weights of a safetensors file. `channels_last` is a memory layout of the maps,
        which changes nothing but the time."""
        self._take(*read(path), channels_last)

    @classmethod
    def of(cls, arrays, metadata, channels_last=False):
        """A network of arrays by their names in a file, and of the file's metadata."""
        made = cls.__new__(cls)
        made._take(arrays, metadata, channels_last)
        return made

    def _take(self, arrays, metadata, channels_last):
        self.input_form = metadata.get("ocelli.input", "")
        if self.input_form not in INPUTS:
            raise ValueError(f"ocelli.input: expected one of {list(INPUTS)}: {self.input_form!r}")
        pooling = metadata.get("ocelli.pooling", "rmac:3").split(":")
        self.pooling, self.levels = pooling[0], int(pooling[1]) if len(pooling) > 1 else 3
        self.grid = pooling[2] if len(pooling) > 2 else "feature-map"
        if self.pooling not in ("rmac", "mac", "spoc"):
            raise ValueError(f"ocelli.pooling: expected rmac, mac or spoc, found {pooling[0]!r}")
        if self.grid not in ("feature-map", "image-pixels"):
            raise ValueError(f"ocelli.pooling: no such grid: {self.grid!r}")
        self.normalize = metadata.get("ocelli.head", "l2-fc") != "fc"
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        blocks = self._blocks(arrays, metadata)
        self.parameters = {}
        for name in self._names(arrays, blocks):
            if name not in arrays:
                raise ValueError(f"expected a tensor {name}, found none")
            # A copy: the file's bytes cannot be changed.
            tensor = torch.from_numpy(np.array(arrays[name]))
            if tensor.dim() == 4:
                tensor = tensor.contiguous(memory_format=self.layout)
            self.parameters[name] = torch.nn.Parameter(tensor)
        self.dtype = self.parameters["conv1.weight"].dtype
        self.blocks = blocks
        self.tables = self._tables()

    def _blocks(self, arrays, metadata):
        if any(name.endswith(".running_var") for name in arrays):
            raise ValueError("expected batch normalisation folded away, found layers of it")
        parts = (re.match(r"layer(\d)\.(\d+)\.", name) for name in arrays)
        found = sorted({(int(part[1]), int(part[2])) for part in parts if part})
        if not found or "conv1.weight" not in arrays:
            raise ValueError("expected the names of a ResNet, found no conv1 with layer1")
        bottleneck = "layer1.0.conv3.weight" in arrays
        form = metadata.get("ocelli.form", "" if bottleneck else "v1.5")
        if form not in FORMS:
            raise ValueError(f"ocelli.form: expected one of {list(FORMS)}, found {form!r}")
        self.caffe = form == "v1-caffe"
        # Pixels a cell: stem and pool make 4, each stage behind the first doubles that.
        self.stride = 4 << (found[-1][0] - 1)
        blocks = []
        for stage, block in found:
            stride = 2 if stage > 1 and block == 0 else 1
            if not bottleneck:
                strides = (stride, 1)
            elif form == "v1.5":
                strides = (1, stride, 1)
            else:
                strides = (stride, 1, 1)
            prefix = f"layer{stage}.{block}"
            blocks.append(Block(prefix, strides, f"{prefix}.downsample.0.weight" in arrays))
        return blocks

    @staticmethod
    def _names(arrays, blocks):
        convs = ["conv1"]
        for block in blocks:
            convs += [name for name, _ in block.branch]
            convs += [block.shortcut[0]] if block.shortcut else []
        names = [f"{conv}.{part}" for conv in convs for part in ("weight", "bias")]
        return names + [f"head.{p}" for p in ("weight", "mean", "bias") if f"head.{p}" in arrays]

    def _tables(self):
        scale, shift, _ = INPUTS[self.input_form]
        values = np.arange(256)[:, None] * np.array(scale) - np.array(shift)
        return torch.from_numpy(values.T.astype(np.float32)).to(self.dtype)

    def input(self, image):
        """A picture of Pillow, in RGB, as (1, 3, height, width)."""
        pixels = torch.from_numpy(np.array(image, np.uint8)).int()
        planes = reversed(range(3)) if INPUTS[self.input_form][2] else range(3)
        of_planes = [table[pixels[..., plane]] for table, plane in zip(self.tables, planes)]
        return torch.stack(of_planes)[None].contiguous(memory_format=self.layout)

    def _conv(self, x, name, stride):
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return functional.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    def maps(self, x):
        """(N, 3, H, W) to the maps (N, C, h, w) of the last stage."""
        x = x.contiguous(memory_format=self.layout)
        x = self._conv(x, "conv1", 2).relu_()
        x = functional.max_pool2d(x, 3, 2, 0 if self.caffe else 1, ceil_mode=self.caffe)
        for block in self.blocks:
            y = x
            for i, (name, stride) in enumerate(block.branch):
                y = self._conv(y.relu_() if i else y, name, stride)
            side = self._conv(x, *block.shortcut) if block.shortcut else x
            x = y.add_(side).relu_()
        return x

    def pooled(self, x):
        """(1, 3, H, W) to rows (n, C), one for each region."""
        maps = self.maps(x)
        if self.pooling == "mac":
            rows = [maps.amax((2, 3))]
        elif self.pooling == "spoc":
            rows = [maps.mean((2, 3), dtype=torch.float64).to(maps.dtype)]
        else:
            image, size = tuple(x.shape[2:]), tuple(maps.shape[2:])
            if self.grid == "image-pixels":
                regions = image_grid(image, size, self.stride, self.levels)
            else:
                regions = rigid_grid(*size, self.levels)
            rows = [maps[:, :, y : y + h, x : x + w].amax((2, 3)) for y, x, h, w in regions]
        return torch.cat(rows)

    def descriptor(self, x, dtype=torch.float64):
        """The descriptor (D,) of length 1 of an input (1, 3, H, W). What follows the pooling is
        computed in `dtype`. All zeros where no unit fires."""
        rows = self.pooled(x).to(dtype)
        head = {part: self.parameters.get(f"head.{part}") for part in ("weight", "mean", "bias")}
        if head["weight"] is not None:
            if self.normalize:
                rows = units(rows)
            if head["mean"] is not None:
                rows = rows - head["mean"].to(dtype)
            bias = None if head["bias"] is None else head["bias"].to(dtype)
            rows = functional.linear(rows, head["weight"].to(dtype), bias)
        return units(units(rows).sum(0))
