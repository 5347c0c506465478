"""Colour profiles: what the colours or inks in a file mean, brought to those of screens, sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

SAME = 4  # of 255: sRGB's own curve is drawn in several ways
COLOURS = ("RGB", "RGBA", "RGBX", "P", "PA")  # modes of Pillow


def as_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture converted from its profile to sRGB; as it is, where no profile can be used.

    A profile of another kind than the picture (of grey, say), or a broken one, is not used.
    """
    if not isinstance(profile, bytes):
        return image
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = given.profile.xcolor_space.strip()
        if space == "CMYK" and image.mode == "CMYK":
            colours = image
        elif space == "RGB" and image.mode in COLOURS:
            if _is_srgb(profile):
                return image
            colours = image.convert("RGBA" if image.has_transparency_data else "RGB")
        else:
            return image
        mode = "RGBA" if colours.mode == "RGBA" else "RGB"
        srgb = ImageCms.createProfile("sRGB")
        made = ImageCms.profileToProfile(colours, given, srgb, outputMode=mode)
    except (ImageCms.PyCMSError, ImportError, OSError, TypeError, ValueError):
        return image
    return made if made is not None else image


@lru_cache(maxsize=64)  # (of all pictures of a camera it is the same)
def _is_srgb(profile: bytes) -> bool:
    """Whether it says so, and means it: there are some of linear light with sRGB's primaries."""
    given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "srgb" not in (given.profile.profile_description or "").lower():
        return False
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    srgb = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(Image.fromarray(greys), given, srgb, outputMode="RGB")
    return made is not None and int(np.abs(np.asarray(made, np.int16) - greys).max()) <= SAME
