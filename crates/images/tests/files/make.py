#!/usr/bin/env python3
"""Writes the files beside it and table.txt: needs Pillow, NumPy, ImageMagick and cjpeg.

Each line of the table names a file, the PNG file that it looks like, and by how much a channel of a
pixel may differ: with loss, by a little more than when Pillow reads it. All are 16 x 16 pixels and
none is symmetric.
"""
import pathlib
import subprocess

import numpy as np
from PIL import Image, ImageOps

here = pathlib.Path(__file__).parent
table = []


def run(*words):
    subprocess.run([str(word) for word in words], check=True)


def kind(name, reference, most=0):
    """Puts a file into the table; `most` of None is measured."""
    table.append((name, reference, most))
    return here / name


def measured(name, reference):
    pictures = [ImageOps.exif_transpose(Image.open(here / file)) for file in (name, reference)]
    if pictures[0].mode == "RGBA":
        pictures[0] = Image.composite(pictures[0].convert("RGB"), black, pictures[0].getchannel("A"))
    ours, theirs = (np.asarray(picture.convert("RGB")).astype(int) for picture in pictures)
    return abs(ours - theirs).max() + 4


y, x = np.mgrid[0:16, 0:16]
planes = [128 + 100 * np.sin(x / 6 + y / 15), 40 + 12 * y, 200 - 6 * x - 5 * y]
colour = Image.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8))
grey = Image.fromarray((16 * y + x).astype(np.uint8))
few = Image.fromarray(((x // 4 * 4 + y // 4)).astype(np.uint8), "P")
few.putpalette(np.random.default_rng(1).integers(0, 256, 48, np.uint8).tobytes())
two = Image.fromarray(np.where((x > y) ^ (x > 11), 255, 0).astype(np.uint8)).convert("1")
alpha = Image.fromarray((255 - 16 * x).astype(np.uint8))
see_through, grey_alpha = colour.copy(), Image.merge("LA", (grey, alpha))
see_through.putalpha(alpha)
black = Image.new("RGB", (16, 16))
for name, image in {
    "colour": colour,
    "grey": grey,
    "few": few.convert("RGB"),
    "two": two.convert("L"),
    "over-black": Image.composite(colour, black, alpha),
    "grey-over-black": Image.composite(grey, black.convert("L"), alpha),
}.items():
    image.save(kind(f"{name}.png", f"{name}.png"))

# PNG
few.save(kind("palette-4-bits.png", "few.png"), bits=4)
few.save(kind("palette-8-bits.png", "few.png"), bits=8)
two.save(kind("1-bit.png", "two.png"))
words = np.asarray(grey).astype(np.uint16) * 257
Image.fromarray(words).save(kind("16-bits.png", "grey.png"))
see_through.save(kind("alpha.png", "over-black.png", 1))
grey_alpha.save(kind("grey-alpha.png", "grey-over-black.png", 1))
run("convert", here / "colour.png", "-interlace", "PNG", kind("interlaced.png", "colour.png"))
source = here / "alpha.png"
run("convert", source, "-define", "png:bit-depth=16", kind("alpha-16-bits.png", "over-black.png", 1))

# JPEG
ppm = here / "source.ppm"
colour.save(ppm)
scans = here / "scans"
scans.write_text("0;\n1;\n2;\n")
for name, options in [
    ("baseline", []),
    ("no-subsampling", ["-sample", "1x1"]),
    ("4-1-1", ["-sample", "4x1"]),
    ("4-4-0", ["-sample", "1x2"]),
    ("finer-chroma", ["-sample", "1x1,2x2,2x2"]),
    ("progressive", ["-progressive"]),
    ("progressive-restarts", ["-progressive", "-sample", "1x1", "-restart", "1B"]),
    ("restarts", ["-sample", "1x1", "-restart", "1B"]),
    ("one-scan-a-component", ["-scans", scans]),
    ("rgb", ["-rgb"]),
]:
    out = kind(f"{name}.jpg", "colour.png", None)
    run("cjpeg", "-quality", 92, *options, "-outfile", out, ppm)
run("cjpeg", "-quality", 92, "-arithmetic", "-outfile", here / "arithmetic.jpeg", ppm)
grey.save(kind("grey.jpg", "grey.png", None), quality=92)
colour.convert("CMYK").save(kind("ycck.jpg", "colour.png", None), quality=95, subsampling=0)
run("convert", here / "colour.png", "-colorspace", "CMYK", "-quality", 95, kind("cmyk.jpg", "colour.png", None))
for orientation, turned in enumerate(
    [
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    ],
    1,
):
    # Stored so that turning it as the tag says gives the picture.
    stored = colour if turned is None else colour.transpose(turned)
    exif = Image.Exif()
    exif[0x112] = orientation
    name = f"orientation-{orientation}"
    stored.save(kind(f"{name}.jpg", "colour.png", None), exif=exif, quality=95, subsampling=0)
    if orientation == 6:
        stored.save(kind(f"{name}.png", "colour.png"), exif=exif)
        stored.save(kind(f"{name}.webp", "colour.png"), exif=exif, lossless=True)
        stored.save(kind(f"{name}.tif", "colour.png"), tiffinfo={274: orientation})

# BMP
colour.save(kind("24-bits.bmp", "colour.png"))
few.save(kind("palette.bmp", "few.png"))
run("convert", here / "few.png", "-type", "Palette", "-compress", "RLE", kind("rle.bmp", "few.png"))
run("convert", here / "alpha.png", kind("alpha.bmp", "over-black.png", 1))

# TIFF
for compression in ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]:
    colour.save(kind(f"{compression}.tif", "colour.png"), compression=compression)
Image.fromarray(words).save(kind("16-bits.tif", "grey.png"), compression="tiff_lzw")
two.save(kind("group4.tif", "two.png"), compression="group4")
few.save(kind("palette.tif", "few.png"))
see_through.save(kind("alpha.tif", "over-black.png", 1))
grey_alpha.save(kind("grey-alpha.tif", "grey-over-black.png", 1))
tif = ["convert", here / "colour.png"]
run(*tif, "-interlace", "plane", kind("planar.tif", "colour.png"))
run(*tif, "-define", "tiff:tile-geometry=16x16", kind("tiled.tif", "colour.png"))
run(*tif, "-endian", "MSB", "-define", "tiff:rows-per-strip=5", kind("strips.tif", "colour.png"))
colour.save(kind("pages.tif", "colour.png"), save_all=True, append_images=[black])

# WebP
colour.save(kind("lossy.webp", "colour.png", None), quality=90)
colour.save(kind("lossless.webp", "colour.png"), lossless=True)
see_through.save(kind("alpha.webp", "over-black.png", 1), lossless=True)
see_through.save(kind("lossy-alpha.webp", "over-black.png", None), quality=90)
colour.save(kind("frames.webp", "colour.png"), save_all=True, append_images=[black], lossless=True)

for file in [ppm, scans]:
    file.unlink()
with open(here / "table.txt", "w") as out:
    for name, reference, most in table:
        most = measured(name, reference) if most is None else most
        out.write(f"{name} {reference} {most}\n")
