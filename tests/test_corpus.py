"""Hundreds of bad and odd files: each is read right or skipped with its reason, by real processes.

The files and what they must give are in corpus_good.py, corpus_tiff.py, corpus_bad.py and
corpus_folder.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_OPTIONS, Command
from corpus import Right
from corpus_folder import GOOD, add_odd_entries, add_odd_names
from corpus_reader import all_cases
from PIL import Image

from diptych.config import build_config
from diptych.data.cache import open_cache
from diptych.data.decode import read_picture
from diptych.data.folder import find_pictures
from diptych.errors import printable

HERE = Path(__file__).parent
GIB = 1024  # in MiB, as peaks are measured here


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the corpus in ``files``, odd names and entries in ``odd``, others in ``b``."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("files", "odd", "b"):
        (folder / name).mkdir()
    for case in all_cases():
        (folder / "files" / case.name).write_bytes(case.content)
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


def run_measured(*arguments: str | Path) -> tuple[int, str, str, float]:
    """The real command: its exit code, stdout, stderr, and the most memory it held, in MiB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "diptych", *map(str, arguments)], stdout=out, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return process.returncode, out.read(), err.read(), usage.ru_maxrss / 1024


def test_every_file_is_read_right_or_refused_in_little_memory_and_time(corpus: Path) -> None:
    done = subprocess.run(
        [sys.executable, HERE / "corpus_reader.py", corpus / "files"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["files"] >= 300
    assert found["wrong"] == []
    assert found["slowest"] < 10  # (a hundredth of that on a machine with nothing else to do)
    assert found["peak"] < GIB  # the bombs would take several
    assert done.stderr == ""  # no library wrote its own remarks


@pytest.mark.parametrize("depth", ["8bit", "native"])
def test_training_on_the_whole_corpus(corpus: Path, tmp_path: Path, depth: str) -> None:
    code, out, err, peak = run_measured(
        "train", corpus / "files", corpus / "b", "--run", tmp_path / "run", "--depth", depth,
        "--steps", "2", *TINY_OPTIONS,
    )  # fmt: skip
    assert code == 0, err
    assert err == ""
    assert peak < 1.5 * GIB
    cases = {c.name: c.eight if depth == "8bit" else c.native for c in all_cases()}
    never = [name for name, outcome in cases.items() if not isinstance(outcome, Right)]
    right = [o.pixels for o in cases.values() if isinstance(o, Right)]
    usual = sum((p.dtype, p.shape[2]) == (np.uint8, 3) for p in right)
    counts = re.search(r"A: (\d+) pictures of .* (\d+) held out \((.*)\)", out)
    assert counts is not None, out
    assert counts[3] == "3 channels, uint8, 0 to 255"
    # Files with several frames, of which some is missing, may be read or not.
    unsure = sum("moving" in name or "pages" in name for name in never)
    used = int(counts[1]) + int(counts[2])
    assert usual <= used <= usual + unsure
    assert f"left out {len(cases) - used} damaged pictures" in out
    # All that was left out is named in one line each, with at most a few names.
    assert sum("left out" in line for line in out.splitlines()) == 1


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
    assert f"left out {len(refused)} damaged pictures" in line
    assert line.isprintable()
    for name in ("damaged- blank .png", "damaged-[bold]brackets.png"):
        assert f"{name} (" in line
    code, _, err, _ = run_measured(
        "train", corpus / "odd", corpus / "b", "--run", tmp_path / "2", "--strict", *TINY_OPTIONS
    )
    assert code == 1
    assert len(err.splitlines()) == 1


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
        "if os.geteuid() == 0:\n"  # to whom permissions mean nothing
        "    os.chmod('.', 0o755)\n"
        "    os.setuid(65534)\n"
        "for name in ('a', 'locked', 'locked/below', 'b'):\n"
        "    try:\n"
        "        for path in find_pictures(Path(name)):\n"
        "            try: print(path, read_picture(path, DomainConfig()).shape)\n"
        "            except DamagedPictureError as error: print(path, error)\n"
        "    except DiptychError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    for name in ("locked", "b/dark"):
        (tmp_path / name).chmod(0o700)
    assert done.stdout.splitlines() == [
        "a/good.png (24, 36, 3)",
        "a/secret.png permission denied",
        "locked/x.png permission denied",
        "cannot list the folder locked/below: Permission denied",
        "cannot list the folder b/dark: Permission denied",
    ], done.stderr
