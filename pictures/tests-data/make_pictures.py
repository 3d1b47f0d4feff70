"""Small JPEG and TIFF files in every layout that their tools write, and the pixels that are right.

    python make_pictures.py       (in this directory)

Needs Pillow, NumPy, tifffile, imagecodecs, and cjpeg and jpegtran (Debian: libjpeg-turbo-progs).
Writes pictures.bin, all files one after the other, and pictures.json: for each its name, where it
lies, and which picture is right; "pixels" are PNG files in pictures.bin as well. What is right is
what Pillow (libjpeg-turbo, libtiff) reads, or the picture that was stored without loss.
"""

import io
import json
import struct
import subprocess
import tempfile

import numpy as np
import tifffile
from PIL import Image

SAMPLINGS = """
1x1,1x1,1x1 2x1,1x1,1x1 1x2,1x1,1x1 2x2,1x1,1x1 4x1,1x1,1x1 1x4,1x1,1x1 4x2,1x1,1x1 2x4,1x1,1x1
3x1,1x1,1x1 1x3,1x1,1x1 3x2,1x1,1x1 2x3,1x1,1x1 2x2,2x1,2x1 2x2,1x2,1x2 2x2,2x1,1x2 2x2,2x2,1x1
2x2,1x1,2x2 4x1,2x1,2x1 1x1,2x1,2x1 1x1,1x2,1x2 1x1,2x2,2x2 2x1,1x2,1x2 1x2,2x1,2x1 1x1,2x2,1x1
2x1,2x2,1x1 2x1,2x1,2x1 1x2,1x2,1x2 2x2,2x2,2x1 2x1,1x1,2x1
""".split()

# jpegtran's arguments; the scans are the components of each.
KINDS = {
    "baseline": [],
    "baseline-restart1": ["-restart", "1B"],
    "baseline-restart-row": ["-restart", "1"],
    "three-scans": ["-scans", "0;1;2;"],
    "three-scans-restart3": ["-scans", "0;1;2;", "-restart", "3B"],
    "two-scans": ["-scans", "0;1 2;"],
    "two-scans-luma-first": ["-scans", "0 1;2;"],
    "progressive": ["-progressive"],
    "progressive-restart1": ["-progressive", "-restart", "1B"],
}


class Archive:
    def __init__(self):
        self.data, self.files, self.pixels = bytearray(), [], {}

    def append(self, data):
        at = len(self.data)
        self.data += data
        return [at, len(data)]

    def add(self, name, data, right):
        """right: an array (height, width, 3)."""
        image = Image.fromarray(np.ascontiguousarray(right, dtype=np.uint8))
        key = image.tobytes() + repr(image.size).encode()
        if key not in self.pixels:
            out = io.BytesIO()
            image.save(out, "PNG", optimize=True)
            self.pixels[key] = self.append(out.getvalue())
        self.files.append({"name": name, "file": self.append(data), "pixels": self.pixels[key]})


