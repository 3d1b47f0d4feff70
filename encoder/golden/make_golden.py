"""Golden values for the encoder, from the formulas, in numpy alone.

Makes three thin residual networks with seeded weights, a procedural picture, and what the encoder
must answer for them. Shares no code and no library with the encoder: convolution is a matrix
product over unfolded windows, all of it in float64; only what is stored is float32. Needs numpy and
pillow (in a virtual environment outside the repository); writes beside itself, the same bytes each
time:

    python make_golden.py

Files, for each network NAME:
    NAME.weights.safetensors   tensors by torchvision's names
    NAME.golden.safetensors    feature (C, H, W); regions_L1..3 and pixel_regions_L3 (n, 4)
                               x, y, w, h; mac, spoc, gem3, rmac_L1..3, rmac_L3_pixels (C,);
                               mean (C,), projection (C, K) of a whitening; rmac_L3_white,
                               mac_white (K,); rmac_L2_two_sizes (C,), of the picture and its
                               upper left 64 x 80 pixels as a second view
and picture.png. The networks cover what differs between weights in the world:
    bottleneck_v1    batch normalisation with small variances, eps 1e-3, stride in the first
                     1x1, three stages, BGR minus mean
    bottleneck_v1_5  batch normalisation, stride in the 3x3, four stages of unequal depth, RGB
    basic_folded     batch normalisation folded, RGB
"""

import json
import math
import struct
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 131, 97
SECOND_WIDTH, SECOND_HEIGHT = 64, 80


# ---- the picture -------------------------------------------------------------------------------


def picture():
    """Waves, a disc, stripes: every region of the picture differs from the others."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    red = 127 + 90 * np.sin(x / 7.0) * np.cos(y / 11.0) + 30 * ((x // 9 + y // 6) % 2)
    green = 40 + 1.3 * x + 40 * (np.hypot(x - 90, y - 40) < 22)
    blue = 220 - 1.9 * y + 60 * np.sin((x + 2 * y) / 5.0)
    return np.clip(np.rint(np.stack([red, green, blue], -1)), 0, 255).astype(np.uint8)


# ---- the networks ------------------------------------------------------------------------------


def conv(x, weight, bias, stride):
    """x (C, H, W), weight (O, C, k, k), zero padding k // 2."""
    k = weight.shape[2]
    pad = k // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))[
        :, ::stride, ::stride
    ]
    out = np.einsum("cyxij,ocij->oyx", windows, weight, optimize=True)
    return out if bias is None else out + bias[:, None, None]


