"""The part of the corpus that cannot be read: every file must be skipped, with its reason."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from corpus import (
    Case,
    Outcome,
    Refused,
    Right,
    WholeOrRefused,
    chunk,
    deep,
    grey,
    heic,
    moving,
    npy,
    pil,
    png,
    rough,
    slope,
    tif,
)  # fmt: skip

NOISE = rough()
RGB = slope()


def bad_cases() -> Iterator[Case]:
    """All of this file's cases."""
    yield from cut()
    yield from unfinished()
    yield from damaged_ends()
    yield from no_pictures()
    yield from bombs()
    yield from bad_values()


def refused(name: str, content: bytes, reason: str) -> Case:
    return Case(name, content, Refused(reason), Refused(reason))


def single_frames() -> dict[str, bytes]:
    """Files of one picture each, of every format and way of storing."""
    return {
        "baseline.jpg": pil(NOISE, "JPEG", quality=90),
        "smooth.jpg": pil(RGB, "JPEG", quality=90),
        "progressive.jpg": pil(NOISE, "JPEG", progressive=True),
        "noise.png": pil(NOISE, "PNG"),
        "palette.png": pil(np.asarray(grey(NOISE)), "PNG"),
        "deep.png": png(deep(3)),
        "deep-grey.png": png(deep(1)),
        "lossy.webp": pil(NOISE, "WEBP"),
        "lossless.webp": pil(NOISE, "WEBP", lossless=True),
        "noise.bmp": pil(NOISE, "BMP"),
        "noise.gif": pil(NOISE, "GIF"),
        "noise.avif": pil(NOISE, "AVIF"),
        "noise.heic": heic(NOISE),
        "raw.tif": pil(NOISE, "TIFF"),
        "lzw.tif": pil(NOISE, "TIFF", compression="tiff_lzw"),
        "deflate.tif": pil(NOISE, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": pil(NOISE, "TIFF", compression="jpeg"),
        "tiles.tif": tif(NOISE, photometric="rgb", tile=(16, 16)),
        "jpeg-inside.tif": tif(NOISE, photometric="ycbcr", compression="jpeg"),
        "jpeg-tiles.tif": tif(NOISE, photometric="ycbcr", compression="jpeg", tile=(16, 16)),
        "deep.tif": tif(deep(3), photometric="rgb"),
        "big.tif": tif(NOISE, photometric="rgb", bigtiff=True),
        "bytes.npy": npy(NOISE),
    }


def cut() -> Iterator[Case]:
    """The first 0 to 9 tenths of every kind of file."""
    for name, content in single_frames().items():
        stem, ending = name.split(".")
        for tenths in range(10):
            part = content[: len(content) * tenths // 10]
            yield refused(f"cut-{stem}-{tenths}.{ending}", part, "." if tenths else "empty")
    floats = npy(deep(1).astype(np.float32))
    for tenths in range(1, 10):
        yield refused(f"cut-float-{tenths}.npy", floats[: len(floats) * tenths // 10], ".")
    # Where the first of several frames is whole, it may be read.
    several = {
        "moving.gif": (moving("GIF", RGB), Right(RGB, 12)),
        "moving.webp": (moving("WEBP", RGB, quality=95), Right(RGB, 6)),
        "moving.png": (moving("PNG", NOISE), Right(NOISE)),
        "moving.avif": (moving("AVIF", RGB, quality=95), Right(RGB, 6)),
        "pages.tif": (moving("TIFF", NOISE), Right(NOISE)),
    }
    for name, (content, whole) in several.items():
        stem, ending = name.split(".")
        for tenths in range(1, 10):
            outcome: Outcome = WholeOrRefused(whole)
            part = content[: len(content) * tenths // 10]
            yield Case(f"cut-{stem}-{tenths}.{ending}", part, outcome, outcome)


def unfinished() -> Iterator[Case]:
    """Downloads that stopped in a file of full length: the rest is zeros."""
    for name in ("baseline.jpg", "smooth.jpg", "progressive.jpg", "noise.png", "deep.png",
                 "deflate.tif", "lzw.tif", "noise.gif"):  # fmt: skip
        content = single_frames()[name]
        stem, ending = name.split(".")
        for tenths in (0, 3, 6, 9):
            have = content[: len(content) * tenths // 10]
            yield refused(f"zeros-{stem}-{tenths}.{ending}", have.ljust(len(content), b"\0"), ".")


def damaged_ends() -> Iterator[Case]:
    """TIFFs without their last bytes, where libtiff keeps what it says of the pixels."""
    kept: Outcome = WholeOrRefused(Right(NOISE))
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        content = pil(NOISE, "TIFF", compression=compression, strip_size=400)
        for lost in (*range(1, 24), 40, 60, 80, 100, 120):
            for how, part in (("cut", b""), ("zeros", bytes(lost))):
                name = f"{how}-{compression}-{lost}-last.tif"
                yield Case(name, content[:-lost] + part, kept, kept)


def no_pictures() -> Iterator[Case]:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.npy", npy(NOISE))
    others = {
        "empty": b"",
        "one-byte": b"\xff",
        "zeros": bytes(5000),
        "words": b"this is not a picture\n" * 20,
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "vector": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "document": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj trailer<</Root 1 0 R>>",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        "archive": archive.getvalue(),
        "film": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
        "pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07nothing\x94.",
        "portable": b"P6 2 2 255 " + bytes(12),
        "noise": np.random.default_rng(3).bytes(3000),
    }
    for word, content in others.items():
        for ending in ("jpg", "png", "tif", "npy", "webp", "gif"):
            usual = "not a picture"
            reason = {"empty": "it is empty", "heic": "HEIC, cut short"}.get(word, usual)
            yield refused(f"no-{word}.{ending}", content, reason)
    yield refused("no-dimensions.npy", npy(np.uint8(7)), "shape")
    yield refused("line.npy", npy(np.arange(9, dtype=np.uint8)), "shape")
    yield refused("volume.npy", npy(np.zeros((2, 3, 4, 5), np.uint8)), "shape")
    yield refused("nothing.npy", npy(np.zeros((0, 9, 3), np.uint8)), "no pixels")
    yield refused("no-channel.npy", npy(np.zeros((9, 9, 0), np.uint8)), "no pixels|channels")
    words = np.array([["a", "b"]])
    yield refused("words-inside.npy", npy(words), "not numbers|native")
    yield refused("complex.npy", npy(np.ones((4, 4), np.complex64)), "not numbers|native")
    objects = BytesIO()
    np.save(objects, np.array([[{}]], dtype=object), allow_pickle=True)
    yield refused("objects.npy", objects.getvalue(), ".")


def bombs() -> Iterator[Case]:
    """Headers that promise 30,000 x 30,000 pixels and more."""
    n = 30_000
    many = "too many|more than"

    def png_of(bits: int, colour: int, rows: bytes = b"\0" * 200) -> bytes:
        header = struct.pack(">IIBBBBB", n, n, bits, colour, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        return content + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    yield refused("bomb.png", png_of(8, 2), many)
    yield refused("bomb-16.png", png_of(16, 2), many)
    yield refused("bomb-1bit.png", png_of(1, 0, bytes(20_000_000)), many)
    yield refused("bomb.bmp", with_bytes(pil(NOISE, "BMP"), 18, struct.pack("<ii", n, n)), many)
    gif = pil(NOISE, "GIF")
    yield refused("bomb.gif", with_bytes(gif, 6, struct.pack("<HH", n, n)), many)
    jpeg = pil(NOISE, "JPEG")
    size = jpeg.index(b"\xff\xc0") + 5
    yield refused("bomb.jpg", with_bytes(jpeg, size, struct.pack(">HH", n, n)), many)
    webp = moving("WEBP", NOISE)
    canvas = (n - 1).to_bytes(3, "little") * 2
    yield refused("bomb.webp", with_bytes(webp, 24, canvas), ".")
    for word, options in (
        ("raw", {}), ("deflate", {"compression": "deflate"}), ("tiles", {"tile": (16, 16)}),
        ("deep", {"dtype": np.uint16}),
    ):  # fmt: skip
        kind = options.pop("dtype", np.uint8)
        content = tif(NOISE.astype(kind), photometric="rgb", **options)
        yield refused(f"bomb-{word}.tif", with_tiff_size(content, n), many)
    for shape in ((n, n, 3), (10**9, 10**9), (n, n, 10**5), (2**40, 1)):
        head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117)
        content = b"\x93NUMPY\x01\0v\0" + head.encode() + b"\n" + bytes(500)
        yield refused(f"bomb-{shape[0]}-{len(shape)}-{shape[-1]}.npy", content, many)
    # Tiles that are not there, in a picture of a size that is allowed.
    tiles = tif(NOISE, photometric="rgb", tile=(16, 16))
    yield refused("few-tiles.tif", with_tiff_size(tiles, 100), "missing|broken")
    # Of a size that is allowed, with nothing behind it.
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': (10000, 10000, 3), }".ljust(117)
    yield refused("promise.npy", b"\x93NUMPY\x01\0v\0" + head.encode() + b"\n" + bytes(500), "cut")
    yield refused("promise.tif", with_tiff_size(tif(NOISE, photometric="rgb"), 13_000), ".")


def with_bytes(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def with_tiff_size(content: bytes, n: int) -> bytes:
    """A little-endian TIFF with its width, height and rows per strip set to ``n``."""
    start = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[start : start + 2])[0]
    for i in range(count):
        place = start + 2 + 12 * i
        tag = struct.unpack("<H", content[place : place + 2])[0]
        if tag in (256, 257, 278):
            content = with_bytes(content, place, struct.pack("<HHII", tag, 4, 1, n))
    return content


def bad_values() -> Iterator[Case]:
    whole = deep(1).astype(np.float32)
    filled = whole.copy()
    filled[3, 4] = filled[3, 5]
    for word, value, native in (
        ("nan", np.nan, Right(filled)),
        ("infinite", np.inf, Refused("infinite values")),
    ):
        values = whole[..., 0].copy()
        values[3, 4] = value
        for ending, content in (("tif", tif(values)), ("npy", npy(values))):
            yield Case(f"{word}.{ending}", content, Refused("--depth native"), native)
    wide = npy(np.full((4, 4), 1e300))
    yield Case("beyond-float32.npy", wide, Refused("--depth native"), Refused("infinite"))
    two = npy(np.zeros((9, 9, 2), np.uint8))
    yield Case("2-channels.npy", two, Refused("2 channels"), Right(np.zeros((9, 9, 2), np.uint8)))
