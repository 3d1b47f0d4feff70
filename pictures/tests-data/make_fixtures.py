"""Makes the JPEG fixtures whose colour models no Rust encoder here can write.

Each is 32 x 32 pixels in four quadrants; colours.json has the RGB colour that Pillow (libjpeg)
decodes in the middle of each, so that the tests compare against an independent decoder.
Needs: pip install pillow simplejpeg numpy. Run in this folder.
"""

import io
import json

import numpy as np
import simplejpeg
from PIL import Image

# Ink, 0 to 255: red, green, a dark blue, a light grey.
INKS = [(0, 255, 255, 0), (255, 0, 255, 0), (255, 200, 0, 100), (0, 0, 0, 60)]

ink = np.zeros((32, 32, 4), np.uint8)
for i, colour in enumerate(INKS):
    y, x = divmod(i, 2)
    ink[16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = colour

cmyk = Image.frombytes("CMYK", (32, 32), ink.tobytes())
rgb = cmyk.convert("RGB")

files = {}


def save(name, image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    files[name] = buffer.getvalue()


save("cmyk.jpg", cmyk)  # Adobe marker, transform 0, inverted samples
save("cmyk-progressive.jpg", cmyk, progressive=True)
save("rgb.jpg", rgb, keep_rgb=True)  # Adobe marker, transform 0, three components
# The encoder behind simplejpeg turns CMYK into YCCK (Adobe marker, transform 2); Adobe's files hold
# inverted ink.
files["ycck.jpg"] = simplejpeg.encode_jpeg(
    np.ascontiguousarray(255 - ink), quality=95, colorspace="CMYK", colorsubsampling="444"
)

colours = {}
for name, data in files.items():
    with open(name, "wb") as out:
        out.write(data)
    decoded = Image.open(io.BytesIO(data))
    adobe = data.index(b"Adobe")
    print(name, len(data), decoded.mode, "transform", data[adobe + 11])
    decoded = decoded.convert("RGB")
    colours[name] = [decoded.getpixel(p) for p in [(7, 7), (23, 7), (7, 23), (23, 23)]]
with open("colours.json", "w") as out:
    out.write(json.dumps(colours).replace("]], ", "]],\n ") + "\n")
