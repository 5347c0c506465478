"""HEIC, the format of phones: told by its start, read by Pillow with a package of its own."""

from __future__ import annotations

from typing import BinaryIO

from diptych.data.opening import DamagedPictureError

# What files call themselves whose pictures are coded by HEVC (ISO/IEC 23008-12, annex B), and by
# AV1. Others that begin alike are films.
HEVC = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"])
AV1 = frozenset([b"avif", b"avis"])
LONGEST = 256  # bytes of the names that a file goes by, of which there are a handful


def is_heic(file: BinaryIO) -> bool:
    """Whether a file says that it is of this format. Leaves it at its start."""
    return bool(_names(file) & HEVC)


def is_avif(file: BinaryIO) -> bool:
    """The same of AVIF, whose files begin alike."""
    return bool(_names(file) & AV1)


def _names(file: BinaryIO) -> set[bytes]:
    file.seek(0)
    start = file.read(LONGEST)
    file.seek(0)
    if start[4:8] != b"ftyp":
        return set()
    names = start[8 : int.from_bytes(start[:4], "big")]  # the main one, its version, and others
    return {names[i : i + 4] for i in range(0, len(names), 4)}


def have_pillow_read_heic() -> None:
    """Raise DamagedPictureError where the package for it is missing."""
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        raise DamagedPictureError("it is a HEIC picture: pip install pi-heif") from None
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
