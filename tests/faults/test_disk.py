"""Full disks, folders that turn read-only or vanish: one line, and the last checkpoint whole."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import LONGEST
from conftest import TINY_OPTIONS, Command, start
from harness import contents
from PIL import Image

from diptych.training import checkpoint

ENDLESS = [
    *TINY_OPTIONS,
    *("--steps", "100000", "--set", "training.checkpoint_every=2"),
    *("--set", "training.log_every=1", "--set", "training.sample_every=100000"),
]
MEGABYTES = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, a few megabytes large."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(["mount", *options]).returncode != 0:
        pytest.skip("may not mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def ends_in_one_line(process: subprocess.Popen[str], *words: str) -> None:
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 1, err
    for word in words:
        assert word in err
    assert len(err.splitlines()) == 1, err


def goes_on_from_a_whole_checkpoint(run: Path, diptych: Command) -> None:
    step, _, _, problems = checkpoint.read_newest(run / "checkpoints")
    assert not problems
    done = diptych("train", "--run", run, "--resume", "--steps", str(step + 3))
    assert done.returncode == 0, done.stderr


def fill(place: Path) -> Path:
    """Take all that is free."""
    filler = place / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(handle, bytes(1 << 12))
    os.close(handle)
    return filler


def test_a_disk_that_fills_up_on_the_way(small_disk: Path, towns: Path, diptych: Command) -> None:
    run = small_disk / "run"
    process = start("train", "--data", towns, "--run", run, *ENDLESS)
    wait_for_checkpoints(process, run)
    filler = fill(small_disk)
    ends_in_one_line(process, f"cannot write the run {run}", "No space left on device")
    filler.unlink()
    goes_on_from_a_whole_checkpoint(run, diptych)


def test_a_disk_that_is_too_small_is_known_before(
    small_disk: Path, towns: Path, diptych: Command
) -> None:
    run = small_disk / "run"
    done = diptych(
        "train", "--data", towns, "--run", run, *TINY_OPTIONS, "--steps", "5",
        "--set", "generator.width=64",
    )  # fmt: skip
    assert done.returncode == 1
    assert "the run needs about" in done.stderr
    assert f"the disk of {run}" in done.stderr
    assert not list((run / "checkpoints").iterdir())


def test_a_disk_that_is_too_small_for_the_cache_is_known_soon(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diptych: Command
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(small_disk))
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (400, 400), colour).save(tmp_path / name / "0.png")
        for i in range(1, 200):  # (of half a megabyte each, decoded)
            os.link(tmp_path / name / "0.png", tmp_path / name / f"{i}.png")
    done = diptych("train", tmp_path / "a", tmp_path / "b", "--run", tmp_path / "run",
                   *TINY_OPTIONS, "--steps", "1", "--preprocess", "crop")  # fmt: skip
    assert done.returncode == 1
    assert "decoded pictures take about 0.1 GB more" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not [path for path in small_disk.iterdir() if path.name.endswith(".partial")]


def test_files_that_may_not_grow(towns: Path, tmp_path: Path, diptych: Command) -> None:
    """A limit on the size of files (EFBIG), as quotas set it."""
    run = tmp_path / "run"
    first = diptych(
        "train", "--data", towns, "--run", run, *ENDLESS, "--max-minutes", "0.01"
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    whole = contents(run)
    limited = subprocess.run(
        [sys.executable, "-m", "diptych", "train", "--run", str(run), "--resume"],
        capture_output=True, text=True, timeout=LONGEST,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    assert limited.returncode == 1
    assert "File too large" in limited.stderr
    assert len(limited.stderr.splitlines()) == 1, limited.stderr
    assert contents(run)["newest"] == whole["newest"]
    goes_on_from_a_whole_checkpoint(run, diptych)


def test_a_folder_that_turns_read_only(small_disk: Path, towns: Path, diptych: Command) -> None:
    run = small_disk / "run"
    process = start("train", "--data", towns, "--run", run, *ENDLESS)
    wait_for_checkpoints(process, run)
    subprocess.run(["mount", "--bind", str(run), str(run)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(run)], check=True)
    try:
        ends_in_one_line(process, f"cannot write the run {run}", "Read-only file system")
    finally:
        subprocess.run(["umount", "--lazy", str(run)], check=True)
    goes_on_from_a_whole_checkpoint(run, diptych)


def test_a_run_folder_that_is_removed(towns: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("train", "--data", towns, "--run", run, *ENDLESS)
    wait_for_checkpoints(process, run)
    os.rename(run, tmp_path / "elsewhere")
    ends_in_one_line(process, f"cannot write the run {run}", "No such file or directory")
    assert not run.exists()
    step, _, _, problems = checkpoint.read_newest(tmp_path / "elsewhere" / "checkpoints")
    assert step > 0
    assert not problems


def wait_for_checkpoints(process: subprocess.Popen[str], run: Path) -> None:
    while len(checkpoint.checkpoints(run / "checkpoints")) < 2:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
