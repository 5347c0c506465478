"""Writing on disks and systems that are unlike this one, as far as they can be played."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY

from diptych.data import cache_folder
from diptych.data.cache import PIXELS
from diptych.data.domain import data_folders, open_domains
from diptych.demo import run_demo
from diptych.errors import DiptychError
from diptych.host.files import write_whole
from diptych.host.lock import only_one
from diptych.interchange import deploy
from diptych.settings import build_config, merge
from diptych.training import checkpoint
from diptych.training.records import append_line, read_lines
from diptych.training.run_folder import RunFolder
from diptych.training.session import SILENT
from diptych.training.start import start_run
from diptych.translation import writing
from diptych.translation.translator import load
from diptych.words import typed


def test_what_is_written_is_flushed_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then the folder is, or a power cut would take the name away again."""
    real, target = os.fsync, tmp_path / "x"
    seen: list[tuple[str, bool]] = []

    def fsync(handle: int) -> None:
        status = os.fstat(handle)
        is_folder = os.path.samestat(status, tmp_path.stat())
        seen.append(("folder" if is_folder else f"{status.st_size} bytes", target.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(target, "content")
    assert seen == [("7 bytes", False), ("folder", True)]
    target = tmp_path / checkpoint.step_name(5)
    checkpoint.write_part(checkpoint.stage(tmp_path, 5), "model", {"w": torch.zeros(2)})
    checkpoint.finish(tmp_path, 5, {})
    assert seen[-1] == ("folder", True)
    assert not any(exists for _, exists in seen[2:-1])


def watch_flushes(
    root: Path, note: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Call ``note`` with each file below ``root`` that is flushed, and with its size by then."""
    real = os.fsync

    def fsync(handle: int) -> None:
        status = os.fstat(handle)
        for path in root.rglob("*"):
            if path.is_file() and os.path.samestat(path.stat(), status):
                note(path, status.st_size)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_pixels_are_flushed_before_their_cache_gets_its_name(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    sizes: dict[str, int] = {}

    def note(path: Path, size: int) -> None:
        if path.name == PIXELS and path.parent.suffix == ".partial":
            sizes[path.parent.name.partition(".")[0]] = size

    watch_flushes(tmp_path, note, monkeypatch)
    open_domains(data_folders(towns), build_config(TINY))
    assert len(sizes) == 4
    assert sizes == {path.parent.name: path.stat().st_size for path in tmp_path.rglob(PIXELS)}


def test_lines_are_flushed_before_the_checkpoint_after_them_gets_its_name(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    made: list[int] = []

    def note(path: Path, size: int) -> None:
        if path == run.metrics and size > 0:
            made.append(len(checkpoint.checkpoints(run.checkpoints)))

    watch_flushes(run.path, note, monkeypatch)
    start_run(data_folders(towns), run, build_config(merge(TINY, {"training": {"steps": 3}})))
    assert made == [0]
    assert len(checkpoint.checkpoints(run.checkpoints)) == 1


def test_exports_are_flushed_before_they_get_their_names(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: dict[str, int] = {}

    def note(path: Path, size: int) -> None:
        if ".partial" in str(path):
            flushed[path.suffix] = size

    watch_flushes(tmp_path, note, monkeypatch)
    paths = deploy.deploy(load(trained).pair, "torch", ["b"], tmp_path / "deployed")
    assert len(paths) == 3
    assert flushed == {path.suffix: path.stat().st_size for path in paths}


def test_file_systems_that_flush_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reason = os.fsync, errno.EINVAL

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(reason, os.strerror(reason))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(tmp_path / "x", "as on a share")
    assert (tmp_path / "x").read_text() == "as on a share"
    reason = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_whole(tmp_path / "x", "on a disk that fails")


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    lines = tmp_path / "warnings.jsonl"
    for step, text in ((1, "whole"), (2, "é")):
        append_line(lines, step, {"text": text})
    lines.write_bytes(lines.read_bytes() + b'{"step": 3, "te')
    append_line(lines, 4, {"text": "noted on resuming"})
    texts = {line["step"]: line["text"] for line in read_lines(lines, str)}
    assert texts == {1: "whole", 2: "é", 4: "noted on resuming"}


def test_names_as_long_as_they_get(tmp_path: Path) -> None:
    write_whole(tmp_path / ("n" * 255), "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["n" * 255]


def test_what_killed_processes_left_is_swept_after_a_day(trained: Path, tmp_path: Path) -> None:
    """Beside translations and exports; what may still be written stays."""
    now = time.time()
    for age, name in ((2, ".1-2.partial.png"), (0, ".3-4.partial.mp4"), (2, ".partial-abc_1234")):
        left = tmp_path / name
        left.mkdir() if name == ".partial-abc_1234" else left.touch()
        os.utime(left, (now - 86_400 * age,) * 2)
    somebodys = {".5-6.partial.png.mine", ".my-notes.partial.txt", "thesis.zip.partial"}
    for name in somebodys:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now - 2 * 86_400,) * 2)
    writing.sweep({tmp_path})
    deploy.sweep(tmp_path)
    cache_folder.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".3-4.partial.mp4", *somebodys}


def test_a_system_that_flushes_only_what_may_be_written(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows."""
    real = os.fsync

    def fsync(handle: int) -> None:
        readable = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if readable and stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    run = RunFolder(tmp_path / "run")
    assert start_run(data_folders(towns), run, build_config(TINY))
    assert run.model.exists()


def test_threads_may_write_the_same_file(tmp_path: Path) -> None:
    texts = [str(i) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_whole(tmp_path / "x", text), texts * 5))
    assert (tmp_path / "x").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(("windows", "number"), [(True, errno.EACCES), (False, errno.ESTALE)])
def test_what_hinders_a_rename_may_pass(
    windows: bool, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows readers of the old file are done, a disk of a network finds its way again."""
    real, hindrances = os.replace, [1, 1]

    def replace(source: Path, target: Path) -> None:
        if hindrances:
            hindrances.pop()
            raise OSError(number, "not now")
        real(source, target)

    monkeypatch.setattr("diptych.host.files.WINDOWS", windows)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr("diptych.host.files.WAITS", (0, 0, 0))
    write_whole(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "new"
    hindrances.extend([1] * 10)
    with pytest.raises(OSError, match="not now"):
        write_whole(tmp_path / "x", "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert len(hindrances) == 6  # (three times it waits)
    monkeypatch.setattr("diptych.host.files.WINDOWS", False)
    number = errno.EACCES  # what does not pass
    with pytest.raises(PermissionError):
        write_whole(tmp_path / "x", "newer")
    assert len(hindrances) == 5


def test_a_model_that_is_loaded_is_not_the_file(trained: Path, tmp_path: Path) -> None:
    """A copy that is written over it byte by byte changes nothing, nor ends the process."""
    path = tmp_path / "model.safetensors"
    path.write_bytes((trained / "model.safetensors").read_bytes())
    translator = load(path, "cpu")
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    expected = translator.to_b(picture)
    with open(path, "r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(bytes(size // 2))
        np.testing.assert_array_equal(translator.to_b(picture), expected)
        file.truncate(10)
    np.testing.assert_array_equal(translator.to_b(picture), expected)


def test_commands_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed("my runs/h2z") == "'my runs/h2z'"
    assert typed(Path("-x")) == "./-x"
    monkeypatch.setattr("diptych.words.os", SimpleNamespace(name="nt"))
    assert typed(r"runs\h2z") == r"runs\h2z"
    assert typed(r"my runs\h2z") == r'"my runs\h2z"'


def test_a_lock_that_cannot_be_signed_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiptychError, match="No space left"), only_one(tmp_path):
        pass
    monkeypatch.undo()
    with only_one(tmp_path) as locked:
        assert locked


def test_towns_that_could_not_be_drawn_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(place: Path, *_: object) -> None:
        place.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("diptych.data.town.write_towns", full)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DiptychError, match=r"demo-towns: No space left"):
        run_demo(RunFolder(Path()), 1, 0, "cpu", SILENT)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
