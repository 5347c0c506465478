"""Colour profiles: what the colours or inks in a file mean, brought to those of screens, sRGB."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

COLOURS = ("RGB", "RGBA", "RGBX", "P", "PA")  # modes of Pillow


def as_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture with the colours that it shows where its profile is heeded; as it is, if none is.

    A profile of another kind than the picture (of grey, say), or a broken one, says nothing.
    """
    if not isinstance(profile, bytes):
        return image
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = given.profile.xcolor_space.strip()
        if space == "CMYK" and image.mode == "CMYK":
            colours = image
        elif space == "RGB" and image.mode in COLOURS:
            if "srgb" in (given.profile.profile_description or "").lower():
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
