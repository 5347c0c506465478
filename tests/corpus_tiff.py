"""The part of the corpus that is whole TIFF, of which there are many kinds."""

from __future__ import annotations

import io
from collections.abc import Iterator

import imagecodecs
import numpy as np
import tifffile
from corpus import (
    LOSSY,
    Case,
    Right,
    column,
    deep,
    few_colours,
    grey,
    holes,
    moving,
    npy,
    on_white,
    only_native,
    pil,
    rough,
    same,
    slope,
    three,
    tif,
)  # fmt: skip
from PIL import Image

RGB = slope()
NOISE = rough()


def tiff_cases() -> Iterator[Case]:
    """All of this file's cases."""
    yield from modes_of_tiff()
    yield from numbers()
    yield from pages_of_tiff()


def modes_of_tiff() -> Iterator[Case]:
    for word in ("lzw", "deflate", "jpeg", "packbits"):
        option = {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}.get(word, word)
        if word == "jpeg":
            yield same("jpeg.tif", pil(RGB, "TIFF", compression="jpeg", quality=95), RGB, LOSSY)
        else:
            yield same(f"{word}.tif", pil(NOISE, "TIFF", compression=option), NOISE)
    yield same("big.tif", tif(NOISE, photometric="rgb", bigtiff=True), NOISE)
    yield same("motorola.tif", tif(NOISE, photometric="rgb", byteorder=">"), NOISE)
    yield same("tiles.tif", tif(NOISE, photometric="rgb", tile=(16, 16)), NOISE)
    planes = np.ascontiguousarray(np.moveaxis(NOISE, -1, 0))
    yield same("planes.tif", tif(planes, photometric="rgb", planarconfig="separate"), NOISE)
    plain = grey(NOISE)
    yield Case("grey.tif", tif(plain), Right(three(plain)), Right(column(plain)))
    paper = tif(255 - plain, photometric="miniswhite")
    yield Case("white-is-zero.tif", paper, Right(three(plain)), Right(column(plain)))
    bits = plain > 127
    black_white = (bits * 255).astype(np.uint8)
    if modern_codecs():
        fax = pil(Image.fromarray(bits), "TIFF", compression="group4")
        yield Case("fax.tif", fax, Right(three(black_white)), Right(column(black_white)))
    places, colours = few_colours()
    image = Image.fromarray(places).convert("P")
    image.putpalette(colours.tobytes())
    yield same("palette.tif", pil(image, "TIFF"), colours[places])
    rgba = holes(NOISE)
    yield same("rgba.tif", pil(rgba, "TIFF"), on_white(rgba))
    half = np.dstack([NOISE, np.full((24, 36), 128, np.uint8)])
    laid = (NOISE * (128 / 255) + 255 * (127 / 255)).round().astype(np.uint8)
    content = tif(half, photometric="rgb", extrasamples=["unassalpha"])
    yield same("half-clear.tif", content, laid, 0.01)
    half[..., :3] = (NOISE * (128 / 255)).round()
    content = tif(half, photometric="rgb", extrasamples=["assocalpha"])
    yield same("premultiplied.tif", content, laid, 0.6)
    fourth = np.dstack([NOISE, grey(NOISE)])  # near infrared, say
    content = tif(fourth, photometric="rgb", extrasamples=["unspecified"])
    yield Case("fourth-channel.tif", content, Right(NOISE), Right(fourth))
    if modern_codecs():
        yield from packed_grey()
    # Ink is not light: native depth means the same colours.
    inks = Image.fromarray(NOISE).convert("CMYK")
    yield same("cmyk.tif", pil(inks, "TIFF"), NOISE)
    lab = Image.fromarray(np.full((24, 36, 3), 128, np.uint8))
    lab_flat = Image.frombytes("LAB", (36, 24), bytes([137, 0, 0]) * (36 * 24))
    yield same("lab.tif", pil(lab_flat, "TIFF"), np.asarray(lab), 4)  # L* 53.7 is mid grey
    for word, order in (("", "<"), ("-motorola", ">")):
        values = deep(1)[..., 0]
        eight = (values >> 8).astype(np.uint8)
        content = tif(values, byteorder=order)
        yield Case(f"grey-16{word}.tif", content, Right(three(eight)), Right(column(values)))
        colour = deep(3)
        content = tif(colour, photometric="rgb", byteorder=order)
        yield Case(f"rgb-16{word}.tif", content, Right((colour >> 8).astype(np.uint8)),
                   Right(colour))  # fmt: skip


def modern_codecs() -> bool:
    """Whether the installed codecs can write values of 4 and 12 bits, and read fax.

    The oldest that diptych takes cannot, and refuse such files by their compression.
    """
    try:
        imagecodecs.packints_encode(np.zeros(8, np.uint8), 4)
    except NotImplementedError:
        return False
    return True


def packed_grey() -> Iterator[Case]:
    """Two values a byte, and two in three bytes."""
    tones = np.random.default_rng(8).integers(0, 16, (24, 36)).astype(np.uint8)
    content = tif(tones, bitspersample=4, photometric="minisblack")
    yield Case("grey-4bit.tif", content, Right(three(tones * 17)), Right(column(tones * 17)))
    twelve = deep(1)[..., 0] >> 4
    content = tif(twelve, bitspersample=12, photometric="minisblack")
    upper = (twelve >> 4).astype(np.uint8)
    yield Case("grey-12bit.tif", content, Right(three(upper)), Right(column(twelve)))


def numbers() -> Iterator[Case]:
    """Values that 8 bits cannot hold: read at native depth, refused at 8 bits with the advice."""
    values = np.random.default_rng(2).normal(0, 1000, (24, 36)).astype(np.float32)
    for dtype in ("float32", "float64", "float16", "int16", "int32", "uint32"):
        typed = (np.abs(values) if dtype == "uint32" else values).astype(dtype)
        expected = column(typed.astype(np.float32))
        yield only_native(f"{dtype}.tif", tif(typed), expected)
        yield only_native(f"{dtype}.npy", npy(typed), expected)
    yield only_native("swapped.npy", npy(values.astype(">f4")), column(values))
    yield only_native("fortran.npy", npy(np.asfortranarray(values)), column(values))
    yield only_native("uint16.npy", npy(deep(3)), deep(3))
    yield only_native("7-channels.npy", npy(deep(7)), deep(7))
    seven = tif(deep(7), photometric="minisblack", planarconfig="contig")
    yield only_native("7-channels.tif", seven, deep(7), ".")


def pages_of_tiff() -> Iterator[Case]:
    """The first page is the picture."""
    yield same("pages.tif", moving("TIFF", NOISE), NOISE)
    tones = grey(NOISE)
    yield Case("grey-pages.tif", moving("TIFF", tones), Right(three(tones)), Right(column(tones)))
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:  # pages of different sizes and kinds, planes apart
        planes = np.ascontiguousarray(np.moveaxis(NOISE, -1, 0))
        file.write(planes, photometric="rgb", planarconfig="separate")
        file.write(deep(1)[..., 0])
    yield same("unlike-pages.tif", out.getvalue(), NOISE)
    out = io.BytesIO()
    stack = np.stack([planes, 255 - planes])
    with tifffile.TiffWriter(out) as file:
        file.write(stack, photometric="rgb", planarconfig="separate", metadata=None)
    yield same("pages-of-planes.tif", out.getvalue(), NOISE)
