"""What the tests share: a small set of towns on the disk, a tiny training, the real command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# One thread each: processes that the tests start must not fight over the cores.
os.environ["OMP_NUM_THREADS"] = "1"
# A script lets its background jobs ignore Ctrl-C, and they would hand that on to those processes.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from command import LONGEST, Commands

from diptych.data import town
from diptych.data.pixels import PixelFormat
from diptych.host.processor import multiplies_bytes

if TYPE_CHECKING:
    from web import Server

SHARED = Path(__file__).parents[2] / "shared"
needs_vnni = pytest.mark.skipif(not multiplies_bytes(), reason="this processor has no VNNI")

TINY = {
    "data": {"size": 32},
    "generator": {"width": 4, "blocks": 1},
    "discriminator": {"width": 4, "layers": 1},
    "training": {
        "steps": 12,
        "samples": 2,
        "log_every": 3,
        "sample_every": 6,
        "checkpoint_every": 4,
        "device": "cpu",
        "precision": "float32",  # the same numbers on every machine
    },
}
TINY_OPTIONS = [
    option
    for section, values in TINY.items()
    for key, value in values.items()
    if key != "steps"
    for option in ("--set", f"{section}.{key}={value}")
]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["DIPTYCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """trainA, trainB with 10 pictures of 32 px each; testA, testB with 4 true pairs."""
    folder = tmp_path_factory.mktemp("towns")
    town.write_towns(folder, train=10, test=4, size=32)
    return folder


def start(*arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The real command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "diptych", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def whole_command(
    *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    with start(*arguments, cwd=cwd) as process:
        out, err = process.communicate(timeout=LONGEST)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def diptych(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run the real command to its end: ``diptych("train", ...)``."""
    if sys.platform != "linux":  # elsewhere PyTorch does not bear to be forked
        yield whole_command
        return
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands.run
    commands.close()


@pytest.fixture(scope="session")
def trained(towns: Path, diptych: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    options = ["--preset", "repaint", "--steps", "12", *TINY_OPTIONS]
    done = diptych("train", "--data", towns, "--run", run, *options)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="session")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``diptych ui`` with five models: tiny, one-way, deep (16 bits to floats), many (channels),
    retouch (changes pictures)."""
    pytest.importorskip("gradio", reason="the extra [web] is not installed")
    from retouching import RETOUCH, saved
    from web import deep_model, one_way_model, running

    folder = tmp_path_factory.mktemp("served")
    sixteen, floats = PixelFormat(1, "uint16", 0, 4095), PixelFormat(1, "float32", -1, 1)
    five = PixelFormat(5, "uint16", (0,) * 5, (9, 9, 9, 9, 8))
    runs = [
        trained,
        one_way_model(trained, folder / "one-way.safetensors"),
        deep_model(trained, folder / "deep.safetensors", sixteen, floats),
        deep_model(trained, folder / "many.safetensors", five, sixteen),
        saved(folder / "retouch.safetensors", RETOUCH),
    ]
    with running(folder / "notes", runs) as server:
        yield server