def picture(width, height):
    """Waves of colour; edges and noise in grey, so that they are sharp in luma alone."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 120 + 70 * np.sin(x / 11 + 1) + 40 * np.cos(y / 9)
    green = 110 + 60 * np.cos((x + y) / 13) + 40 * np.sin(y / 17 + 1)
    blue = 130 + 80 * np.sin((x - y) / 15) + 20 * np.cos(x / 7)
    out = np.stack([red, green, blue], -1)
    disc = (x - width * 0.6) ** 2 + (y - height * 0.4) ** 2 < (min(width, height) * 0.25) ** 2
    bar = (x > width * 0.1) & (x < width * 0.3) & (y > height * 0.5) & (y < height * 0.9)
    out += 30 * disc[..., None] - 35 * bar[..., None]
    out += np.random.default_rng(1).normal(0, 4, (height, width, 1))
    return np.clip(out, 0, 255).astype(np.uint8)


def run(command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def seen(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def jpegs(archive):
    for width, height in ((48, 40), (37, 29)):
        source = io.BytesIO()
        Image.fromarray(picture(width, height)).save(source, "PPM")
        for sampling in SAMPLINGS:
            first = run(["cjpeg", "-quality", "70", "-sample", sampling], source.getvalue())
            for kind, arguments in KINDS.items():
                arguments = list(arguments)
                if "-scans" in arguments:
                    at = arguments.index("-scans") + 1
                    with tempfile.NamedTemporaryFile("w", suffix=".scans", delete=False) as script:
                        script.write(arguments[at])
                    arguments[at] = script.name
                data = run(["jpegtran", "-copy", "none", *arguments], first)
                archive.add(f"{sampling}-{width}x{height}-{kind}.jpg", data, seen(data))


def set_fill_order(data):
    """The same bilevel TIFF (little-endian, one directory) with the bits of its data reversed."""
    out = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        for offset, count in zip(page.dataoffsets, page.databytecounts):
            part = out[offset : offset + count]
            out[offset : offset + count] = bytes(int(f"{byte:08b}"[::-1], 2) for byte in part)
    at = struct.unpack("<I", out[4:8])[0]
    entries = struct.unpack("<H", out[at : at + 2])[0]
    kept = [bytes(out[at + 2 + 12 * i : at + 14 + 12 * i]) for i in range(entries)]
    kept = [entry for entry in kept if entry[:2] != struct.pack("<H", 266)]
    kept.append(struct.pack("<HHIHH", 266, 3, 1, 2, 0))
    kept.sort(key=lambda entry: struct.unpack("<H", entry[:2])[0])
    out += b"\0" * (len(out) % 2)
    out[4:8] = struct.pack("<I", len(out))
    out += struct.pack("<H", len(kept)) + b"".join(kept) + b"\0\0\0\0"
    return bytes(out)


def tiffs(archive):
    width, height = 37, 29
    rgb = picture(width, height)
    image = Image.fromarray(rgb)
    grey = np.asarray(image.convert("L"))
    three = np.dstack([grey] * 3)

    def tif(name, samples, right, big=False, order="<", **options):
        out = io.BytesIO()
        with tifffile.TiffWriter(out, bigtiff=big, byteorder=order) as writer:
            writer.write(samples, **{k: v for k, v in options.items() if v is not None})
        archive.add(f"{name}.tif", out.getvalue(), right)

    def pil(name, picture, right=None, lsb=False, **options):
        out = io.BytesIO()
        picture.save(out, "TIFF", **options)
        data = set_fill_order(out.getvalue()) if lsb else out.getvalue()
        archive.add(f"{name}.tif", data, seen(data) if right is None else right)

    codecs = {"none": None, "lzw": "lzw", "deflate": "zlib", "packbits": "packbits", "zstd": "zstd"}
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    for codec, compression in codecs.items():
        c = {"compression": compression, "photometric": "rgb"}
        for layout, options in {
            "strips": {"rowsperstrip": 16},
            "tiles": {"tile": (16, 32)},
        }.items():
            tif(f"rgb-{codec}-{layout}", rgb, rgb, **c, **options)
            tif(
                f"rgb-{codec}-{layout}-planes", planes, rgb, planarconfig="separate", **c, **options
            )
            tif(f"rgb-{codec}-{layout}-big", rgb, rgb, big=True, **c, **options)
        tif(f"rgb-{codec}-big-endian", rgb, rgb, order=">", **c)
        tif(f"rgb16-{codec}", rgb.astype(np.uint16) * 257, rgb, **c)
        tif(f"rgb16-{codec}-big-endian", rgb.astype(np.uint16) * 257, rgb, order=">", **c)
        if codec in ("lzw", "deflate"):
            tif(f"rgb-{codec}-predictor", rgb, rgb, predictor=True, **c)
            tif(f"rgb-{codec}-predictor-tiles", rgb, rgb, predictor=True, tile=(16, 32), **c)
            tif(f"rgb16-{codec}-predictor", rgb.astype(np.uint16) * 257, rgb, predictor=True, **c)
        c["photometric"] = "minisblack"
        tif(f"grey-{codec}", grey, three, **c)
        tif(f"grey16-{codec}", grey.astype(np.uint16) * 257, three, **c)
        tif(f"grey-white-is-zero-{codec}", 255 - grey, three, **{**c, "photometric": "miniswhite"})

    alpha = np.broadcast_to(np.arange(width) * 255 // (width - 1), (height, width)).astype(np.uint8)
    share = alpha[..., None] / 255
    over = np.rint(rgb * share + 255 * (1 - share))
    multiplied = np.rint(rgb * share).astype(np.uint8)
    for codec in ("none", "lzw"):
        c = {"compression": codecs[codec], "photometric": "rgb"}
        straight = np.dstack([rgb, alpha])
        tif(f"rgba-{codec}", straight, over, extrasamples=["unassalpha"], **c)
        tif(f"rgba-unspecified-{codec}", straight, rgb, extrasamples=["unspecified"], **c)
        premultiplied = np.dstack([multiplied, alpha])
        tif(f"rgba-associated-{codec}", premultiplied, over, extrasamples=["assocalpha"], **c)
        deep = premultiplied.astype(np.uint16) * 257
        tif(f"rgba16-associated-{codec}", deep, over, extrasamples=["assocalpha"], **c)
        c = {"compression": codecs[codec], "photometric": "minisblack", "planarconfig": "contig"}
        tif(
            f"grey-alpha-{codec}",
            np.dstack([grey, alpha]),
            np.rint(three * share + 255 * (1 - share)),
            extrasamples=["unassalpha"],
            **c,
        )
        five = np.dstack([rgb, alpha, alpha])
        tif(
            f"rgb-five-samples-{codec}",
            five,
            rgb,
            photometric="rgb",
            compression=codecs[codec],
            extrasamples=["unspecified", "unspecified"],
        )
    tif("rgb-float32", rgb.astype(np.float32) / 255, rgb, photometric="rgb")
    tif("grey-float32", grey.astype(np.float32) / 255, three, photometric="minisblack")
    tif("grey-int16", grey.astype(np.int16), three, photometric="minisblack")
    tif("grey-uint32", grey.astype(np.uint32) * 0x01010101, three, photometric="minisblack")

    palette = image.quantize(32)
    two = image.convert("1")
    for codec in (None, "tiff_lzw", "packbits", "tiff_adobe_deflate"):
        pil(f"palette-{codec}", palette, compression=codec)
    for codec in (
        None,
        "tiff_ccitt",
        "group3",
        "group4",
        "packbits",
        "tiff_lzw",
        "tiff_adobe_deflate",
    ):
        pil(f"bilevel-{codec}", two, compression=codec)
        pil(
            f"bilevel-fill-order-2-{codec}",
            two,
            np.asarray(two.convert("RGB")),
            lsb=True,
            compression=codec,
        )
    pil("bilevel-group3-2d", two, compression="group3", tiffinfo={292: 5})
    pil("rgb-jpeg", image, compression="jpeg", quality=90)
    pil("ycbcr-jpeg", image.convert("YCbCr"), compression="jpeg", quality=90)
    pil("grey-jpeg", image.convert("L"), compression="jpeg", quality=90)
    pil("ycbcr-none", image.convert("YCbCr"), rgb)
    pil("cmyk-none", image.convert("CMYK"))
    pil("cmyk-lzw", image.convert("CMYK"), compression="tiff_lzw")
    for h, v in ((1, 1), (2, 1), (2, 2)):
        for layout, options in {
            "strips": {"rowsperstrip": 16},
            "tiles": {"tile": (16, 32)},
        }.items():
            out = io.BytesIO()
            tifffile.imwrite(
                out,
                rgb,
                photometric="ycbcr",
                compression="jpeg",
                subsampling=(h, v),
                compressionargs={"level": 90},
                **options,
            )
            archive.add(f"ycbcr-jpeg-{h}x{v}-{layout}.tif", out.getvalue(), seen(out.getvalue()))


def main():
    archive = Archive()
    jpegs(archive)
    tiffs(archive)
    with open("pictures.bin", "wb") as out:
        out.write(archive.data)
    with open("pictures.json", "w") as out:
        out.write("[\n")
        out.write(",\n".join(json.dumps(file) for file in archive.files))
        out.write("\n]\n")


if __name__ == "__main__":
    main()