def max_pool(x):
    """3x3, stride 2, padding 1; what lies outside never wins."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(
        axis=(3, 4)
    )


class Network:
    """Draws its weights, then runs with them."""

    def __init__(self, seed, kind, stem, widths, blocks, form, eps, batch_norm):
        self.rng = np.random.default_rng(seed)
        self.kind, self.blocks, self.form, self.eps = kind, blocks, form, eps
        self.batch_norm = batch_norm
        self.tensors = {}
        self.draw("conv1", "bn1", stem, 3, 7)
        width = stem
        for stage, (inner, count) in enumerate(zip(widths, blocks), 1):
            outer = inner * (4 if kind == "bottleneck" else 1)
            for block in range(count):
                name = f"layer{stage}.{block}"
                if kind == "bottleneck":
                    shapes = [(inner, width, 1), (inner, inner, 3), (outer, inner, 1)]
                else:
                    shapes = [(outer, width, 3), (outer, outer, 3)]
                for i, (o, c, k) in enumerate(shapes, 1):
                    self.draw(f"{name}.conv{i}", f"{name}.bn{i}", o, c, k)
                if block == 0 and (stage > 1 or width != outer):
                    self.draw(f"{name}.downsample.0", f"{name}.downsample.1", outer, width, 1)
                width = outer

    def draw(self, name, bn, out, inputs, k):
        r, t = self.rng, self.tensors
        weight = r.normal(0, math.sqrt(2 / (inputs * k * k)), (out, inputs, k, k))
        if self.batch_norm:
            # Variances down to 1e-3, where eps shows; gamma follows them, so that the scale stays.
            variance = 10 ** r.uniform(-3, 0.5, out)
            t[f"{name}.weight"] = weight
            t[f"{bn}.weight"] = np.sqrt(variance) * r.uniform(0.6, 1.2, out)
            t[f"{bn}.bias"] = r.normal(0, 0.3, out)
            t[f"{bn}.running_mean"] = r.normal(0, 0.2, out)
            t[f"{bn}.running_var"] = variance
        else:
            t[f"{name}.weight"] = weight
            t[f"{name}.bias"] = r.normal(0, 0.2, out)
        for key, value in t.items():
            t[key] = value.astype(np.float32)

    def layer(self, x, name, bn, stride):
        t = {
            k: v.astype(np.float64)
            for k, v in self.tensors.items()
            if k.startswith((name + ".", bn + "."))
        }
        y = conv(x, t[f"{name}.weight"], t.get(f"{name}.bias"), stride)
        if self.batch_norm:
            shape = (-1, 1, 1)
            y = (y - t[f"{bn}.running_mean"].reshape(shape)) / np.sqrt(
                t[f"{bn}.running_var"].reshape(shape) + self.eps
            )
            y = y * t[f"{bn}.weight"].reshape(shape) + t[f"{bn}.bias"].reshape(shape)
        return y

    def feature(self, planes):
        x = max_pool(np.maximum(self.layer(planes, "conv1", "bn1", 2), 0))
        for stage, count in enumerate(self.blocks, 1):
            for block in range(count):
                name = f"layer{stage}.{block}"
                stride = 2 if stage > 1 and block == 0 else 1
                if self.kind == "basic":
                    strides = [stride, 1]
                else:
                    strides = [stride, 1, 1] if self.form == "v1" else [1, stride, 1]
                y = x
                for i, s in enumerate(strides, 1):
                    y = self.layer(y, f"{name}.conv{i}", f"{name}.bn{i}", s)
                    if i < len(strides):
                        y = np.maximum(y, 0)
                if f"{name}.downsample.0.weight" in self.tensors:
                    x = self.layer(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
                x = np.maximum(x + y, 0)
        return x


def caffe_bgr(rgb):
    planes = rgb[..., ::-1].astype(np.float64) - np.array([103.939, 116.779, 123.68])
    return planes.transpose(2, 0, 1)


def torchvision_rgb(rgb):
    planes = (rgb / 255.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return planes.transpose(2, 0, 1)


# ---- pooling -----------------------------------------------------------------------------------


def grid(height, width, levels):
    """Tolias, Sicre, Jegou 2016, section 3: at level l, squares of side 2 min(W, H) / (l + 1).
    Along the longer axis are m - 1 more than along the shorter, m such that level 1 overlaps by
    about 40 %."""
    side_1 = min(height, width)
    best, more = None, None
    for extra in range(1, 7):
        overlap = (side_1**2 - side_1 * ((max(height, width) - side_1) / extra)) / side_1**2
        if best is None or abs(overlap - 0.4) < best:
            best, more = abs(overlap - 0.4), extra

    def along(size, side, count):
        if count == 1:
            return [0]
        step = (size - side) / (count - 1)
        half = side // 2 - 1
        return [min(math.floor(half + step * i) - half, size - side) for i in range(count)]

    out = []
    for level in range(1, levels + 1):
        side = max(1, 2 * side_1 // (level + 1))
        rows = along(height, side, level + (more if height > width else 0))
        columns = along(width, side, level + (more if width > height else 0))
        out += [(x, y, side, side) for y in rows for x in columns]
    return out


def pixel_grid(image_height, image_width, height, width, stride, levels):
    """The grid on the image, then ROI pooling's projection (Girshick 2015): corners / stride,
    rounded, the far corner being the last pixel and belonging to the region."""

    def near(v):
        return math.floor(v + 0.5)

    out = []
    for x, y, w, h in grid(image_height, image_width, levels):
        left, right = near(x / stride), near((x + w - 1) / stride)
        top, bottom = near(y / stride), near((y + h - 1) / stride)
        left, top = min(left, width - 1), min(top, height - 1)
        right, bottom = max(left, min(right, width - 1)), max(top, min(bottom, height - 1))
        out.append((left, top, right - left + 1, bottom - top + 1))
    return out


def unit(v):
    norm = np.sqrt((v * v).sum(-1, keepdims=True))
    return v / np.where(norm > 0, norm, 1)


def rows_of(feature, regions):
    return unit(np.stack([feature[:, y : y + h, x : x + w].max((1, 2)) for x, y, w, h in regions]))


def golden(network, to_planes, stride, rgb, rng):
    feature = network.feature(to_planes(rgb))
    _, h, w = feature.shape
    channels, k = len(feature), 12
    out = {"feature": feature}
    out["mac"] = unit(feature.max((1, 2)))
    out["spoc"] = unit(feature.mean((1, 2)))
    out["gem3"] = unit((np.maximum(feature, 1e-6) ** 3).mean((1, 2)) ** (1 / 3))
    for levels in (1, 2, 3):
        out[f"regions_L{levels}"] = np.array(grid(h, w, levels), np.int32)
        out[f"rmac_L{levels}"] = unit(rows_of(feature, grid(h, w, levels)).sum(0))
    pixels = pixel_grid(HEIGHT, WIDTH, h, w, stride, 3)
    out["pixel_regions_L3"] = np.array(pixels, np.int32)
    out["rmac_L3_pixels"] = unit(rows_of(feature, pixels).sum(0))

    rows = rows_of(feature, grid(h, w, 3))
    mean = rows.mean(0).astype(np.float32)
    projection = rng.normal(0, 1, (channels, k)).astype(np.float32)
    out["mean"], out["projection"] = mean, projection

    def white(v):
        return unit((v - mean.astype(np.float64)) @ projection.astype(np.float64))

    out["rmac_L3_white"] = unit(white(rows).sum(0))
    out["mac_white"] = white(out["mac"])

    second = network.feature(to_planes(rgb[:SECOND_HEIGHT, :SECOND_WIDTH]))
    per_size = [unit(rows_of(f, grid(f.shape[1], f.shape[2], 2)).sum(0)) for f in (feature, second)]
    out["rmac_L2_two_sizes"] = unit(sum(per_size))
    return {
        name: np.ascontiguousarray(v if v.dtype == np.int32 else v.astype(np.float32))
        for name, v in out.items()
    }


def save_file(tensors, path, metadata=None):
    """safetensors: header length u64, JSON header, tensors. By hand, for a fixed order of keys."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, value in sorted(tensors.items()):
        blob = value.astype(value.dtype.newbyteorder("<")).tobytes()
        dtype = {"f": "F32", "i": "I32"}[value.dtype.kind]
        header[name] = {
            "dtype": dtype,
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(blob)],
        }
        data += blob
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    rgb = picture()
    Image.fromarray(rgb).save(HERE / "picture.png", optimize=True)
    networks = {
        "bottleneck_v1": (
            Network(1, "bottleneck", 8, [4, 8, 16], [2, 1, 2], "v1", 1e-3, True),
            caffe_bgr,
            16,
            {"ocelli.form": "v1", "ocelli.input": "caffe-bgr", "ocelli.bn_eps": "1e-3"},
        ),
        "bottleneck_v1_5": (
            Network(2, "bottleneck", 8, [4, 8, 8, 16], [1, 2, 1, 1], "v1.5", 1e-5, True),
            torchvision_rgb,
            32,
            {"note": "form and input are for the reader to name"},
        ),
        "basic_folded": (
            Network(3, "basic", 8, [8, 16, 32], [2, 1, 1], None, None, False),
            torchvision_rgb,
            16,
            {"ocelli.input": "torchvision-rgb"},
        ),
    }
    for name, (network, to_planes, stride, metadata) in networks.items():
        values = golden(network, to_planes, stride, rgb, np.random.default_rng(4))
        save_file(network.tensors, HERE / f"{name}.weights.safetensors", metadata)
        save_file(values, HERE / f"{name}.golden.safetensors")
        feature = values["feature"]
        alive = int((feature.max((1, 2)) > 0).sum())
        print(
            f"{name}: {feature.shape}, {alive} channels fire, mean {feature.mean():.3g}, "
            f"{len(values['regions_L3'])} regions"
        )


if __name__ == "__main__":
    main()
