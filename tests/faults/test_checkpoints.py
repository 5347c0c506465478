"""Checkpoints that are damaged, newer, or older than this version of diptych."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command
from harness import last_step
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diptych.errors import DiptychError
from diptych.model_file import load_model
from diptych.training import checkpoint
from diptych.training.run_folder import RunFolder
from diptych.training.start import resume_run

CPU = torch.device("cpu")
PARTS = ["model", "networks", "optimizer-G", "optimizer-D", "process-0"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [flip, cut, empty, Path.unlink], ids=lambda f: f.__name__)
@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_part_is_named_and_the_checkpoint_before_is_used(
    part: str, harm: Callable[[Path], None], trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    harm(tmp_path / "checkpoints" / "step-00000012" / f"{part}.safetensors")
    step, _, _, (problem,) = checkpoint.read_newest(tmp_path / "checkpoints")
    assert step == 8
    assert "step-00000012" in problem
    assert part in problem


@pytest.mark.parametrize("harm", [cut, empty, Path.unlink], ids=lambda f: f.__name__)
def test_so_it_is_without_a_manifest(
    harm: Callable[[Path], None], trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    harm(tmp_path / "checkpoints" / "step-00000012" / "manifest.json")
    step, _, _, (problem,) = checkpoint.read_newest(tmp_path / "checkpoints")
    assert step == 8
    assert "step-00000012 is not whole" in problem


@pytest.mark.parametrize(
    ("key", "value"), [("step", 4), ("numbers", None), ("setbacks", 1), ("processes", 2)]
)
def test_so_it_is_where_a_manifest_says_something_else(
    key: str, value: object, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    file = tmp_path / "checkpoints" / "step-00000012" / "manifest.json"
    manifest = json.loads(file.read_text())
    (manifest if key in manifest else manifest["numbers"])[key] = value
    file.write_text(json.dumps(manifest))
    step, _, _, (problem,) = checkpoint.read_newest(tmp_path / "checkpoints")
    assert step == 8
    assert "step-00000012 is damaged: its manifest has changed" in problem


def test_a_checkpoint_under_another_name_is_not_that_step(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(trained / "checkpoints", folder)
    shutil.copytree(folder / "step-00000004", folder / "step-00000016")
    step, _, _, (problem,) = checkpoint.read_newest(folder)
    assert step == 12
    assert "step-00000016 is damaged: its manifest has changed" in problem


def test_damaged_ones_do_not_push_out_what_is_made_after_them(
    trained: Path, tmp_path: Path
) -> None:
    """Four checkpoints of which three are damaged, and the steps to them are made again."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained, run.path)
    newest = run.checkpoints / "step-00000012"
    for step in (13, 14):
        shutil.copytree(newest, run.checkpoints / f"step-{step:08}")
    for path in checkpoint.checkpoints(run.checkpoints)[-3:]:
        cut(path / "model.safetensors")
    assert not resume_run(run, max_minutes=0)
    assert checkpoint.read_newest(run.checkpoints)[0] == 9
    assert not resume_run(run, max_minutes=0)
    assert checkpoint.read_newest(run.checkpoints)[0] == 10


def test_one_that_was_about_to_be_replaced_gets_its_name_back(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    """A process was killed after it had moved it away, and before the new one had its name."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    *_, newest = checkpoint.checkpoints(run / "checkpoints")
    for other in checkpoint.checkpoints(run / "checkpoints")[:-1]:
        shutil.rmtree(other)
    newest.rename(newest.with_name(f".{newest.name}.old.partial"))
    done = diptych("train", "--run", run, "--resume", "--steps", str(last_step(trained) + 1))
    assert done.returncode == 0, done.stderr
    assert last_step(run) == last_step(trained) + 1
    checkpoint.read(newest)
    assert not list((run / "checkpoints").glob(".*"))


def test_a_stop_while_one_is_replaced_costs_neither(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(trained / "checkpoints" / "step-00000012", folder / "step-00000012")
    aside = checkpoint.stage(folder, 12)
    checkpoint.write_part(aside, "model", {"w": torch.zeros(2)})

    def stopped(source: Path, target: Path) -> None:
        if source == aside:
            raise KeyboardInterrupt
        source.rename(target)

    monkeypatch.setattr(checkpoint, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.finish(folder, 12, {})
    monkeypatch.undo()
    checkpoint.sweep(folder)
    step, _, parts, _ = checkpoint.read_newest(folder)
    assert (step, list(parts)) == (12, ["model"])


def test_of_one_that_was_damaged_the_new_one_gets_the_name(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(trained / "checkpoints", folder)
    damaged, new = folder / ".step-00000012.old.partial", folder / ".step-00000012.partial"
    shutil.copytree(folder / "step-00000012", damaged)
    cut(damaged / "model.safetensors")
    (folder / "step-00000012").rename(new)
    checkpoint.sweep(folder)
    assert checkpoint.read_newest(folder)[0] == 12
    assert not list(folder.glob(".*"))


def test_the_command_says_so_and_goes_on(trained: Path, tmp_path: Path, diptych: Command) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    flip(run / "checkpoints" / "step-00000012" / "optimizer-G.safetensors")
    done = diptych("train", "--run", run, "--resume")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "step-00000012 is damaged: optimizer-G.safetensors has changed" in said
    assert "going on from step 8" in said
    for part in PARTS:  # the four steps were made again, to the same bytes
        name = Path("checkpoints", "step-00000012", f"{part}.safetensors")
        assert (run / name).read_bytes() == (trained / name).read_bytes()


def test_another_format_is_refused_in_one_line(trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "step-00000012"
    shutil.copytree(trained / "checkpoints" / place.name, place)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["format"] = checkpoint.FORMAT + 1
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DiptychError, match=r"by a newer diptych: update"):
        checkpoint.read(place)
    manifest["format"] = checkpoint.FORMAT - 1
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DiptychError, match=r"is of before the first version"):
        checkpoint.read(place)
    manifest["format"] = checkpoint.FORMAT + 1
    (place / "manifest.json").write_text(json.dumps(manifest))
    shutil.copytree(trained / "checkpoints" / "step-00000008", tmp_path / "step-00000008")
    with pytest.raises(DiptychError, match=r"by a newer diptych: update"):
        checkpoint.read_newest(tmp_path)  # (the one before would be an older state)

    model = trained / "model.safetensors"
    with safe_open(model, framework="pt") as file:
        info = json.loads(file.metadata()["diptych"])
    info["format"] += 1
    save_file(load_file(model), tmp_path / "new.safetensors", {"diptych": json.dumps(info)})
    with pytest.raises(DiptychError, match=r"by a newer diptych: update"):
        load_model(tmp_path / "new.safetensors", CPU)


def test_a_checkpoint_of_a_newer_diptych_is_not_passed_over(trained: Path, tmp_path: Path) -> None:
    """The one before would be an older state."""
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    manifest = tmp_path / "checkpoints" / "step-00000012" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(DiptychError, match="written by a newer diptych"):
        checkpoint.read_newest(tmp_path / "checkpoints")
    manifest.write_text("[" * 100_000)
    assert checkpoint.read_newest(tmp_path / "checkpoints").step == 8
