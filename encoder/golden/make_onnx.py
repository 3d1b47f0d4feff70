"""Small ONNX networks and what they must answer, from the formulas, in NumPy.

Needs onnx, numpy and pillow (in a virtual environment outside the repository); writes into `onnx/`
beside itself:

    python make_onnx.py

    two.onnx      float32 (n, 3, h, w) of any size to "map", relu(conv 3x3 stride 2) of 6 channels,
                  and "embedding" (n, 5), a matrix times the map's mean
    bytes.onnx    bytes (n, h, w, 3) of any size to "embedding", the same of pixels / 255
    fixed.onnx    float32 (1, 3, 24, 40) to "map" alone
    expected.json what they answer to pixels / 255: the map's maximum and mean, and the embedding

The picture is picture.png, 131 x 97, and its upper left 40 x 24 pixels.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

HERE = Path(__file__).resolve().parent
OUT = HERE / "onnx"


def draw(shape, seed):
    """Scattered numbers between -1 and 1 that need no generator."""
    x = (np.arange(int(np.prod(shape))) + seed) * 0.6180339887498949
    return ((x - np.floor(x)) * 2 - 1).astype(np.float32).reshape(shape)


KERNEL, BIAS = draw((6, 3, 3, 3), 11), draw((6,), 5)
MATRIX = draw((6, 5), 301)


def conv_relu(x):
    """x (3, H, W); zero padding 1, stride 2."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2]
    y = np.einsum("cyxij,ocij->oyx", windows, KERNEL.astype(np.float64))
    return np.maximum(y + BIAS.astype(np.float64)[:, None, None], 0)


def embedding(feature):
    return feature.mean((1, 2)) @ MATRIX.astype(np.float64)


def layers(pixels):
    return [
        helper.make_node(
            "Conv",
            [pixels, "kernel", "bias"],
            ["conv"],
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
        ),
        helper.make_node("Relu", ["conv"], ["map"]),
    ]


def head():
    return [
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["embedding"]),
    ]


def save(name, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes, name, inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    (OUT / f"{name}.onnx").write_bytes(model.SerializeToString())


def main():
    OUT.mkdir(exist_ok=True)
    value = helper.make_tensor_value_info
    weights = {"kernel": KERNEL, "bias": BIAS}
    both = [
        value("map", TensorProto.FLOAT, ["n", 6, "y", "x"]),
        value("embedding", TensorProto.FLOAT, ["n", 5]),
    ]
    save(
        "two",
        layers("pixels") + head(),
        [value("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        both,
        {**weights, "matrix": MATRIX},
    )
    to_planes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "most"], ["unit"]),
    ]
    save(
        "bytes",
        to_planes + layers("unit") + head(),
        [value("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        both[1:],
        {**weights, "matrix": MATRIX, "most": np.float32(255).reshape(())},
    )
    save(
        "fixed",
        layers("pixels"),
        [value("pixels", TensorProto.FLOAT, [1, 3, 24, 40])],
        [value("map", TensorProto.FLOAT, [1, 6, 12, 20])],
        weights,
    )
    picture = np.asarray(Image.open(HERE / "picture.png").convert("RGB")).astype(np.float64)
    expected = {}
    for name, rgb in {"131x97": picture, "40x24": picture[:24, :40]}.items():
        feature = conv_relu(rgb.transpose(2, 0, 1) / 255)
        expected[f"map.{name}.max"] = feature.max((1, 2))
        expected[f"map.{name}.mean"] = feature.mean((1, 2))
        expected[f"embedding.{name}"] = embedding(feature)
    rounded = {name: [round(float(v), 6) for v in values] for name, values in expected.items()}
    (OUT / "expected.json").write_text(json.dumps(rounded, indent=0) + "\n")


if __name__ == "__main__":
    main()
