"""HEIC, the format of phones: told by its start, read by Pillow with a package of its own."""

from __future__ import annotations

from typing import BinaryIO

from diptych.data.opening import DamagedPictureError

# What files call themselves whose pictures are coded by HEVC (ISO/IEC 23008-12, annex B). Others
# that begin alike are films, or AVIF.
BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"])
LONGEST = 256  # bytes of the names that a file goes by, of which there are a handful


def is_heic(file: BinaryIO) -> bool:
    """Whether a file is of this format. Leaves it at its start."""
    file.seek(0)
    start = file.read(LONGEST)
    file.seek(0)
    if start[4:8] != b"ftyp":
        return False
    names = start[8 : int.from_bytes(start[:4], "big")]  # the main one, its version, and others
    return any(names[i : i + 4] in BRANDS for i in range(0, len(names), 4))


def have_pillow_read_heic() -> None:
    """Raise DamagedPictureError where the package for it is missing."""
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        raise DamagedPictureError("it is a HEIC picture: pip install pi-heif") from None
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
