"""Translating with processes that read and write, as it is done beside a GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from command import LONGEST

from diptych.errors import DiptychError
from diptych.translation import helpers
from diptych.translation.files import Outcome, translate_files
from diptych.translation.helpers import Helpers
from diptych.translation.jobs import Job
from diptych.translation.translator import Translator, load

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="used on Linux only")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Helpers]:
    """Two processes help with any number of pictures. Those that were made."""
    made: list[Helpers] = []

    class Noted(Helpers):
        def __init__(self, count: int, works: helpers.Works) -> None:
            super().__init__(count, works)
            made.append(self)

    monkeypatch.setattr(helpers, "pays", lambda jobs, device: True)
    monkeypatch.setattr(helpers, "MOST", 2)
    monkeypatch.setattr(helpers, "Helpers", Noted)
    return made


@pytest.fixture
def translator(trained: Path) -> Translator:
    return load(trained, "cpu")


def jobs(towns: Path, out: Path) -> list[Job]:
    """Those of all pictures of a folder, and of a broken one."""
    broken = out.parent / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nthat is all")
    sources = [*sorted((towns / "trainA").iterdir()), broken]
    return [Job(source, out / f"{source.stem}.png") for source in sources]


def problems(outcomes: list[Outcome]) -> dict[str, str]:
    """By the names of the sources."""
    return {one.job.source.name: one.problem for one in outcomes if one.problem}


def test_they_write_the_same(
    made: list[Helpers], translator: Translator, towns: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    helped = translate_files(translator, jobs(towns, tmp_path / "helped"), "b")
    monkeypatch.setattr(helpers, "pays", lambda jobs, device: False)
    alone = translate_files(translator, jobs(towns, tmp_path / "alone"), "b")
    assert problems(helped) == problems(alone)
    assert list(problems(helped)) == ["broken.png"]
    for one in (tmp_path / "alone").iterdir():
        assert (tmp_path / "helped" / one.name).read_bytes() == one.read_bytes()
    assert len(made) == 1
    assert [process.exitcode for process in made[0].processes] == [0, 0]


def test_pictures_are_made_without_one_that_was_killed(
    made: list[Helpers], translator: Translator, towns: Path, tmp_path: Path
) -> None:
    def kill(outcome: Outcome) -> None:
        pid = made[0].processes[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    todo = jobs(towns, tmp_path / "out")
    outcomes = translate_files(translator, todo, "b", batch=1, on_done=kill)
    assert len(outcomes) == len(todo)
    assert list(problems(outcomes)) == ["broken.png"]
    assert all(job.target.is_file() for job in todo[:-1])


def test_what_they_cannot_write_ends_it(
    made: list[Helpers], translator: Translator, towns: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(DiptychError, match=r"cannot make the folder .*out: File exists"):
        translate_files(translator, jobs(towns, tmp_path / "out"), "b")
    assert not any(process.is_alive() for process in made[0].processes)


class UnpackableError(Exception):
    """One that can be packed, and not unpacked."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def fail(error: Exception) -> None:
    raise error


def test_what_they_raise_is_raised_here() -> None:
    """Whatever it is; and what cannot be handed over is done here."""
    made = Helpers(
        1, {"raise": fail, "unpackable": lambda _: fail(UnpackableError(1, 2)), "call": call}
    )
    try:
        for _ in range(2):  # (the only process is still there)
            with pytest.raises(ValueError, match="a reason"):
                made.do("raise", ValueError("a reason"))
            with pytest.raises(RuntimeError, match="UnpackableError: 1 and 2"):
                made.do("unpackable", None)
        assert made.do("call", lambda: "here") == "here"
    finally:
        made.close()
    assert made.do("call", lambda: "at the end") == "at the end"


def call(function: Callable[[], str]) -> str:
    return function()


def test_a_system_that_allows_no_more_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = ForkProcess.start
    started: list[ForkProcess] = []

    def start(process: ForkProcess) -> None:
        if len(started) == most:
            raise OSError("no more")
        started.append(process)
        usual(process)

    monkeypatch.setattr(ForkProcess, "start", start)
    for most in (0, 1):
        started.clear()
        made = Helpers(3, {"double": lambda x: 2 * x})
        assert [made.do("double", x) for x in range(3)] == [0, 2, 4]
        made.close()
        assert [process.exitcode for process in started] == [0] * most


@pytest.mark.parametrize("at", ["nothing", "an answer"])
def test_none_stays_behind_when_the_program_is_killed(at: str) -> None:
    program = f"""
import time
from diptych.translation import helpers
made = helpers.Helpers(2, {{"work": lambda _: bytes(2**26)}})
if {at!r} == "an answer":  # (too large to be sent before somebody takes it)
    for connection in made.connections:
        connection.send(("work", None))
    time.sleep(1)
print(*[process.pid for process in made.processes], flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(pids) == 2
    end = time.monotonic() + LONGEST
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)
