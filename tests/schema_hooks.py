"""For schemathesis: what pictures are."""

from __future__ import annotations

import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image


@st.composite
def pictures(draw: st.DrawFn, name: str) -> bytes:
    """The content of a small picture file."""
    size = draw(st.tuples(st.integers(1, 64), st.integers(1, 64)))
    file = io.BytesIO()
    Image.new(draw(st.sampled_from(["L", "RGB"])), size, draw(st.integers(0, 255))).save(file, name)
    return file.getvalue()


for kind, name in {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP",
                   "image/tiff": "TIFF", "application/octet-stream": "BMP"}.items():  # fmt: skip
    schemathesis.openapi.media_type(kind, pictures(name))


schemathesis.openapi.format("binary", pictures("PNG"))


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: object) -> bool:
    """No empty lists: a form cannot say them, so that what arrives is valid."""
    return not (isinstance(body, dict) and [] in body.values())
