"""Valid files of every format, mutated: the decoder gives a sound picture or refuses, no more.

The same examples every time; fuzz_decode.py searches further.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import deep, moving, pil, rough
from corpus_bad import single_frames
from decode_property import check_reading
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

VALID = {
    **single_frames(),
    "moving.gif": moving("GIF", rough()),
    "moving.webp": moving("WEBP", rough()),
    "pages.tif": moving("TIFF", deep(1)[..., 0]),
    "cmyk.jpg": pil(Image.fromarray(rough()).convert("CMYK"), "JPEG"),
}
EXTREMES = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\x75\x30"]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file's name and its content after one to four changes, most of them in its header."""
    name = draw(st.sampled_from(sorted(VALID)))
    content = bytearray(VALID[name])
    for _ in range(draw(st.integers(1, 4))):
        reach = draw(st.sampled_from([64, 400, len(content)]))
        place = draw(st.integers(0, max(0, min(reach, len(content)) - 1)))
        change = draw(st.sampled_from(["flip", "cut", "insert", "extreme", "repeat", "remove"]))
        if change == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif change == "cut":
            del content[place:]
        elif change == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=12))
        elif change == "extreme":
            content[place : place + 4] = draw(st.sampled_from(EXTREMES))
        elif change == "repeat":
            content[place:place] = content[place : place + draw(st.integers(1, 300))]
        else:
            del content[place : place + draw(st.integers(1, 40))]
    return name, bytes(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(
    max_examples=300, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(file=mutated())
def test_mutated_files_are_read_or_refused(folder: Path, file: tuple[str, bytes]) -> None:
    name, content = file
    path = folder / f"mutated{Path(name).suffix}"
    path.write_bytes(content)
    check_reading(path)


def test_the_files_are_read_before_they_are_mutated(folder: Path) -> None:
    for name, content in VALID.items():
        (folder / name).write_bytes(content)
        assert check_reading(folder / name) >= 3, name
