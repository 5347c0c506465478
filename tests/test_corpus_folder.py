"""Odd names, links, pipes, devices, locked and vanishing files: skipped or read, never a hang."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import LONGEST
from conftest import TINY_OPTIONS, Command
from corpus_folder import GOOD, add_odd_entries, add_odd_names
from corpus_process import reasons
from measured import run_measured
from PIL import Image

from diptych.data.cache_folder import open_cache
from diptych.data.decode import read_picture
from diptych.data.folder import find_pictures
from diptych.settings import build_config
from diptych.words import printable


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Odd names and entries in ``odd``, a few good pictures in ``b``."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("odd", "b"):
        (folder / name).mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "b" / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def odd(corpus: Path) -> tuple[set[str], dict[str, str]]:
    """What was put into ``odd``: names to be read; names to be skipped, with their reasons."""
    right, refused = add_odd_names(corpus / "odd")
    more_right, more_refused = add_odd_entries(corpus / "odd")
    return {*right, *more_right}, {**refused, **more_refused}


def test_odd_names_and_entries(corpus: Path, odd: tuple[set[str], dict[str, str]]) -> None:
    right, refused = odd
    settings = build_config({"data": {"size": 32}})
    files = find_pictures(corpus / "odd")
    assert {str(path.relative_to(corpus / "odd")) for path in files} == {*right, *refused}
    for name in right:
        read = read_picture(corpus / "odd" / name, settings.a)
        np.testing.assert_array_equal(read, read_picture(corpus / "odd" / "target.png", settings.a))
    cache = open_cache(corpus / "odd", files, settings.a, settings.data, 4)
    again = open_cache(corpus / "odd", files, settings.a, settings.data, 4)
    assert again.entries == cache.entries
    assert {entry.name for entry in cache.entries} == right
    assert {one.name for one in cache.skipped} == set(refused)
    for one in cache.skipped:
        assert re.search(refused[one.name], one.reason), (one.name, one.reason)


def test_checking_odd_names_and_entries(corpus: Path, odd: tuple[set[str], dict[str, str]]) -> None:
    _, refused = odd
    code, out, err, _ = run_measured("data", "check", corpus / "odd", corpus / "b", "--json")
    assert (code, err) == (0, "")
    damaged = reasons(json.loads(out), "damaged")
    assert set(damaged) == set(refused)
    assert all(re.search(refused[name], reason) for name, reason in damaged.items())


def test_odd_names_do_not_break_the_lines_of_a_training(
    corpus: Path, odd: tuple[set[str], dict[str, str]], tmp_path: Path
) -> None:
    _, refused = odd
    code, out, err, _ = run_measured(
        "train", corpus / "odd", corpus / "b", "--run", tmp_path / "run", "--steps", "2",
        *TINY_OPTIONS,
    )  # fmt: skip
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if "left out" in line]
    assert f"left out {len(refused)} pictures" in line
    assert line.isprintable()
    for name in ("damaged- blank .png", "damaged-[bold]brackets.png"):
        assert f"{name} (" in line


def test_names_that_do_not_print_are_escaped_in_errors(
    corpus: Path, diptych: Command, tmp_path: Path
) -> None:
    folder = tmp_path / os.fsdecode(b"a\nb\x1b[31m\xff")
    folder.mkdir()
    done = diptych("train", folder, corpus / "b", "--run", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [done.stderr.rstrip("\n")]
    assert r"no picture in" in done.stderr
    assert r"a\nb\x1b[31m\udcff" in done.stderr
    assert printable("plain 한국어 é") == "plain 한국어 é"
    shutil.copytree(corpus / "b", folder / "more")
    (folder / "cut\n.png").write_bytes(GOOD[:300])
    checked = diptych("data", "check", folder, corpus / "b")
    lines = checked.stdout.splitlines()
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("A: 4 pictures in") and r"a\nb\x1b[31m" in line for line in lines)
    assert any(line.startswith("  ") and r"cut\n.png  (" in line for line in lines)


def test_translating_a_folder_of_odd_entries(
    corpus: Path, odd: tuple[set[str], dict[str, str]], trained: Path, tmp_path: Path
) -> None:
    right, refused = odd
    code, out, err, _ = run_measured(
        "translate", trained, corpus / "odd", "-o", tmp_path / "out", "--to", "a"
    )
    assert code in (0, 1), err
    assert "Traceback" not in out + err
    assert sum(path.is_file() for path in (tmp_path / "out").rglob("*.png")) == len(right)
    assert all(line.isprintable() for line in (out + err).splitlines())
    assert "a pipe" in out + err or str(len(refused)) in out + err


def test_files_that_vanish_between_scan_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(12):
        (tmp_path / f"{i:02}.png").write_bytes(GOOD)
    files = find_pictures(tmp_path)
    files[3].unlink()  # before any is read
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # few are read ahead

    def on_progress(done: int, total: int) -> None:
        if done == 1:
            files[10].unlink()  # while others are read
            files[11].unlink()
            os.mkfifo(files[11])  # and one becomes what would block for ever

    settings = build_config({"data": {"size": 32}})
    cache = open_cache(tmp_path, files, settings.a, settings.data, 4, on_progress)
    assert {one.name: one.reason for one in cache.skipped} == {
        "03.png": "no such file",
        "10.png": "no such file",
        "11.png": "it is a pipe, not an ordinary file",
    }
    assert len(cache) == 9


def test_files_and_folders_without_permission(tmp_path: Path) -> None:
    for name in ("a/good.png", "a/secret.png", "locked/x.png", "b/dark/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(GOOD)
    (tmp_path / "a" / "secret.png").chmod(0)
    (tmp_path / "locked").chmod(0o444)  # its names can be listed, its files not reached
    (tmp_path / "b" / "dark").chmod(0)
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from diptych.config import DomainConfig\n"
        "from diptych.data.decode import DamagedPictureError, read_picture\n"
        "from diptych.data.folder import find_pictures\n"
        "from diptych.errors import DiptychError\n"
        "from diptych.translation.translator import load\n"
        "if os.geteuid() == 0:\n"  # to whom permissions mean nothing
        "    os.chmod('.', 0o755)\n"
        "    os.setuid(65534)\n"
        "for name in ('a', 'locked', 'locked/below', 'b'):\n"
        "    try:\n"
        "        for path in find_pictures(Path(name)):\n"
        "            try: print(path, read_picture(path, DomainConfig()).shape)\n"
        "            except DamagedPictureError as error: print(path, error)\n"
        "    except DiptychError as error: print(error)\n"
        "try: load('locked')\n"
        "except DiptychError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST
    )
    for name in ("locked", "b/dark"):
        (tmp_path / name).chmod(0o700)
    assert done.stdout.splitlines() == [
        "a/good.png (24, 36, 3)",
        "a/secret.png permission denied",
        "locked/x.png permission denied",
        "cannot list the folder locked/below: Permission denied: make it readable, or move it away",
        "cannot list the folder b/dark: Permission denied: make it readable, or move it away",
        "cannot read locked: Permission denied",
    ], done.stderr
