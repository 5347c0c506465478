"""Being told to stop: the step is finished, everything is saved, and nothing is left out."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import LONGEST
from conftest import TINY_OPTIONS, Command, start
from harness import ALONE, contents, finish, launch, leftovers, wait_for_writing
from PIL import Image

from diptych.data import town
from diptych.training.checkpoint import checkpoints

OPTIONS = [*TINY_OPTIONS, "--set", "training.log_every=1", "--set", "training.checkpoint_every=3"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    town.write_towns(folder, train=12, test=24, size=32)
    return folder


def writing_for_long(
    pictures: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> subprocess.Popen[str]:
    """A training in the middle of writing a checkpoint, which takes seconds on this disk."""
    monkeypatch.setenv("FLUSH_SECONDS", "1")
    process = launch(ALONE, "--data", pictures, "--run", run, *OPTIONS, "--steps", "100000")
    monkeypatch.undo()
    wait_for_writing(process, run)
    return process


def test_a_second_signal_ends_at_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of writing, which takes seconds on this disk."""
    run = tmp_path / "run"
    process = writing_for_long(pictures, run, monkeypatch)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)  # (two within the same moment would count as one)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LONGEST)
    assert process.returncode in (130, 143)
    assert checkpoints(run / "checkpoints") == []
    finish(launch(ALONE, "--run", run, "--resume", "--steps", "3"))
    assert not leftovers(run)


def test_a_sigterm_that_is_handed_on_is_the_same(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster tells all processes to end, and torchrun its workers once more."""
    run = tmp_path / "run"
    process = writing_for_long(pictures, run, monkeypatch)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 143, err
    assert "all saved" in err
    assert checkpoints(run / "checkpoints")


def test_a_signal_while_scoring_leaves_the_scores_for_later(
    pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    """They are made up for, and the run ends as one that was never asked to stop."""
    options = ["--data", pictures, *OPTIONS, "--steps", "12", "--evaluate-every", "6"]
    whole = diptych("train", *options, "--run", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    run = tmp_path / "stopped"
    for last in (6, 12):
        resume = ["--run", run, "--resume"] if last == 12 else ["--run", run, *options]
        process = start("train", *resume)
        wait_for_step(process, run, last)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=LONGEST)
        assert process.returncode == 143, err
        assert f"stopped at step {last}, all saved" in err
        steps = scored(run)
        assert last not in steps, "the signal came after the scores: more pictures would help"
    done = diptych("train", "--run", run, "--resume")
    assert done.returncode == 0, done.stderr
    assert scored(run) == [6, 12]
    assert contents(run) == contents(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cache_that_is_not_done_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        noise = np.random.default_rng(ord(name)).integers(0, 256, (900, 900, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / name / "0.png")
        for i in range(1, 200):
            (tmp_path / name / f"{i}.png").hardlink_to(tmp_path / name / "0.png")
    cache = tmp_path / "cache"
    monkeypatch.setenv("DIPTYCH_CACHE", str(cache))
    folders = [tmp_path / "a", tmp_path / "b"]
    process = start("train", *folders, "--run", tmp_path / "run", *OPTIONS, "--steps", "2")
    while not list(cache.glob("*.partial/pixels.bin")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate(timeout=LONGEST)
    assert (process.returncode, err) == (128 + number, "diptych: interrupted\n")
    assert list(cache.iterdir()) == []
    assert not (tmp_path / "run").exists()


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    """Return when a step has been logged; its scores are then being made."""
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or f'"step": {step},' not in metrics.read_text():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


def scored(run: Path) -> list[int]:
    path = run / "evaluations.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines]


def test_a_terminal_that_is_closed(pictures: Path, tmp_path: Path) -> None:
    """What it says on its way out reaches nobody; the work is saved all the same."""
    run = tmp_path / "run"
    options = ["--data", pictures, "--run", run, *OPTIONS, "--steps", "100000"]
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "diptych", "train", *map(str, options)])
    shown = b""
    while b"step 1" not in shown:
        shown += os.read(terminal, 10_000)
    os.close(terminal)
    assert os.waitpid(child, 0)[0] == child
    newest = max((run / "checkpoints").glob("step-*"))
    step = int(newest.name.removeprefix("step-"))
    assert step % 3 or step == len((run / "metrics.jsonl").read_text().splitlines())
    finish(launch(ALONE, "--run", run, "--resume", "--steps", str(step + 2)))
    assert not leftovers(run)


def test_nohup_goes_on(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--data", pictures, "--run", run, *OPTIONS, "--steps", "12"]
    process = launch(["nohup", *ALONE], *options)
    wait_for_step(process, run, 1)
    process.send_signal(signal.SIGHUP)
    finish(process)


def test_max_minutes_saves_and_ends_well(pictures: Path, tmp_path: Path, diptych: Command) -> None:
    """Counted from the command: less than it takes to begin leaves one step."""
    options = ["--data", pictures, *OPTIONS, "--steps", "5"]
    assert diptych("train", *options, "--run", tmp_path / "whole").returncode == 0
    run = tmp_path / "parts"
    parts = [diptych("train", *options, "--run", run, "--max-minutes", "0.001")]
    while "next: diptych train" in parts[-1].stdout:
        assert parts[-1].returncode == 0, parts[-1].stderr
        assert f"next: diptych train --run {run} --resume" in " ".join(parts[-1].stdout.split())
        parts.append(diptych("train", "--run", run, "--resume", "--max-minutes", "0.001"))
    assert len(parts) == 5
    assert "done: 5 steps" in parts[-1].stdout
    assert contents(run) == contents(tmp_path / "whole")
