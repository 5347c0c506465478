"""The part of the corpus that is odd but whole: every file must be read right."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from corpus import (
    LOSSY,
    Array,
    Case,
    Outcome,
    Right,
    chunk,
    column,
    deep,
    few_colours,
    grey,
    heic,
    holes,
    moving,
    npy,
    on_white,
    only_native,
    pil,
    png,
    rough,
    same,
    slope,
    three,
    tif,
)  # fmt: skip
from PIL import Image, ImageCms

RGB = slope()
NOISE = rough()
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "avif": "AVIF"}


def good_cases() -> Iterator[Case]:
    """All of this file's cases."""
    yield from ordinary()
    yield from turned()
    yield from profiles()
    yield from extreme_sizes()
    yield from modes_of_png()
    yield from modes_of_jpeg()
    yield from arrays()
    yield from several_frames()
    yield from wrong_endings()


def ordinary() -> Iterator[Case]:
    """Every format in its usual form; upper-case and double endings."""
    yield same("plain.png", pil(NOISE, "PNG"), NOISE)
    yield same("plain.bmp", pil(NOISE, "BMP"), NOISE)
    yield same("plain.tiff", pil(NOISE, "TIFF"), NOISE)
    yield same("plain.npy", npy(NOISE), NOISE)
    yield same("lossless.webp", pil(NOISE, "WEBP", lossless=True), NOISE)
    for ending, form in (("jpg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF")):
        yield same(f"plain.{ending}", pil(RGB, form, quality=95), RGB, LOSSY)
    yield same("plain.heic", heic(RGB, quality=95), RGB, LOSSY)
    other = heic(RGB, quality=95).replace(b"ftypheic", b"ftypmif1", 1)  # (as other phones begin)
    yield same("other.heif", other, RGB, LOSSY)
    fading = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    fading[:12, ..., 3] = 0
    paper = np.where(fading[..., 3:] == 0, np.uint8(255), RGB)
    yield same("clear.heic", heic(Image.fromarray(fading), quality=95), paper, LOSSY)
    yield same("plain.gif", pil(RGB, "GIF"), RGB, 12)
    yield same("UPPER.PNG", pil(NOISE, "PNG"), NOISE)
    yield same("two.tar.png", pil(NOISE, "PNG"), NOISE)
    yield same("trailing.png", pil(NOISE, "PNG") + b"and more" * 40, NOISE)
    yield same("trailing.jpg", pil(RGB, "JPEG", quality=95) + b"\0" * 999, RGB, LOSSY)


