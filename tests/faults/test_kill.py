"""A run that was killed at any moment and resumed ends with the bytes of one that was not.

The usual test command kills a few times; ``pytest -m slow tests/faults`` does so 25 times a case.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command, start
from harness import (
    ALONE,
    EVERYTHING,
    TOGETHER,
    contents,
    finish,
    last_step,
    launch,
    leftovers,
    train_with_kills,
    wait_for_writing,
)

from diptych.data import town

STEPS = ["--steps", "30"]
CASES = {
    "float32": [*EVERYTHING, *STEPS],
    "bf16": [*EVERYTHING, *STEPS, "--precision", "bf16", "--evaluate-every", "10"],
    "scored": [*EVERYTHING, *STEPS, "--evaluate-every", "10"],
    "cut": [*EVERYTHING, *STEPS, "--method", "fastcut"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough held-out towns to be scored."""
    folder = tmp_path_factory.mktemp("pictures")
    town.write_towns(folder, train=12, test=8, size=32)
    return folder


def killed_ends_as_unkilled(
    command: list[str], options: list[str], pictures: Path, place: Path, kills: int
) -> None:
    options = ["--data", str(pictures), *options]
    finish(launch(command, "--run", place / "whole", *options))
    hits = train_with_kills(command, options, place / "killed", kills, seed=kills)
    assert hits > kills // 2, "most kills came after the end: make the run longer"
    whole, killed = contents(place / "whole"), contents(place / "killed")
    assert whole.keys() == killed.keys()
    for name, content in whole.items():
        assert killed[name] == content, f"{name} differs"
    assert not leftovers(place / "killed")


def test_a_killed_run_ends_as_one_that_was_not(pictures: Path, tmp_path: Path) -> None:
    killed_ends_as_unkilled(ALONE, CASES["bf16"], pictures, tmp_path, kills=3)


def test_so_it_does_under_torchrun(pictures: Path, tmp_path: Path) -> None:
    options = [*CASES["float32"], "--evaluate-every", "15"]
    killed_ends_as_unkilled(TOGETHER, options, pictures, tmp_path, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_25_kills(case: str, pictures: Path, tmp_path: Path) -> None:
    options = [*CASES[case], "--steps", "150"]
    killed_ends_as_unkilled(ALONE, options, pictures, tmp_path, kills=25)


@pytest.mark.slow
def test_25_kills_under_torchrun(pictures: Path, tmp_path: Path) -> None:
    options = [*CASES["float32"], "--steps", "150", "--evaluate-every", "50"]
    killed_ends_as_unkilled(TOGETHER, options, pictures, tmp_path, kills=25)


@pytest.mark.parametrize("place", ["checkpoints", "samples"])
def test_what_was_half_written_is_swept(place: str, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--data", pictures, *EVERYTHING, "--set", "training.sample_every=1"]
    process = launch(ALONE, "--run", run, *options, "--steps", "100000")
    wait_for_writing(process, run)
    wait_for_writing(process, run)  # now one checkpoint is whole
    while not list((run / place).glob(".*.partial")):
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert leftovers(run), "the kill came too late: nothing was being written"
    finish(launch(ALONE, "--run", run, "--resume", "--steps", str(last_step(run) + 1)))
    assert not leftovers(run)


def test_a_second_process_is_refused_and_the_lock_dies_with_its_owner(
    pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    run = tmp_path / "run"
    first = start("train", "--data", pictures, "--run", run, *EVERYTHING, "--steps", "100000")
    wait_for_writing(first, run)
    second = diptych("train", "--run", run, "--resume")
    assert second.returncode == 1
    assert f"{run} is in use by process {first.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    anew = diptych("train", "--data", pictures, "--run", run, *EVERYTHING, "--steps", "3")
    assert anew.returncode == 2
    first.kill()
    first.communicate()
    after = diptych("train", "--run", run, "--resume", "--steps", str(last_step(run) + 2))
    assert after.returncode == 0, after.stderr
    assert not leftovers(run)
