"""Weights in the layouts that other programs write, and what PyTorch makes of them.

Thin networks with random weights, written by PyTorch (zip archives and the pickles of before 1.6),
with scikit-learn's PCA inside, and by protobuf: tensor names, nesting and types are exactly those
of torchvision, dirtorch (naver/deep-image-retrieval), cnnimageretrieval-pytorch and Caffe; only
widths are smaller. Each network is run by PyTorch on picture.png, as the code that it belongs to
runs it.

Needs torch 2.11, torchvision 0.26, scikit-learn, protobuf, numpy, pillow (in a virtual environment
outside the repository). Run in this folder:

    python make_layouts.py

writes layouts/NAME.{pth,pt,caffemodel,safetensors} and layouts/expected.safetensors with the
descriptor of each. (Legacy files name storages by address: they differ from run to run in these
names alone.)
"""

import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import sklearn.decomposition
import torch
import torch.nn.functional as F
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from torch import nn
from torchvision.models.squeezenet import Fire
from torchvision.models.vgg import make_layers

from make_golden import grid, pixel_grid, save_file

HERE = Path(__file__).resolve().parent
OUT = HERE / "layouts"
RGB = np.asarray(Image.open(HERE / "picture.png").convert("RGB"))
HEIGHT, WIDTH = RGB.shape[:2]


def torchvision_input():
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.from_numpy(((RGB / 255.0 - mean) / std).transpose(2, 0, 1)).float()[None]


def caffe_input():
    return torch.from_numpy(
        (RGB[..., ::-1] - np.array([103.939, 116.779, 123.68])).transpose(2, 0, 1)
    ).float()[None]


# ---- networks, by torchvision's names ------------------------------------------------------------


