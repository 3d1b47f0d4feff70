"""Expected values of SuperGlobal's pooling, from the formulas, in NumPy.

Shao et al.: "Global Features are All You Need for Image Retrieval and Reranking" (ICCV 2023). Needs
numpy; prints what stands in the test of `encoder/network/src/pooling/superglobal.rs`:

    python make_superglobal.py
"""

import numpy as np

CASES = [
    ("superglobal", (4.6, 2.5, 5, 0.0), [(5, 7), (12, 3), (2, 1), (1, 1)]),
    ("superglobal:3:1.5:3:0.014", (3.0, 1.5, 3, 0.014), [(6, 4)]),
]


def feature(height, width):
    at = np.arange(3 * height * width)
    values = ((at * 7919 + 13) % 1000).astype(np.float32) / np.float32(500) - np.float32(0.6)
    return values.astype(np.float64).reshape(3, height, width)


def superglobal(x, p, region_p, window, floor):
    y = np.maximum(x, np.float64(np.float32(floor)))
    half = window // 2
    padded = np.pad(y, ((0, 0), (half, half), (half, half)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window), axis=(1, 2))
    regional = (windows**region_p).mean((3, 4)) ** (1 / region_p)
    z = 0.5 * regional + 0.5 * y
    return (np.maximum(z, 1e-8) ** p).mean((1, 2)) ** (1 / p)


for name, (p, region_p, window, floor), sizes in CASES:
    p, region_p = np.float64(np.float32(p)), np.float64(np.float32(region_p))
    for height, width in sizes:
        row = superglobal(feature(height, width), p, region_p, window, floor)
        values = ", ".join(f"{v:.9}" for v in row)
        print(f'        ("{name}", ({height}, {width}), &[{values}]),')