def turned() -> Iterator[Case]:
    """The eight EXIF orientations, values that mean nothing, and EXIF data that is broken."""
    stored = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, 1), 7: RGB[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(RGB, -1),
        0: RGB, 9: RGB, 65535: RGB,
    }  # fmt: skip
    for orientation, array in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        exif_bytes = exif.tobytes()  # (Pillow takes the orientation out as it writes AVIF)
        array = np.ascontiguousarray(array)
        for ending, form in FORMATS.items():
            if form == "AVIF" and orientation not in range(1, 9):
                continue  # (it keeps turns in a field of its own, which cannot say that)
            lossless = form in ("PNG", "TIFF")
            content = pil(array, form, exif=exif, **({} if lossless else {"quality": 95}))
            yield same(f"turned-{orientation}.{ending}", content, RGB, 0 if lossless else LOSSY)
        if orientation in range(1, 9):  # (as AVIF)
            content = heic(array, quality=95, exif=exif_bytes)
            yield same(f"turned-{orientation}.heic", content, RGB, LOSSY)
        tag = [(0x0112, 3, 1, orientation, True)]
        # (Its first 8 bits make RGB: the upper bytes are the picture, the lower ones its half.)
        fine = array.astype(np.uint16) * 256 + array // 2
        yield Case(
            f"turned-{orientation}-16.tif", tif(fine, photometric="rgb", extratags=tag),
            Right(RGB), Right(RGB.astype(np.uint16) * 256 + RGB // 2),
        )  # fmt: skip
    start = b"Exif\0\0"
    broken = {"empty": start, "cut": start + b"II*\0", "noise": start + bytes(range(200))}
    for word, exif_bytes in broken.items():
        yield same(f"exif-{word}.jpg", pil(RGB, "JPEG", quality=95, exif=exif_bytes), RGB, LOSSY)
        yield same(f"exif-{word}.png", with_chunk(png(NOISE), b"eXIf", exif_bytes[6:]), NOISE)
        yield Case(
            f"exif-{word}-16.png", with_chunk(png(deep(1)), b"eXIf", exif_bytes[6:]),
            Right(three(deep(1) >> 8).astype(np.uint8)), Right(deep(1)),
        )  # fmt: skip


def with_chunk(content: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG file with one more chunk, after its header."""
    return content[:33] + chunk(kind, data) + content[33:]


def profiles() -> Iterator[Case]:
    """Odd ones do no harm."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    odd = {
        "srgb": srgb, "lab": lab, "cut": srgb[:100], "junk": b"no profile at all" * 9,
        "zeros": bytes(4000), "large": np.random.default_rng(0).bytes(300_000),
    }  # fmt: skip
    for word, profile in odd.items():
        for ending, form in FORMATS.items():
            lossless = form in ("PNG", "TIFF")
            content = pil(RGB, form, icc_profile=profile, **({} if lossless else {"quality": 95}))
            yield same(f"profile-{word}.{ending}", content, RGB, 0 if lossless else LOSSY)
        content = heic(RGB, quality=95, icc_profile=profile, icc_profile_type="prof")
        yield same(f"profile-{word}.heic", content, RGB, LOSSY)
    junk = b"name\0\0" + b"not deflated"
    yield same("profile-broken.png", with_chunk(pil(NOISE, "PNG"), b"iCCP", junk), NOISE)


def extreme_sizes() -> Iterator[Case]:
    for height, width in ((1, 1), (1, 5000), (5000, 1)):
        line = np.resize(np.arange(250, dtype=np.uint8), (height, width))
        rgb = np.stack([line, line // 2, 255 - line], -1)
        size = f"{width}x{height}"
        for ending, form in (("png", "PNG"), ("bmp", "BMP"), ("tif", "TIFF")):
            yield same(f"{size}.{ending}", pil(rgb, form), rgb)
        yield same(f"{size}.npy", npy(rgb), rgb)
        yield same(f"{size}.webp", pil(rgb, "WEBP", lossless=True), rgb)
        # (The saw's teeth are too steep for lossy formats: a flat line.)
        flat = np.full((height, width, 3), (200, 100, 50), np.uint8)
        for ending, form in (("jpg", "JPEG"), ("gif", "GIF"), ("avif", "AVIF")):
            yield same(f"{size}.{ending}", pil(flat, form), flat, 4)
        tall = np.resize(np.arange(60_000, dtype=np.uint16), (height, width))
        yield Case(
            f"{size}-16.png", png(tall), Right(three(tall >> 8).astype(np.uint8)),
            Right(column(tall)),
        )  # fmt: skip


def with_palette(bits: int, **options: object) -> tuple[bytes, Array]:
    """A palette PNG of so many bits a pixel, and its colours (24, 36, 3)."""
    places, colours = few_colours()
    places = places & (2**bits - 1)
    image = Image.fromarray(places).convert("P")
    image.putpalette(colours.tobytes())
    return pil(image, "PNG", bits=bits, **options), colours[places]


def modes_of_png() -> Iterator[Case]:
    plain = grey(NOISE)
    yield Case("grey.png", pil(plain, "PNG"), Right(three(plain)), Right(column(plain)))
    bits = plain > 127
    black_white = (bits * 255).astype(np.uint8)
    yield Case("1bit.png", pil(Image.fromarray(bits), "PNG"), Right(three(black_white)),
               Right(column(black_white)))  # fmt: skip
    for depth in (1, 2, 4):  # grey of few bits, written by hand: Pillow writes only whole bytes
        values = np.arange(2**depth, dtype=np.uint8).repeat(8)
        packed = np.packbits(
            (values[:, None] >> np.arange(depth - 1, -1, -1)) & 1
        ).tobytes()  # fmt: skip
        header = struct.pack(">IIBBBBB", len(values), 1, depth, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        content += chunk(b"IDAT", zlib.compress(b"\0" + packed)) + chunk(b"IEND", b"")
        spread = (values * (255 // (2**depth - 1)))[None]
        yield Case(f"grey-{depth}bit.png", content, Right(three(spread)), Right(column(spread)))
    for depth in (1, 2, 4, 8):
        content, colours = with_palette(depth)
        yield same(f"palette-{depth}bit.png", content, colours)
        places, _ = few_colours()
        clear = colours.copy()
        clear[(places & (2**depth - 1)) == 1] = 255
        content, _ = with_palette(depth, transparency=bytes([255, 0, 255, 255][: 2**depth]))
        yield same(f"palette-{depth}bit-clear.png", content, clear)
    rgba = holes(NOISE)
    yield same("rgba.png", pil(rgba, "PNG"), on_white(rgba))
    la = np.dstack([plain, rgba[..., 3]])
    on_paper = on_white(np.dstack([three(plain), rgba[..., 3]]))
    yield Case("la.png", pil(la, "PNG"), Right(on_paper), Right(on_paper[..., :1]))
    # One colour, or one tone, is named as the clear one.
    keyed = NOISE.copy()
    keyed[::4] = (1, 2, 3)
    shown = keyed.copy()
    shown[::4] = 255
    yield same("clear-colour.png", pil(keyed, "PNG", transparency=(1, 2, 3)), shown)
    toned = np.where(plain == 7, np.uint8(8), plain)
    toned[::4] = 7
    paper = toned.copy()
    paper[::4] = 255
    yield Case("clear-tone.png", pil(toned, "PNG", transparency=7), Right(three(paper)),
               Right(column(paper)))  # fmt: skip
    for channels, word in ((1, "grey"), (3, "rgb")):
        values = deep(channels)
        eight = (values >> 8).astype(np.uint8)
        content = png(values[..., 0] if channels == 1 else values)
        yield Case(f"{word}-16.png", content, Right(eight if channels == 3 else three(eight)),
                   Right(values))  # fmt: skip
        alpha = np.full((24, 36, 1), 65535, np.uint16)
        alpha[:, ::3] = 0
        both = np.concatenate([values, alpha], -1)
        laid = np.where(alpha == 0, np.uint16(65535), values)
        laid_8 = (laid >> 8).astype(np.uint8)
        yield Case(f"{word}-alpha-16.png", png(both),
                   Right(laid_8 if channels == 3 else three(laid_8)), Right(laid))  # fmt: skip
    interlaced = png_interlaced(NOISE)
    yield same("interlaced.png", interlaced, NOISE)


def png_interlaced(rgb: Array) -> bytes:
    """Adam7, by its definition: seven passes over grids of different starts and steps."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    rows = b""
    for y, x, step_y, step_x in passes:
        for row in rgb[y::step_y, x::step_x]:
            rows += b"\0" + row.tobytes() if row.size else b""
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2, 0, 0, 1)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return content + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def modes_of_jpeg() -> Iterator[Case]:
    image = Image.fromarray(RGB)
    tones = grey(RGB)
    yield Case("grey.jpg", pil(image.convert("L"), "JPEG", quality=95),
               Right(three(tones), LOSSY), Right(column(tones), LOSSY))  # fmt: skip
    yield same("progressive.jpg", pil(image, "JPEG", quality=95, progressive=True), RGB, LOSSY)
    yield same("optimized.jpg", pil(image, "JPEG", quality=95, optimize=True), RGB, LOSSY)
    yield same("subsampled.jpg", pil(image, "JPEG", quality=95, subsampling=2), RGB, LOSSY)
    yield same("rgb-inside.jpg", pil(image, "JPEG", quality=95, keep_rgb=True), RGB, LOSSY)
    cmyk = pil(image.convert("CMYK"), "JPEG", quality=95)
    yield same("cmyk.jpg", cmyk, RGB, LOSSY)
    yield same("ycck.jpg", as_ycck(RGB), RGB, LOSSY)
    several = pil(image, "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (9, 9))])
    yield same("several.jpg", several, RGB, LOSSY)


def as_ycck(rgb: Array) -> bytes:
    """A YCCK JPEG as Adobe writes it: marked with transform 2, black ink stored inverted.

    Y, Cb, Cr are those of the inks C, M, Y taken as if they were R, G, B.
    """
    ycc = np.asarray(Image.fromarray(255 - rgb).convert("YCbCr"))
    four = np.dstack([ycc, np.full(rgb.shape[:2], 255, np.uint8)])
    # Pillow inverts what it takes for CMYK while writing: inverted twice is as it was.
    content = pil(Image.frombytes("CMYK", rgb.shape[1::-1], (255 - four).tobytes()), "JPEG",
                  quality=95)  # fmt: skip
    marker = content.index(b"\xff\xee\x00\x0eAdobe")
    place = marker + 4 + 11  # the transform: the last byte of the segment
    return content[:place] + b"\x02" + content[place + 1 :]


def arrays() -> Iterator[Case]:
    plain = grey(NOISE)
    yield Case("grey.npy", npy(plain), Right(three(plain)), Right(column(plain)))
    bits = plain > 127
    yield only_native("bool.npy", npy(bits), column(bits * np.uint8(255)))


def several_frames() -> Iterator[Case]:
    """The first page or frame is the picture."""
    yield same("moving.gif", moving("GIF", RGB), RGB, 12)
    yield same("moving.webp", moving("WEBP", RGB, quality=95), RGB, LOSSY)
    yield same("moving.png", moving("PNG", NOISE), NOISE)
    yield same("moving.avif", moving("AVIF", RGB, quality=95), RGB, LOSSY)
    clear = np.zeros((24, 36), np.uint8)
    clear[::2] = 1
    image = Image.fromarray(clear).convert("P")
    image.putpalette(bytes([0, 0, 0, 200, 10, 10]))
    shown = np.where(clear[..., None] == 1, np.uint8([200, 10, 10]), np.uint8(255))
    yield same("clear.gif", pil(image, "GIF", transparency=0), shown)


def wrong_endings() -> Iterator[Case]:
    """What a file holds counts, not how its name ends."""
    kinds = {
        "png": (pil(NOISE, "PNG"), NOISE, 0.0), "jpg": (pil(RGB, "JPEG", quality=95), RGB, LOSSY),
        "tif": (pil(NOISE, "TIFF"), NOISE, 0.0), "npy": (npy(NOISE), NOISE, 0.0),
        "bmp": (pil(NOISE, "BMP"), NOISE, 0.0), "gif": (pil(RGB, "GIF"), RGB, 12.0),
        "webp": (pil(NOISE, "WEBP", lossless=True), NOISE, 0.0),
        "avif": (pil(RGB, "AVIF", quality=95), RGB, LOSSY),
        "heic": (heic(RGB, quality=95), RGB, LOSSY),
    }  # fmt: skip
    for kind, (content, pixels, within) in kinds.items():
        for ending in kinds:
            if ending != kind:
                yield same(f"really-{kind}.{ending}", content, pixels, within)
    eight: Outcome = Right((deep(3) >> 8).astype(np.uint8))
    yield Case("really-16bit-png.jpg", png(deep(3)), eight, Right(deep(3)))
    yield Case("really-16bit-tif.png", tif(deep(3), photometric="rgb"), eight, Right(deep(3)))