class Basic(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1, self.bn1 = (
            nn.Conv2d(inputs, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        self.outputs = width

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride, first=1):
        super().__init__()
        out = 4 * width
        strides = (stride, 1) if first == 0 else (1, stride)
        self.conv1, self.bn1 = (
            nn.Conv2d(inputs, width, 1, strides[0], bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv2, self.bn2 = (
            nn.Conv2d(width, width, 3, strides[1], 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or inputs != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        self.outputs = out

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """The children in torchvision's order, which cnnimageretrieval numbers."""

    def __init__(self, block, blocks, widths, classes=None, caffe=False):
        super().__init__()
        self.conv1, self.bn1, self.relu = (
            nn.Conv2d(3, 8, 7, 2, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.maxpool = nn.MaxPool2d(3, 2, 0, ceil_mode=True) if caffe else nn.MaxPool2d(3, 2, 1)
        inputs = 8
        for stage, (count, width) in enumerate(zip(blocks, widths), 1):
            layers = []
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                layers.append(
                    block(inputs, width, stride, first=0) if caffe else block(inputs, width, stride)
                )
                inputs = layers[-1].outputs
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        if classes:
            self.fc = nn.Linear(inputs, classes)

    def trunk(self):
        return [m for name, m in self.named_children() if name not in ("fc", "adpool")]

    def features(self, x):
        for m in self.trunk():
            x = m(x)
        return x


def squeezenet(ceil=True):
    """torchvision's SqueezeNet 1.1, a quarter as wide."""
    features = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=ceil),
        Fire(16, 4, 8, 8),
        Fire(16, 4, 8, 8),
        nn.MaxPool2d(3, 2, ceil_mode=ceil),
        Fire(16, 8, 8, 8),
        Fire(16, 8, 8, 8),
        nn.MaxPool2d(3, 2, ceil_mode=ceil),
        Fire(16, 8, 16, 16),
        Fire(32, 8, 16, 16),
        Fire(32, 8, 16, 16),
        Fire(32, 8, 16, 16),
    )
    net = nn.Module()
    net.features = features
    net.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(32, 5, 1), nn.ReLU())
    return net


def vgg16():
    stages = [[4, 4], [6, 6], [8, 8, 8], [8, 8, 8], [12, 12, 12]]
    net = nn.Module()
    net.features = make_layers([c for stage in stages for c in stage + ["M"]], batch_norm=False)
    net.classifier = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 5))
    return net


def randomize(net, seed):
    """Activations of about 1 at any depth, statistics that matter."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda t, scale, mean=0.0: t.copy_(torch.randn(t.shape, generator=g) * scale + mean)
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                draw(m.weight, (2 / m.weight[0].numel()) ** 0.5)
                if m.bias is not None:
                    draw(m.bias, 0.1)
            if isinstance(m, nn.BatchNorm2d):
                draw(m.weight, 0.1, 0.8)
                draw(m.bias, 0.2)
                draw(m.running_mean, 0.2)
                m.running_var.copy_(torch.rand(m.running_var.shape, generator=g) + 0.1)
                m.num_batches_tracked.fill_(1234)
    return net.eval()


# ---- descriptors
# -----------------------------------------------------------------------------------


def unit(v):
    return v / v.norm(dim=-1, keepdim=True)


def regions(feature, boxes):
    return torch.stack([feature[:, y : y + h, x : x + w].amax((1, 2)) for x, y, w, h in boxes])


def rmac(feature, levels):
    return unit(unit(regions(feature, grid(*feature.shape[1:], levels))).sum(0))


def rmac_pixels(feature, levels, stride):
    return unit(
        unit(regions(feature, pixel_grid(HEIGHT, WIDTH, *feature.shape[1:], stride, levels))).sum(0)
    )


def gem(feature, p):
    return feature.clamp_min(1e-6).pow(p).mean((1, 2)).pow(1 / p)


EXPECTED = {}


def expect(name, descriptor):
    EXPECTED[name] = descriptor.detach().float().numpy()


def save(name, value, legacy):
    torch.save(value, OUT / name, _use_new_zipfile_serialization=not legacy)


# ---- torchvision
# -----------------------------------------------------------------------------------


@torch.no_grad()
def torchvision_files():
    net = randomize(ResNet(Bottleneck, [2, 1, 1, 1], [4, 4, 8, 8], classes=5), 1)
    save("tv_resnet.pth", net.state_dict(), legacy=False)
    save("tv_resnet_legacy.pth", net.state_dict(), legacy=True)
    expect("tv_resnet", rmac(net.features(torchvision_input())[0], 3))

    net = randomize(vgg16(), 2)
    save("tv_vgg16.pth", net.state_dict(), legacy=True)
    # conv5_3 after its ReLU: without the last pool.
    expect("tv_vgg16", rmac_pixels(net.features[:-1](torchvision_input())[0], 4, 16))

    net = randomize(squeezenet(), 3)
    save("tv_squeezenet.pth", net.state_dict(), legacy=False)
    expect("tv_squeezenet", rmac(net.features(torchvision_input())[0], 4))


@torch.no_grad()
def keras_files():
    """Keras's SqueezeNet by its own names; pools round down."""
    net = randomize(squeezenet(ceil=False), 11)
    tensors = {}
    for name, value in net.features.state_dict().items():
        place, rest = name.split(".", 1)
        fire = {3: 2, 4: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8, 12: 9}.get(int(place))
        name = (
            f"conv1.{rest}"
            if fire is None
            else f"fire{fire}.{rest.replace('squeeze.', 'squeeze1x1.')}"
        )
        tensors[name] = value.numpy()
    save_file(tensors, OUT / "keras_squeezenet.safetensors", {"ocelli.input": "caffe-bgr"})
    expect("keras_squeezenet", rmac_pixels(net.features(caffe_input())[0], 2, 16))


# ---- dirtorch
# --------------------------------------------------------------------------------------


def fitted_pca(dim, components, seed):
    rng = np.random.default_rng(seed)
    data = (
        rng.normal(size=(400, dim)) @ np.diag(np.linspace(1, 0.02, dim))
        + rng.normal(size=dim) * 0.1
    )
    return sklearn.decomposition.PCA(n_components=components, whiten=True).fit(
        data.astype(np.float32)
    )


def whiten_features(x, pca, power):
    x = x.double().numpy()
    y = (x - pca.mean_) @ pca.components_.T / np.power(pca.explained_variance_, power)
    return unit(torch.from_numpy(y))


def as_before_0_22(pca):
    """Pickled under the module that scikit-learn had when the published checkpoints were made."""
    module = types.ModuleType("sklearn.decomposition.pca")

    class PCA(sklearn.decomposition.PCA):
        pass

    PCA.__module__, PCA.__qualname__ = module.__name__, "PCA"
    module.PCA = PCA
    sys.modules[module.__name__] = module
    old = PCA()
    old.__dict__.update(pca.__dict__)
    return old


@torch.no_grad()
def dirtorch_files():
    for name, seed, fc, legacy in [("dir_fc", 4, True, True), ("dir_nofc", 5, False, False)]:
        net = ResNet(Basic, [1, 1, 1, 2], [8, 8, 16, 24])
        net.adpool = nn.Module()
        net.adpool.p = nn.Parameter(torch.ones(1) * 2.37)
        net.fc = nn.Linear(24, 20)
        randomize(net, seed)
        pooled = gem(net.features(torchvision_input())[0], net.adpool.p)
        descriptor = unit(net.fc(pooled) if fc else pooled)
        pca = fitted_pca(len(descriptor), 16, seed)
        expect(name, whiten_features(descriptor[None], pca, 0.25)[0])
        expect(f"{name}_full_power", whiten_features(descriptor[None], pca, 0.5)[0])
        expect(f"{name}_plain", descriptor)
        state = OrderedDict((f"module.{k}", v) for k, v in net.state_dict().items())
        options = {"arch": "resnet18_rmac", "out_dim": 20, "pooling": "gem", "gemp": 3}
        if not fc:
            options["without_fc"] = True
            pca = as_before_0_22(pca)
        save(
            f"{name}.pt",
            {
                "epoch": 7,
                "model_options": options,
                "state_dict": state,
                "preprocess": {
                    "mean": [0.485, 0.456, 0.406],
                    "std": [0.229, 0.224, 0.225],
                    "input_size": 224,
                },
                "pca": {"Landmarks_clean": pca, "Other": fitted_pca(len(descriptor), 4, 99)}
                if fc
                else {"only": pca},
            },
            legacy,
        )


# ---- cnnimageretrieval-pytorch
# ---------------------------------------------------------------------


def l2n(v):
    return v / (v.norm(dim=-1, keepdim=True) + 1e-6)


@torch.no_grad()
def cirtorch_files():
    rng = np.random.default_rng(6)
    for name, arch, legacy in [("cir_resnet", "resnet50", False), ("cir_vgg", "vgg16", True)]:
        if arch == "vgg16":
            features = nn.Sequential(*list(vgg16().features)[:-1])
        else:
            features = nn.Sequential(*ResNet(Bottleneck, [1, 1, 1, 1], [4, 4, 4, 6]).trunk())
        net = nn.Module()
        net.features = features
        net.pool = nn.Module()
        net.pool.p = nn.Parameter(torch.ones(1) * 2.92)
        dim = 12 if arch == "vgg16" else 24
        if arch != "vgg16":
            net.whiten = nn.Linear(dim, dim)
        randomize(net, 7)
        descriptor = l2n(gem(net.features(torchvision_input())[0], net.pool.p))
        if arch != "vgg16":
            descriptor = l2n(net.whiten(descriptor))
        lw = {}
        for scales in ("ss", "ms"):
            m, p = rng.normal(0, 0.1, (dim, 1)), rng.normal(0, 1, (dim, dim))
            lw[scales] = {"m": m, "P": np.asfortranarray(p) if scales == "ms" else p}
            x = torch.from_numpy(p @ (descriptor.double().numpy()[:, None] - m))[:, 0]
            expect(name if scales == "ss" else f"{name}_ms", l2n(x))
        expect(f"{name}_plain", descriptor)
        save(
            f"{name}.pth",
            {
                "meta": {
                    "architecture": arch,
                    "local_whitening": False,
                    "pooling": "gem",
                    "regional": False,
                    "whitening": arch != "vgg16",
                    "mean": [0.485, 0.456, 0.406],
                    "std": [0.229, 0.224, 0.225],
                    "outputdim": dim,
                    "Lw": {"retrieval-SfM-120k": lw},
                },
                "state_dict": net.state_dict(),
            },
            legacy,
        )


# ---- Caffe
# -----------------------------------------------------------------------------------------


def caffe_messages():
    """The messages of caffe.proto that hold weights, with their published numbers."""
    kinds = {
        "string": 9,
        "float": 2,
        "double": 1,
        "int32": 5,
        "int64": 3,
        "enum": 14,
        "message": 11,
        "bool": 8,
    }
    file = descriptor_pb2.FileDescriptorProto(
        name="caffe_weights.proto", package="caffe", syntax="proto2"
    )
    v1_types = file.enum_type.add(name="V1LayerType")
    for text, number in [("NONE", 0), ("CONVOLUTION", 4), ("INNER_PRODUCT", 14), ("RELU", 18)]:
        v1_types.value.add(name=text, number=number)

    def message(name, *fields):
        m = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            base, _, of = kind.partition(":")
            f = m.field.add(name=field, number=number, type=kinds[base], label=3 if repeated else 1)
            if of:
                f.type_name = f".caffe.{of}"
            elif repeated and base in ("float", "double", "int64"):
                f.options.packed = True

    message("BlobShape", ("dim", 1, "int64", True))
    message(
        "BlobProto",
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "float", True),
        ("diff", 6, "float", True),
        ("shape", 7, "message:BlobShape", False),
        ("double_data", 8, "double", True),
    )
    message(
        "BatchNormParameter", ("use_global_stats", 1, "bool", False), ("eps", 3, "float", False)
    )
    message(
        "LayerParameter",
        ("name", 1, "string", False),
        ("type", 2, "string", False),
        ("bottom", 3, "string", True),
        ("top", 4, "string", True),
        ("blobs", 7, "message:BlobProto", True),
        ("batch_norm_param", 139, "message:BatchNormParameter", False),
    )
    message(
        "V1LayerParameter",
        ("bottom", 2, "string", True),
        ("top", 3, "string", True),
        ("name", 4, "string", False),
        ("type", 5, "enum:V1LayerType", False),
        ("blobs", 6, "message:BlobProto", True),
    )
    message(
        "NetParameter",
        ("name", 1, "string", False),
        ("layers", 2, "message:V1LayerParameter", True),
        ("layer", 100, "message:LayerParameter", True),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


NetParameter = caffe_messages()


def blob(layer, values, old=False):
    values = np.asarray(values.detach() if torch.is_tensor(values) else values, np.float32)
    b = layer.blobs.add()
    b.data.extend(values.ravel().tolist())
    if old:
        b.num, b.channels, b.height, b.width = (1,) * (4 - values.ndim) + values.shape
    else:
        b.shape.dim.extend(values.shape)


@torch.no_grad()
def caffe_files():
    net = randomize(ResNet(Bottleneck, [1, 3, 1, 1], [4, 4, 4, 8], caffe=True), 8)
    out = NetParameter(name="ResNet-thin")
    out.layer.add(name="data", type="Input")

    def conv_bn(conv, bn, names):
        blob(out.layer.add(name=names[0], type="Convolution"), conv.weight)
        layer = out.layer.add(name=names[1], type="BatchNorm")
        layer.batch_norm_param.use_global_stats = True
        factor = 3.5
        for values in (bn.running_mean * factor, bn.running_var * factor, np.array([factor])):
            blob(layer, values)
        layer = out.layer.add(name=names[2], type="Scale")
        blob(layer, bn.weight)
        blob(layer, bn.bias)

    conv_bn(net.conv1, net.bn1, ("conv1", "bn_conv1", "scale_conv1"))
    for stage in range(1, 5):
        blocks = getattr(net, f"layer{stage}")
        for i, block in enumerate(blocks):
            # ResNet-101's way for the stage of three, ResNet-50's for the others.
            name = f"{stage + 1}" + ("a" if i == 0 else f"b{i}" if len(blocks) > 2 else "abc"[i])
            parts = [("branch1", *block.downsample)] if block.downsample is not None else []
            parts += [
                (f"branch2{c}", getattr(block, f"conv{k}"), getattr(block, f"bn{k}"))
                for k, c in enumerate("abc", 1)
            ]
            for branch, conv, bn in parts:
                conv_bn(conv, bn, [f"{kind}{name}_{branch}" for kind in ("res", "bn", "scale")])
    dim, g = 32, torch.Generator().manual_seed(9)
    gain = torch.rand(dim, generator=g) + 0.5
    shift, weight = torch.randn(dim, generator=g) * 0.1, torch.randn(20, dim, generator=g)
    bias = torch.randn(20, generator=g) * 0.1
    layer = out.layer.add(name="pooled_rois/centered", type="Scale")
    blob(layer, gain)
    blob(layer, shift)
    layer = out.layer.add(name="pooled_rois/pca", type="InnerProduct")
    blob(layer, weight)
    blob(layer, bias)
    blob(out.layer.add(name="mystery", type="Python"), np.zeros((2, 3)))
    (OUT / "caffe_rmac.caffemodel").write_bytes(out.SerializeToString(deterministic=True))
    feature = net.features(caffe_input())[0]
    boxes = pixel_grid(HEIGHT, WIDTH, *feature.shape[1:], 32, 2)
    rows = unit((unit(regions(feature, boxes)) * gain + shift) @ weight.T + bias)
    expect("caffe_rmac", unit(rows.sum(0)))

    net = randomize(vgg16(), 10)
    out = NetParameter(name="VGG-thin")
    stage = index = 1
    for m in net.features:
        if isinstance(m, nn.Conv2d):
            layer = out.layers.add(name=f"conv{stage}_{index}", type=4)
            blob(layer, m.weight, old=True)
            blob(layer, m.bias, old=True)
            index += 1
        elif isinstance(m, nn.MaxPool2d):
            stage, index = stage + 1, 1
    for number, linear in enumerate([net.classifier[0], net.classifier[3]], 6):
        layer = out.layers.add(name=f"fc{number}", type=14)
        blob(layer, linear.weight, old=True)
        blob(layer, linear.bias, old=True)
    (OUT / "caffe_vgg.caffemodel").write_bytes(out.SerializeToString(deterministic=True))
    expect("caffe_vgg", rmac(net.features[:-1](caffe_input())[0], 2))


# ---- what is to be refused
# -------------------------------------------------------------------------


class Runs:
    def __reduce__(self):
        import os

        return os.system, ("touch pickle-was-run",)


def malicious_files():
    for name, legacy in [("evil.pth", False), ("evil_legacy.pth", True)]:
        save(name, OrderedDict(weight=torch.ones(2), extra=Runs()), legacy)
    save("module.pth", nn.Linear(2, 2), False)


def main():
    OUT.mkdir(exist_ok=True)
    torchvision_files()
    keras_files()
    dirtorch_files()
    cirtorch_files()
    caffe_files()
    malicious_files()
    save_file(EXPECTED, OUT / "expected.safetensors")
    for name, value in EXPECTED.items():
        print(name, value.shape, f"{np.linalg.norm(value):.6f}")


if __name__ == "__main__":
    main()
