"""The part of the corpus that is not about content: names, links, pipes, devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from corpus import pil, rough

GOOD = pil(rough(), "PNG")

ODD_NAMES = [
    b"not-utf8-\xff\xfe.png", b"latin-\xe9t\xe9.png", b"line\nbreak.png", b"carriage\rreturn.png",
    b"tab\there.png", b"escape\x1b[31m\x1b[2J.png", b"[bold]brackets.png", b" blank .png",
    b"-dash.png", b"--run.png", b"quote'\".png", b"per%20cent%s.png", b"back\\slash.png",
    "한국어-é-😀.png".encode(), "right-to-left-\u202e.png".encode(), b"a" * 251 + b".png",
    b"two..dots.png", b"{brace}.png", b"semi;colon$(x)`y`.png", b"next\xc2\x85line.png",
]  # fmt: skip


def add_odd_names(folder: Path) -> tuple[dict[str, None], dict[str, str]]:
    """A whole picture and a damaged one under every odd name: those names, and those names with
    the reason why they are skipped."""
    right, refused = {}, {}
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(GOOD + name)  # (no two files alike)
        right[os.fsdecode(name)] = None
        if len(name) < 200:
            damaged = os.fsdecode(b"damaged-" + name)
            (folder / damaged).write_bytes(GOOD[:300])
            refused[damaged] = "truncated|cut|broken"
    return right, refused


def add_odd_entries(folder: Path) -> tuple[dict[str, None], dict[str, str]]:
    """Links, pipes, devices and folders: the names to be read, and those to be skipped."""
    (folder / "target.png").write_bytes(GOOD)
    (folder / "through.png").symlink_to("target.png")
    (folder / "folder.png").mkdir()
    (folder / "folder.png" / "inside.png").write_bytes(GOOD)
    (folder / ".hidden.png").write_bytes(GOOD)
    (folder / "no-ending").write_bytes(GOOD)
    (folder / "round-and-round").symlink_to(folder)
    (folder / "round.png").symlink_to(folder)

    os.mkfifo(folder / "pipe.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "nothing.npy").symlink_to("/dev/null")
    os.mknod(folder / "socket.jpg", stat.S_IFSOCK | 0o600)
    (folder / "self.png").symlink_to("self.png")
    (folder / "there.tif").symlink_to("back.tif")
    (folder / "back.tif").symlink_to("there.tif")
    (folder / "nowhere.png").symlink_to("missing.png")
    right = {"target.png": None, "through.png": None, "folder.png/inside.png": None}
    refused = {
        "pipe.png": "a pipe", "endless.png": "a device", "nothing.npy": "a device",
        "socket.jpg": "a socket", "self.png": "symbolic links", "there.tif": "symbolic links",
        "back.tif": "symbolic links", "nowhere.png": "no such file",
    }  # fmt: skip
    return right, refused
