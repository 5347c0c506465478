"""Training as people do it: real processes, real kills, and what is left on the disk."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from command import LONGEST
from conftest import TINY, TINY_OPTIONS, Command, start
from PIL import Image
from safetensors.torch import load_file

import diptych as package
from diptych.config import LossConfig
from diptych.data.domain import Folders, data_folders, open_domains
from diptych.data.looking import read_for_looking
from diptych.data.pixels import RGB, PixelFormat
from diptych.errors import DiptychError, UsageError
from diptych.host.interrupt import InterruptedRunError, StopNowError, StopRequest
from diptych.host.surroundings import shared, usual_torch
from diptych.model_file import load_model, read_info, save_model
from diptych.networks.blocks import count_parameters
from diptych.settings import build_config, merge, parse_assignment, preset_names, read_preset
from diptych.training import checkpoint
from diptych.training.choice import make_config
from diptych.training.health import Health
from diptych.training.keeper import MOST_UNSAVED
from diptych.training.learned import runs_before
from diptych.training.log import Log
from diptych.training.loss_sums import LossSums
from diptych.training.records import append_line
from diptych.training.remarks import _of_settings
from diptych.training.room import bytes_needed, memory_needed
from diptych.training.run_folder import RunFolder
from diptych.training.schedule import Plateau
from diptych.training.session import Listener
from diptych.training.start import resume_run, start_run
from diptych.training.state import TrainingState
from diptych.training.step import Stepper
from diptych.training.trainer import Trainer
from diptych.training.watch import Status

CPU = torch.device("cpu")


def config(**sections: Any) -> Any:
    return build_config(merge(TINY, sections))


def trainer(towns: Path, **sections: Any) -> Trainer:
    settings = config(**sections)
    a, b = open_domains(data_folders(towns), settings)
    return Trainer(settings, RunFolder(Path("unused")), a, b, CPU)


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.state.model.parameters()])


def contents(run: Path) -> dict[str, Any]:
    """All that a training made, but for the times it took."""
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in metrics:
        line.pop("seconds")
    newest = max((run / "checkpoints").iterdir())
    found: dict[str, Any] = {"metrics": metrics, "checkpoint": newest.name}
    for path in [*newest.glob("*.safetensors"), run / "model.safetensors", *run.glob("samples/*")]:
        found[str(path.relative_to(run))] = path.read_bytes()
    return found


def test_from_afar_noise_is_what_the_settings_say(
    towns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D judges means of squares, which have less noise than their pixels."""
    seen = []

    def body(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x.mean((2, 3))

    one = trainer(
        towns, data={"size": 64}, discriminator={"sees": 16, "padding": False},
        loss={"noise": 0.3, "noise_end": 0.1}, training={"steps": 2},
    )  # fmt: skip
    one.stepper.working_copy, one.stepper.model = None, one.state.model
    for D in (one.state.model.D_a, one.state.model.D_b):
        monkeypatch.setattr(D.body, "forward", body)
    black = torch.zeros(1, 3, 64, 64)
    monkeypatch.setattr(one.stepper, "_batch", lambda i: (black, black))
    with pytest.raises(RuntimeError):  # (the stand-in has nothing to learn)
        one.step()
    *_, real_and_fake = seen
    assert real_and_fake.shape[2:] == (16, 16)
    assert float(real_and_fake[0].std()) == pytest.approx(0.3, rel=0.15)


def wait_for(condition: Any, seconds: float = 120) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def test_a_run_folder_holds_everything(trained: Path) -> None:
    assert sorted(p.name for p in trained.iterdir()) == [
        "checkpoints", "config.yaml", "data.json", "metrics.jsonl", "model.safetensors",
        "pictures.json", "samples", "tensorboard",
    ]  # fmt: skip
    kept = ["step-00000004", "step-00000008", "step-00000012"]
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == kept
    assert sorted(p.name for p in (trained / "samples").iterdir()) == [
        "step-00000006.png", "step-00000012.png",
    ]  # fmt: skip
    settings = yaml.safe_load((trained / "config.yaml").read_text())
    assert settings["training"]["steps"] == 12
    assert settings["made_with"]["torch"] == torch.__version__
    lines = RunFolder(trained).read_metrics()
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    assert {"cycle_a", "identity_b", "G_ab/adversarial", "D_a", "rate", "seconds"} <= set(lines[0])


def test_an_installed_package_names_no_revision_of_the_repository_around_it(tmp_path: Path) -> None:
    """A virtual environment often lies in the checkout of something else."""
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    packages = tmp_path / ".venv" / "lib" / "python3" / "site-packages"
    shutil.copytree(Path(package.__file__).parent, packages / "diptych")
    ask = (
        "from diptych.training.provenance import made_with; "
        "from diptych.config import Config; print(*made_with(Config()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=packages, env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True, text=True, timeout=LONGEST, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [
        *["diptych", "torch", "python", "machine"],
        *["processor", "device", "precision", "threads"],
    ]


def test_tensorboard_has_the_scalars_and_pictures(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    written = {e.step: e.value for e in events.Scalars("cycle_a")}
    logged = {line["step"]: line["cycle_a"] for line in RunFolder(trained).read_metrics()}
    assert written == pytest.approx(logged)
    assert [picture.step for picture in events.Images("samples")] == [6, 12]


@pytest.mark.parametrize(("half_life", "precision"), [(0, "float32"), (5, "bf16")])
def test_a_killed_and_resumed_run_ends_with_the_same_bytes(
    towns: Path, tmp_path: Path, diptych: Command, half_life: int, precision: str
) -> None:
    options = ["train", "--data", str(towns), *TINY_OPTIONS]
    options += ["--set", f"training.ema_half_life={half_life}"]
    options += ["--set", f"training.precision={precision}"]
    options += ["--steps", "60", "--set", "training.history=3"]
    options += ["--set", "generator.dropout=0.3"]
    whole = diptych(*options, "--run", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    process = start(*options, "--run", tmp_path / "killed")
    wait_for(lambda: (tmp_path / "killed" / "checkpoints" / "step-00000020").exists())
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "checkpoints" / "step-00000060").exists(), "killed too late"
    resumed = diptych("train", "--run", tmp_path / "killed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)]
)
def test_a_signal_saves_and_says_how_to_go_on(
    towns: Path, tmp_path: Path, diptych: Command, number: int, code: int
) -> None:
    options = ["--set", "training.checkpoint_every=100000", "--steps", "100000"]
    run = tmp_path / "run"
    process = start("train", "--data", towns, "--run", run, *TINY_OPTIONS, *options)
    wait_for(lambda: (run / "metrics.jsonl").exists() and RunFolder(run).read_metrics())
    process.send_signal(number)
    out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == code, out + err
    assert f"diptych train --run {run} --resume" in err
    assert len(err.splitlines()) == 1
    (saved,) = (run / "checkpoints").iterdir()
    step = int(saved.name.removeprefix("step-"))
    longer = diptych("train", "--run", run, "--resume", "--steps", str(step + 5))
    assert longer.returncode == 0, longer.stderr
    assert RunFolder(run).read_metrics()[-1]["step"] == step + 5
    assert "finished already" in diptych("train", "--run", run, "--resume").stdout


def test_a_slip_in_resume_starts_no_new_training(towns: Path, tmp_path: Path) -> None:
    for slip in ("yes", "if_there", "True"):
        with pytest.raises(UsageError, match=f"resume '{slip}': give True, False, or 'if-there'"):
            package.train(data=towns, run=tmp_path / "run", settings=TINY, resume=slip)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("at", [3, 8], ids=["on the way", "in the last step"])
def test_ctrl_c_ends_a_program_too(at: int, towns: Path, tmp_path: Path) -> None:
    def press(status: Status) -> None:
        if status.step == at:
            signal.raise_signal(signal.SIGINT)

    settings = merge(TINY, {"training": {"steps": 8}})
    with pytest.raises(KeyboardInterrupt, match="all saved"):  # (no DiptychError: loops go on)
        package.train(data=towns, run=tmp_path / "run", settings=settings, watch=press)
    if at < 8:
        package.train(run=tmp_path / "run", resume=True)
    assert read_info(tmp_path / "run" / "model.safetensors").step == 8
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        with pytest.raises(InterruptedRunError, match="all saved"):
            package.train(
                data=towns, run=tmp_path / "other", settings=settings,
                watch=lambda status: status.step == at and signal.raise_signal(signal.SIGTERM),
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked == [signal.SIGTERM]  # the program's own answer


def test_sigterm_ends_a_program_that_has_saved(towns: Path, tmp_path: Path) -> None:
    program = (
        "import diptych, signal\n"
        f"diptych.train(data={str(towns)!r}, run='run', settings={TINY!r},\n"
        "    watch=lambda status: status.step == 3 and signal.raise_signal(signal.SIGTERM))\n"
        "print('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
        timeout=LONGEST,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
    assert read_info(tmp_path / "run" / "model.safetensors").step == 4


def test_advice_that_is_an_error_to_a_program_costs_no_step(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.train(data=towns, run=tmp_path / "usual", settings=TINY)
    advice = {6: ["a lower rate is better"]}
    monkeypatch.setattr(Health, "look_at_losses", lambda self, step, losses: advice.get(step, []))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="a lower rate")
        with pytest.raises(UserWarning, match="a lower rate"):
            package.train(data=towns, run=tmp_path / "run", settings=TINY)
    assert read_info(tmp_path / "run" / "model.safetensors").step == 6
    package.train(run=tmp_path / "run", resume=True)
    usual, run = (tmp_path / name / "model.safetensors" for name in ("usual", "run"))
    assert run.read_bytes() == usual.read_bytes()
    samples = [sorted(os.listdir(tmp_path / name / "samples")) for name in ("usual", "run")]
    assert samples[0] == samples[1]


def test_a_training_leaves_nothing_in_memory(towns: Path, tmp_path: Path) -> None:
    def alive() -> set[int]:
        return {id(each) for each in gc.get_objects() if type(each) in (Stepper, TrainingState)}

    package.train(data=towns, run=tmp_path / "first", settings=TINY)
    before = alive()  # (of other tests, too)
    gc.disable()  # what refers to itself would stay
    try:
        package.train(data=towns, run=tmp_path / "second", settings=TINY)
        assert alive() <= before
    finally:
        gc.enable()


def test_a_job_that_is_queued_again_goes_on_by_the_same_command(
    towns: Path, tmp_path: Path, diptych: Command
) -> None:
    run = tmp_path / "run"
    options = ["--data", towns, *TINY_OPTIONS, "--steps", "8", "--seed", "3",
               "--preset", "laptop", "--config", tmp_path / "own.yaml"]  # fmt: skip
    job = ["train", "--run", run, *options, "--resume-if-there"]
    (tmp_path / "own.yaml").write_text("loss:\n  cycle: 2.5\ntraining:\n  features: null")
    first = diptych(*job, "--max-minutes", "0")
    assert first.returncode == 0, first.stderr
    assert read_info(run / "model.safetensors").step == 1
    for _ in range(2):  # (once it is finished, too)
        again = diptych(*job)
        assert again.returncode == 0, again.stderr
        assert read_info(run / "model.safetensors").step == 8
    assert diptych("train", "--run", tmp_path / "whole", *options).returncode == 0
    assert contents(run)["model.safetensors"] == contents(tmp_path / "whole")["model.safetensors"]
    (tmp_path / "other.yaml").write_text("loss:\n  cycle: 3")
    for other, said in (
        (["--batch", "3"], "(training.batch is"),
        (["--config", tmp_path / "other.yaml"], "(loss.cycle is 2.5 in the run, not 3"),
        (["--from", tmp_path / "whole"], "(training.start_from is None in the run, not"),
        (["--set", "preset=repaint"], "the presets laptop and repaint are both given"),
        (["--preset", "repaint"], "(preset is laptop in the run, not repaint)"),
    ):
        refused = diptych(*job, *other)
        assert refused.returncode == 2
        assert said in refused.stderr
    plain = diptych("train", "--run", run, "--resume", "--size", "32", "--steps", "9")
    assert plain.returncode == 0, plain.stderr  # (which is its size)
    assert "its learning rate follows the whole of it" in " ".join(plain.stdout.split())


def test_a_job_may_start_from_a_checkpoint_and_take_its_runs_settings(
    towns: Path, trained: Path, tmp_path: Path, diptych: Command
) -> None:
    """The same words mean the same the second time, however they spell a place."""
    shutil.copytree(trained, tmp_path / "old")
    step = Path("old", "checkpoints", "step-00000008")
    job = ["train", "--data", towns, "--steps", "2", "--resume-if-there", "--method", "fastcut",
           "--config", "old/config.yaml"]  # fmt: skip
    for name, own in (("1", ["--from", step]), ("2", ["--set", f"training.start_from={step}"])):
        for again in range(2):
            done = diptych(*job, "--run", name, *own, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert ("learned from the start" in done.stdout) == (not again)  # (CUT's own network)
        config = RunFolder(tmp_path / name).config()
        assert Path(config.training.start_from) == (tmp_path / step)
    other = diptych(*job, "--run", "1", "--from", "old/../old/checkpoints/step-00000008",
                    cwd=tmp_path)  # fmt: skip
    assert other.returncode == 0, other.stderr

    shutil.copytree(tmp_path / step, tmp_path / "copy")
    shutil.rmtree(tmp_path / step)  # (as when the run has gone on)
    assert [run.path.name for run in runs_before(RunFolder(tmp_path / "1").config())] == ["old"]
    for name in ("elsewhere", "old/checkpoints"):
        place = tmp_path / name / "step-00000008"
        shutil.copytree(tmp_path / "copy", place)
        inside = diptych("train", "--data", towns, "--from", ".", "--steps", "1",
                         "--run", tmp_path / f"of-{len(name)}", cwd=place)  # fmt: skip
        assert inside.returncode == 0, inside.stderr
    plain = ["train", "--data", towns, "--from", step, "--run", "3", "--steps", "2"]
    rate = ["--set", "optimizer.rate=1e-9", "--set", "training.ema_half_life=0"]
    done = diptych(*plain, *rate, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "learned from the start" not in done.stdout
    before = checkpoint.read(tmp_path / step).parts
    after = checkpoint.read_newest(tmp_path / "3" / "checkpoints").parts
    for part in ("model", "networks"):  # (discriminators too)
        for name, value in after[part].items():
            assert torch.allclose(value, before[part][name], atol=1e-6)


def test_numbers_of_jobs_are_no_octal_ones() -> None:
    assert parse_assignment("training.seed=010") == {"training": {"seed": 10}}
    assert parse_assignment("training.seed=000") == {"training": {"seed": 0}}


def test_a_long_step_is_saved_by_the_clock(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("diptych.training.keeper.time.monotonic", lambda: now)
    settings = merge(TINY, {"training": {"checkpoint_every": 1000, "steps": 5}})
    saved = []

    def look(status: Status) -> None:
        nonlocal now
        found = checkpoint.checkpoints(tmp_path / "run" / "checkpoints")
        saved.append([path.name for path in found])
        now += 60 * (MOST_UNSAVED - 1)

    package.train(data=towns, run=tmp_path / "run", settings=settings, watch=look)
    third, fifth = "step-00000003", "step-00000005"
    assert saved == [[], [], [third], [third], [third, fifth]]


def test_a_background_job_of_a_script_ignores_ctrl_c(towns: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for its children
    try:
        process = start("train", "--data", towns, "--run", run, *TINY_OPTIONS, "--steps", "300")
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for(lambda: (run / "metrics.jsonl").exists() and RunFolder(run).read_metrics())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert RunFolder(run).read_metrics()[-1]["step"] == 300


def test_the_newest_checkpoint_that_is_whole_is_used(towns: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    start_run(data_folders(towns), RunFolder(run), config())
    newest = run / "checkpoints" / "step-00000012" / "model.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    again = trainer(towns)
    (problem,) = again.state.load(run / "checkpoints")
    assert "step-00000012 is damaged" in problem
    assert again.state.step == 8
    for path in (run / "checkpoints").iterdir():
        (path / "manifest.json").write_text("{")  # cut short
    with pytest.raises(DiptychError, match="no checkpoint to resume from"):
        again.state.load(run / "checkpoints")


def test_a_resumed_run_keeps_its_rate_and_its_scale(towns: Path, tmp_path: Path) -> None:
    settings = {"optimizer": {"schedule": "plateau"}, "training": {"precision": "fp16"}}
    one, again = (trainer(towns, **settings) for _ in range(2))
    one.step()
    one.state.setbacks, one.state.seconds = 1, 7.5
    one.state.plateau = replace(one.state.plateau, best=0.5, waited=3, share=0.1)
    one.state.save(tmp_path, one.keeper.pair())
    assert not again.state.load(tmp_path)
    assert again.rate() == one.rate() == pytest.approx(2e-4 * 0.1 * 0.5)
    assert again.state.plateau == one.state.plateau
    assert again.state.scaler.state_dict() == one.state.scaler.state_dict()
    assert again.state.seconds == 7.5


def test_a_checkpoint_of_other_networks_is_refused(trained: Path, towns: Path) -> None:
    other = trainer(towns, generator={"width": 8})
    with pytest.raises(DiptychError, match=r"generator.width was 4 and is 8 now.*take that back"):
        other.state.load(trained / "checkpoints")


def test_a_run_without_one_of_its_files_says_what_to_do(
    trained: Path, towns: Path, tmp_path: Path, diptych: Command
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    for name in ("data.json", "config.yaml"):
        kept = (tmp_path / "run" / name).read_bytes()
        for content in (b"{ cut", None):
            (tmp_path / "run" / name).unlink()
            if content is not None and name == "data.json":
                (tmp_path / "run" / name).write_bytes(content)
            for command in (
                ["train", "--run", tmp_path / "run", "--resume", "--steps", "99"],
                ["train", "--data", towns, "--run", tmp_path / "run", "--resume-if-there"],
                ["report", tmp_path / "run"],
            ):
                done = diptych(*command)
                assert done.returncode == 1
                assert f"{name} is missing or damaged: bring it back" in done.stderr, command
                assert "--from" in done.stderr
            (tmp_path / "run" / name).write_bytes(kept)


def test_settings_that_were_edited_are_named(towns: Path, tmp_path: Path) -> None:
    """But not the length, which a command may change."""
    one = trainer(towns)
    one.state.save(tmp_path, one.keeper.pair())
    edited = trainer(towns, loss={"cycle": 9.0}, optimizer={"patience": 3})
    (said,) = edited.state.load(tmp_path)
    assert said == (
        "config.yaml has been edited, and the run goes on as it says: loss.cycle was 10.0 and is "
        "9.0 now, optimizer.patience was 10 and is 3 now"
    )
    assert not trainer(towns, training={"steps": 99}).state.load(tmp_path)


def test_a_run_goes_on_with_edited_settings(towns: Path, tmp_path: Path) -> None:
    one = trainer(towns, training={"ema_half_life": 2, "history": 4})
    for _ in range(4):
        one.step()
    one.state.plateau = replace(one.state.plateau, best=0.5, waited=3, share=0.1)
    one.state.save(tmp_path, one.keeper.pair())
    again = trainer(
        towns,
        optimizer={"decay_factor": 0.5, "patience": 5},
        data={"size": 48},
        training={"ema_half_life": 0, "history": 4, "judged": 3},
    )
    again.state.load(tmp_path)
    assert again.state.plateau == Plateau(0.5, 5, best=0.5, waited=3, share=0.1)
    assert torch.equal(weights(again), weights(one))  # trained, not averaged
    for _ in range(6):
        again.step()  # (its fakes are larger than those that were remembered)
    assert {one.shape[2] for one in again.state.histories["a"].pictures} == {48}


def test_pictures_are_not_read_otherwise_than_they_were(tmp_path: Path, diptych: Command) -> None:
    """Their values would be far from those that the networks know."""
    folders = tmp_path / "a", tmp_path / "b"
    for side, folder in enumerate(folders):
        folder.mkdir()
        for i in range(4):
            values = np.random.default_rng([side, i]).integers(0, 65_536, (40, 40, 3))
            tifffile.imwrite(folder / f"{i}.tif", values.astype(np.uint16), photometric="rgb")
    run = RunFolder(tmp_path / "run")
    done = diptych("train", *folders, "--run", run.path, *TINY_OPTIONS, "--steps", "2")
    assert done.returncode == 0, done.stderr
    settings = run.settings.read_text()
    for before, now, what in (
        ("depth: 8bit", "depth: native", "uint16"),
        ("range: null", "range: [0, 128]", "uint8, 0 to 128"),
    ):
        assert before in settings
        run.settings.write_text(settings.replace(before, now, 1))
        refused = diptych("train", "--run", run.path, "--resume", "--steps", "4")
        assert refused.returncode == 1, refused.stdout
        assert "learned from pictures of A as 3 channels, uint8, 0 to 255, and" in refused.stderr
        assert what in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    run.settings.write_text(settings)
    assert diptych("train", "--run", run.path, "--resume", "--steps", "4").returncode == 0


def test_a_full_memory_is_not_taken_for_damage(
    trained: Path, towns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trainer(towns)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", full)
    with pytest.raises(torch.OutOfMemoryError):
        one.state.load(trained / "checkpoints")
    with pytest.raises(torch.OutOfMemoryError):
        load_model(trained / "model.safetensors", torch.device("cpu"))


def test_the_last_three_and_every_nth_checkpoint_are_kept(towns: Path, tmp_path: Path) -> None:
    settings = merge(TINY, {"training": {"steps": 24, "checkpoint_every": 2, "keep_every": 9}})
    package.train(data=towns, run=tmp_path / "run", settings=settings)
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [checkpoint.step_name(step) for step in (9, 18, 20, 22, 24)]
    kept = tmp_path / "run" / "checkpoints" / names[1]
    assert package.load(kept).info.step == 18  # (each is a model too)
    last = kept.with_name(names[-1]) / "model.safetensors"
    assert last.read_bytes() == (tmp_path / "run" / "model.safetensors").read_bytes()


def test_a_seed_makes_the_run(towns: Path) -> None:
    runs = []
    for seed in (0, 0, 1):
        one = trainer(towns, training={"seed": seed})
        for _ in range(3):
            one.step()
        runs.append(weights(one))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_accumulating_two_batches_is_a_batch_of_two(towns: Path) -> None:
    double = trainer(towns, training={"batch": 2, "history": 0})
    halves = trainer(towns, training={"accumulate": 2, "history": 0})
    for one in (double, halves):
        one.step()
    # Instance norm treats pictures one by one, and all losses are means: only rounding differs.
    # (Weights would not do: Adam's first step turns rounding around zero into full steps.)
    for p, q in zip(double.state.model.parameters(), halves.state.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, atol=1e-5, rtol=1e-4)


def test_accumulated_batches_go_on_where_those_of_the_step_before_end(towns: Path) -> None:
    whole = {"preprocess": "resize", "flip": False}
    one = trainer(towns, data=whole, training={"accumulate": 2})
    seen = []
    for step in range(5):
        one.state.step = step
        seen += [one.stepper._batch(i)[0].numpy().tobytes() for i in range(2)]
    assert len(set(seen)) == len(one.a.train) == 10


def test_d_may_judge_more_pictures_than_g_translates(towns: Path) -> None:
    one = trainer(towns, training={"judged": 3, "history": 2})
    seen: list[int] = []
    judges = one.stepper.working_copy.model.D  # (both in one)
    judges.register_forward_pre_hook(lambda _D, x: seen.append(len(x[0])))
    for _ in range(4):
        one.step()
    # Each step D judges one fake for G, then real and fake in one batch: three real ones, the
    # newest fake, and two past ones (at first the same again).
    assert seen == 4 * [1, 3 + 3]
    assert config(training={"batch": 4, "judged": 3, "untouched": 1}).training.more_judged == 1
    with pytest.raises(DiptychError, match="one size"):
        config(training={"judged": 3}, data={"preprocess": "none"})


def test_each_history_draws_its_own_lots(towns: Path) -> None:
    of_a, of_b = (history.generator for history in trainer(towns).state.histories.values())
    assert not torch.equal(of_a.get_state(), of_b.get_state())


def test_what_d_sees_more_of_are_other_pictures(towns: Path) -> None:
    stepper = trainer(towns, training={"judged": 3}).stepper
    of = (stepper.batches_a, stepper.batches_b, stepper.more_a, stepper.more_b)
    assert len({batches.sampler.stream for batches in of}) == 4


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_d_sees_more_of_is_new_in_each_step(
    towns: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    one = trainer(towns, training={"judged": 3, "accumulate": accumulate})
    seen: list[int] = []
    at = one.stepper.more_a.at

    def watched(position: int, size: int) -> torch.Tensor:
        seen.extend(range(position, position + size))
        return at(position, size)

    monkeypatch.setattr(one.stepper.more_a, "at", watched)
    for _ in range(3):
        one.step()
    assert seen == list(range(3 * 2 * accumulate))


def test_the_average_is_what_is_kept_and_follows_every_step(towns: Path) -> None:
    one = trainer(towns, training={"ema_half_life": 3})
    generators = one.state.model.generators
    expected = [p.detach().clone() for p in generators.parameters()]
    for step in range(1, 8):
        one.step()
        keep = 0.5 ** (1 / min(3, step * 0.1))
        for average, now in zip(expected, generators.parameters(), strict=True):
            average.lerp_(now.detach(), 1 - keep)
    found = [p for G in one.keeper.pair().generators for p in G.parameters()]
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found[0], next(generators.parameters()))


def test_the_average_starts_from_the_given_model_too(towns: Path, tmp_path: Path) -> None:
    given = trainer(towns, training={"seed": 1}).keeper.pair()
    save_model(tmp_path / "given.safetensors", given)
    one = trainer(towns, training={"ema_half_life": 1000})
    one.state.start_from(tmp_path / "given.safetensors", {})
    for x, y in zip(given.generators, one.keeper.pair().generators, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(x.parameters(), y.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_float32(towns: Path, precision: str) -> None:
    full, half = trainer(towns), trainer(towns, training={"precision": precision})
    for one in (full, half):
        before = weights(one)
        for _ in range(8):
            one.step()
        assert weights(one).isfinite().all()
        assert not torch.equal(weights(one), before)
    # (fp16 leaves out the steps in which its loss scale was too large.)
    means = full.state.losses.take_means()
    for name, value in half.state.losses.take_means().items():
        assert value == pytest.approx(means[name], rel=0.15), name


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_are_cast_anew_in_each_step(
    towns: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Also within ``usual_torch``, as in every training: PyTorch would keep what it cast first.

    On a GPU that is autocast in bf16; here a working copy takes its place, unless in fp16.
    """
    monkeypatch.setattr("diptych.training.step.make_working_copy", lambda *_: None)
    made = []
    for around in (nullcontext(), usual_torch(CPU)):
        one = trainer(towns, training={"precision": precision}, optimizer={"rate": 0.01})
        before = weights(one)
        with around:
            for _ in range(8):
                one.step()
        made.append(weights(one))
        assert not torch.equal(made[-1], before)
    assert torch.equal(*made)


@pytest.mark.parametrize("loss", [{"r1": 1}, {"adversarial": "wgangp"}])
def test_penalties_on_the_slope_fit_into_half_precision(towns: Path, loss: dict[str, Any]) -> None:
    one = trainer(towns, training={"precision": "fp16"}, loss=loss)
    for _ in range(20):  # (its loss scale falls until it fits)
        one.step()
    assert int(one.state.bad_in_row) == 0


def test_rates_and_moments_are_those_of_the_settings(towns: Path) -> None:
    rates = {"rate": 2e-4, "discriminator_rate": 5e-5, "beta1": 0.4, "decay_from": 0.0}
    one = trainer(towns, optimizer=rates, training={"steps": 4})
    G, D = one.state.optimizer_G.param_groups, one.state.optimizer_D.param_groups
    for share in (1.0, 0.75):
        one.step()
        assert [group["lr"] for group in G] == pytest.approx([2e-4 * share])
        assert [group["lr"] for group in D] == pytest.approx([5e-5 * share])
    assert [group["betas"] for group in (*G, *D)] == [(0.4, 0.999)] * 2


def test_a_plateau_lowers_the_rate(towns: Path) -> None:
    plateau = {"schedule": "plateau", "patience": 1, "decay_factor": 0.5}
    one = trainer(towns, optimizer=plateau)
    for _ in range(3):
        one.state.plateau.look(1.0)
    one.step()
    assert [group["lr"] for group in one.state.optimizer_G.param_groups] == [1e-4]


def test_a_plateau_is_one_of_the_cycle_loss_alone(towns: Path) -> None:
    one = trainer(towns, optimizer={"schedule": "plateau"})
    one._show_plateau({"cycle_a": 1.0, "cycle_b": 2.0, "D_a": 5.0, "G_ab/adversarial": 7.0})
    assert one.state.plateau.best == 3.0


def test_weights_move_as_the_run_goes_on(towns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = {"cycle": 10, "cycle_end": 2, "noise": 0.2, "noise_end": 0}
    one = trainer(towns, loss=loss, training={"steps": 4})
    seen: list[LossConfig] = []

    def step(rate: float, weights: LossConfig) -> None:
        seen.append(weights)
        one.state.step += 1

    monkeypatch.setattr(one.stepper, "step", step)
    while one.progress() < 1:
        one.step()
    assert [weights.cycle for weights in seen] == pytest.approx([10, 8, 6, 4])
    assert [weights.noise for weights in seen] == pytest.approx([0.2, 0.15, 0.1, 0.05])


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
def test_all_networks_learn(towns: Path, method: str) -> None:
    one = trainer(towns, method=method)
    before = {name: p.detach().clone() for name, p in one.state.model.named_parameters()}
    one.step()
    still = [name for name, p in one.state.model.named_parameters() if torch.equal(p, before[name])]
    assert not [name for name in still if name.endswith("weight")]


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
@pytest.mark.parametrize("loss", [{}, {"r1": 5.0}, {"discriminator": 0.25}], ids=str)
def test_discriminators_learn_from_their_own_loss_alone(
    towns: Path, method: str, loss: dict[str, float]
) -> None:
    one = trainer(towns, method=method, loss=loss, training={"history": 0})
    model = one.state.model
    judges = copy.deepcopy(model.discriminators)
    a, b = one.stepper._batch(0)
    with torch.no_grad():
        fakes = {name: G(x) for name, G, x in zip("ba", model.generators, (a, b), strict=False)}
    one.step()
    found = [p.grad for p in model.discriminators.parameters()]
    model.discriminators.load_state_dict(judges.state_dict())
    loss, _ = model.discriminator_loss(a, b, fakes, one.config.loss)
    expected = torch.autograd.grad(loss, list(model.discriminators.parameters()))
    torch.testing.assert_close(found, list(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "step", "plateau"])
@pytest.mark.parametrize("adversarial", ["lsgan", "bce", "hinge", "wgangp"])
def test_every_objective_trains_under_every_schedule(
    towns: Path, schedule: str, adversarial: str
) -> None:
    one = trainer(
        towns, optimizer={"schedule": schedule}, loss={"adversarial": adversarial},
        generator={"architecture": "unet", "levels": 3, "norm": "group"},
        discriminator={"architecture": "pixel", "norm": "batch"}, training={"steps": 4},
    )  # fmt: skip
    before = weights(one)
    while one.progress() < 1:
        one.step()
    assert weights(one).isfinite().all()
    assert float((weights(one) - before).abs().max()) > 1e-5


@pytest.mark.parametrize("smaller", ["trainA", "trainB"])
def test_an_epoch_is_a_pass_over_the_larger_domain(
    towns: Path, tmp_path: Path, smaller: str
) -> None:
    shutil.copytree(towns, tmp_path / "towns")
    for path in sorted((tmp_path / "towns" / smaller).iterdir())[3:]:
        path.unlink()
    one = trainer(tmp_path / "towns", training={"epochs": 2, "batch": 3})
    assert sorted([len(one.a.train), len(one.b.train)]) == [3, 10]
    assert one.steps == 7  # ceil(2 * 10 / 3)


def test_epochs_and_minutes_end_a_run(towns: Path, tmp_path: Path) -> None:
    by_epochs = merge(TINY, {"training": {"epochs": 2, "batch": 3}})
    assert package.train(data=towns, run=tmp_path / "epochs", settings=by_epochs).finished
    assert RunFolder(tmp_path / "epochs").read_metrics()[-1]["step"] == 7  # ceil(2 * 10 / 3)
    by_minutes = merge(TINY, {"training": {"minutes": 0.05}})
    begin = time.monotonic()
    assert package.train(data=towns, run=tmp_path / "minutes", settings=by_minutes).finished
    last = RunFolder(tmp_path / "minutes").read_metrics()[-1]
    assert 3 <= last["seconds"] <= time.monotonic() - begin
    assert last["rate"] < 1e-4  # the schedule followed the minutes (it began with 2e-4)


def test_a_run_that_diverges_stops_and_keeps_the_good_checkpoint(
    towns: Path, tmp_path: Path
) -> None:
    settings = config(optimizer={"rate": 1e30}, training={"steps": 50, "checkpoint_every": 1})
    with pytest.raises(
        DiptychError, match=r"gave NaN or infinity, at a lower rate too.*lower optim"
    ):
        start_run(data_folders(towns), RunFolder(tmp_path / "run"), settings)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        assert all(t.isfinite().all() for t in load_file(path / "model.safetensors").values())


def test_a_run_goes_on_with_its_own_pictures_only(towns: Path, tmp_path: Path) -> None:
    shutil.copytree(towns, tmp_path / "towns")
    folders, run = data_folders(tmp_path / "towns"), RunFolder(tmp_path / "run")
    start_run(folders, run, config())
    shutil.copy(towns / "testA" / "town-0020.png", tmp_path / "towns" / "trainA" / "new.png")
    longer = {"training": {"steps": 14}}
    with pytest.raises(
        DiptychError, match=r"trainA have changed since .*run began \(10 to learn from then, 11 now"
    ):
        resume_run(run, longer)
    with pytest.raises(DiptychError, match=r"11 now; new: new.png; their names and order"):
        resume_run(run, longer)
    first, second = sorted((tmp_path / "towns" / "trainA").glob("town*"))[:2]
    first.rename(tmp_path / "first.png")
    shutil.move(tmp_path / "towns" / "trainA" / "new.png", second)
    with pytest.raises(
        DiptychError, match=rf"9 now; gone: {first.name}; altered: {second.name}; their names"
    ):
        resume_run(run, longer)
    shutil.copy(towns / "trainA" / first.name, first)
    shutil.copy(towns / "trainA" / second.name, second)
    run.pictures.unlink()  # (one that began before they were noted)
    for other in ({"batch": 2}, 2):
        with pytest.raises(DiptychError, match="own settings"):
            resume_run(run, {"training": other})
    resume_run(run, longer)
    assert run.read_metrics()[-1]["step"] == 14
    noted = run.pictures_of("a")
    assert noted is not None
    assert (len(noted["trained"]), len(noted["heldout"])) == (10, 0)
    for name in ("trainB", "testA"):
        with pytest.raises(DiptychError, match="would lie among the pictures"):
            start_run(folders, RunFolder(tmp_path / "towns" / name / "run"), config())


def test_domains_that_were_exchanged_are_told_from_changed_ones(
    towns: Path, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    a, b = towns / "trainA", towns / "trainB"
    start_run(Folders(a, b), run, config())
    longer = {"training": {"steps": 14}}
    with pytest.raises(DiptychError, match=r"other way round: .* from .*trainA to .*trainB"):
        resume_run(run, longer, moved=Folders(b, a))
    shutil.copytree(a, tmp_path / "a")
    (tmp_path / "a" / "town-0000.png").rename(tmp_path / "a" / "zz.png")
    with pytest.raises(DiptychError, match=r"names and order count.* --from .*run"):
        resume_run(run, longer, moved=Folders(tmp_path / "a", b))


def test_pictures_may_move_and_test_folders_grow(towns: Path, tmp_path: Path) -> None:
    shutil.copytree(towns, tmp_path / "towns")
    run = RunFolder(tmp_path / "run")
    start_run(data_folders(tmp_path / "towns"), run, config())
    heldout = run.data()["a"]["heldout"]
    shutil.copy(towns / "trainA" / "town-0000.png", tmp_path / "towns" / "testA" / "a-new.png")
    made: list[Trainer] = []
    listener = Listener(ready=lambda trainer: made.append(trainer))
    resume_run(run, {"training": {"steps": 14}}, listener)
    assert [str(path) for path in made[-1].a.heldout] == heldout  # scores stay comparable
    (tmp_path / "towns" / "testA" / "a-new.png").unlink()
    longer = {"training": {"steps": 16}}
    (tmp_path / "towns" / "testA").rename(tmp_path / "testA")
    with pytest.raises(
        DiptychError, match=r"towns/testA, which is not there: .* --resume --data DIR"
    ):
        resume_run(run, longer)
    (tmp_path / "testA").rename(tmp_path / "towns" / "testA")
    (tmp_path / "towns").rename(tmp_path / "moved")
    with pytest.raises(
        DiptychError, match=r"towns/trainA, which is not there: .* --resume --data DIR"
    ):
        resume_run(run, longer)
    with pytest.raises(DiptychError, match=r"are not where they were: .* If they have moved"):
        package.evaluate(run.path)
    moved = data_folders(tmp_path / "moved")
    with pytest.raises(UsageError, match="has test folders too: give --data DIR"):
        resume_run(run, longer, moved=Folders(moved.a, moved.b))
    package.train(run=run.path, resume=True, data=tmp_path / "moved", settings=longer)
    assert run.read_metrics()[-1]["step"] == 16
    assert package.evaluate(run.path).to_b.pictures == len(heldout)
    assert run.folders() == data_folders(tmp_path / "moved")


def test_training_and_the_program_around_it_leave_each_other_alone(
    towns: Path, tmp_path: Path
) -> None:
    """Random numbers, no gradients, another default dtype and device; an exception saves."""
    dropout = {"generator": {"dropout": 0.5}}
    start_run(data_folders(towns), RunFolder(tmp_path / "quiet"), config(**dropout))
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode():
            noisy = Listener(watch=lambda _: torch.rand(1))
            start_run(data_folders(towns), RunFolder(tmp_path / "loud"), config(**dropout), noisy)
            package.evaluate(tmp_path / "loud")
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert torch.equal(torch.cat([first, torch.rand(1)]), expected)
    quiet, loud = (tmp_path / name / "model.safetensors" for name in ("quiet", "loud"))
    assert quiet.read_bytes() == loud.read_bytes()

    def enough(status: Status) -> None:
        if status.step == 5:
            raise RuntimeError("enough")

    stopped = RunFolder(tmp_path / "stopped")
    with pytest.raises(RuntimeError, match="enough"):
        start_run(data_folders(towns), stopped, config(**dropout), Listener(watch=enough))
    assert checkpoint.checkpoints(stopped.checkpoints)[-1].name == "step-00000005"
    resume_run(stopped)
    assert stopped.model.read_bytes() == quiet.read_bytes()


def test_an_interrupted_run_is_told_to_other_processes() -> None:
    error = pickle.loads(pickle.dumps(InterruptedRunError("stopped", 15)))
    assert (str(error), error.exit_code) == ("stopped", 143)


def test_a_signal_that_came_before_is_heeded_at_once() -> None:
    early, late = StopRequest(), StopRequest()
    early.note(signal.SIGTERM)
    with pytest.raises(StopNowError), early.at_once():
        pass
    with late.at_once():
        pass
    late.note(signal.SIGINT)  # (the block has been left: it is noted, no more)
    assert late.signal_number == signal.SIGINT


def test_a_run_takes_the_room_that_was_foreseen(towns: Path, tmp_path: Path) -> None:
    short = {"steps": 4, "checkpoint_every": 1, "history": 0, "samples": 1, "judged": 1}
    settings = merge(TINY, {"generator": {"width": 24}, "training": short})
    package.train(data=towns, run=tmp_path / "run", settings=settings)
    run = RunFolder(tmp_path / "run")
    made = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    a, b = open_domains(data_folders(towns), run.config())
    trainer = Trainer(run.config(), run, a, b, CPU)
    assert made < bytes_needed(trainer) < 2 * made
    weights = count_parameters(trainer.state.model)
    own = count_parameters(trainer.state.model.generators)
    checkpoints, sheets = 4 * (3 * weights + own), 2 * 6 * 32 * 32 * 3
    assert bytes_needed(trainer) == 4 * checkpoints + 3 * 4 * own + sheets


def test_a_step_that_cannot_fit_into_memory_is_not_begun(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system would end the process, and say nothing."""
    run = RunFolder(tmp_path / "run")
    settings = config(training={"batch": 64, "precision": "float32"})
    a, b = open_domains(data_folders(towns), settings)
    need = memory_needed(Trainer(settings, run, a, b, CPU))
    monkeypatch.setattr("diptych.training.room.memory_at_hand", lambda device: need - 1)
    with pytest.raises(DiptychError, match=r"a step takes about .* use a smaller --batch"):
        start_run(data_folders(towns), run, settings)
    monkeypatch.setattr("diptych.training.room.memory_at_hand", lambda device: need)
    assert start_run(data_folders(towns), run, settings)


@pytest.mark.parametrize(("method", "judged"), [("cyclegan", 4), ("cut", 4), ("cyclegan", 64)])
def test_the_memory_of_a_step_is_foreseen(
    method: str, judged: int, towns: Path, tmp_path: Path
) -> None:
    """Beside what a process of its own takes for it: between two thirds and twice as much."""
    code = f"""
import json, sys
from pathlib import Path
import torch
from diptych.data.domain import data_folders, open_domains
from diptych.training.choice import make_config
from diptych.training.room import memory_needed
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer

settings = {{"method": {method!r}, "data": {{"size": 128}}, "discriminator": {{"width": 24}},
             "generator": {{"width": 24, "blocks": 3}},
             "training": {{"steps": 2, "batch": 4, "judged": {judged}, "device": "cpu",
                          "precision": "float32"}}}}
config = make_config("repaint", settings=settings)
a, b = open_domains(data_folders(Path({str(towns)!r})), config)
trainer = Trainer(config, RunFolder(Path({str(tmp_path)!r})), a, b, torch.device("cpu"))
torch.set_num_threads(1)

def bytes_of(what: str) -> int:
    line = next(x for x in open("/proc/self/status") if x.startswith(what))
    return 1024 * int(line.split()[1])

before = bytes_of("VmRSS")
need = memory_needed(trainer)
trainer.step()
trainer.step()
print(json.dumps([need, bytes_of("VmHWM") - before]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    foreseen, taken = json.loads(done.stdout)
    assert foreseen / 1.5 < taken < 2 * foreseen


def test_losses_are_means_over_the_steps_since_the_last_line(towns: Path) -> None:
    """Also after a run that ended between two log steps was made longer."""
    one = trainer(towns, training={"log_every": 10})
    seen: list[float] = []
    for _ in range(7):
        before = float(one.state.losses.sums.get("cycle_a", torch.zeros(())))
        one.step()
        seen.append(float(one.state.losses.sums["cycle_a"]) - before)
    assert one.state.losses.take_means()["cycle_a"] == pytest.approx(sum(seen) / 7, rel=1e-4)
    for _ in range(3):
        one.step()
    total = float(one.state.losses.sums["cycle_a"])
    assert one.state.losses.take_means()["cycle_a"] == pytest.approx(total / 3, rel=1e-4)


def test_losses_of_some_steps_are_means_over_those(towns: Path) -> None:
    one = trainer(towns, loss={"cycle_every": 3}, training={"accumulate": 2})
    seen = []
    for step in range(8):
        before = {name: float(value) for name, value in one.state.losses.sums.items()}
        one.step()
        change = {name: float(x) - before.get(name, 0) for name, x in one.state.losses.sums.items()}
        assert (change["cycle_a"] > 0) == (step % 3 == 0)
        assert change["D_a"] > 0
        seen.append(change["cycle_a"])
    means = one.state.losses.take_means()
    assert means["cycle_a"] == pytest.approx(sum(seen) / 3, rel=1e-4)
    assert not one.state.losses.sums


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
def test_d_judges_untouched_pictures_among_the_fakes(towns: Path, method: str) -> None:
    one = trainer(towns, method=method, training={"judged": 4, "untouched": 1, "history": 9})
    for _ in range(5):
        one.step()
    source_a, source_b = torch.rand(2, 1, 3, 32, 32)
    fakes = {
        name: torch.zeros(1, 3, 32, 32) for name in (("a", "b") if method == "cyclegan" else ("b",))
    }
    a, b, past = one.stepper._for_D(0, source_a, source_b, fakes)
    assert a.shape == b.shape == (4, 3, 32, 32)
    assert past["b"].shape == a.shape
    assert torch.equal(past["b"][-1], a[-1])
    assert not any(torch.equal(fake, real) for fake in past["b"][:-1] for real in a)
    if method == "cyclegan":
        assert torch.equal(past["a"][-1], b[-1])


def test_a_run_that_was_stopped_before_it_saved_starts_again(towns: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(DiptychError, match="gave NaN"):
        start_run(data_folders(towns), run, config(optimizer={"rate": 1e30}))
    assert not any(run.checkpoints.iterdir())
    with pytest.raises(DiptychError, match=r"nothing is saved in .* yet: go on with: .* --resume"):
        package.evaluate(run.path)
    run.best_model.write_bytes(b"scored before the first checkpoint: work, too")
    with pytest.raises(UsageError, match="already holds a run"):
        start_run(data_folders(towns), run, config())
    run.best_model.unlink()
    start_run(data_folders(towns), run, config())
    assert run.read_metrics()[-1]["step"] == 12
    shutil.rmtree(run.checkpoints)
    run.model.unlink()
    resume_run(run)
    assert [line["step"] for line in run.read_metrics()] == [3, 6, 9, 12]


@pytest.mark.parametrize("left", ["model", "checkpoints"])
def test_what_is_left_of_a_run_is_not_written_over(
    towns: Path, trained: Path, tmp_path: Path, left: str
) -> None:
    run = copied(trained, tmp_path / "run")
    if left == "model":
        shutil.rmtree(run.checkpoints)
    else:
        run.model.unlink()
    with pytest.raises(UsageError, match="already holds a run"):
        start_run(data_folders(towns), run, config())


def test_there_are_no_closer_looks_at_whole_pictures(
    towns: Path, tmp_path: Path, diptych: Command
) -> None:
    done = diptych(
        "train", "--data", towns, "--run", tmp_path / "run", "--preset", "laptop", "--steps", "1",
        "--preprocess", "resize", *TINY_OPTIONS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "data.zoom is off: there is none with data.preprocess resize" in done.stdout


def test_domains_may_differ_in_channels_and_depth(tmp_path: Path, diptych: Command) -> None:
    """Grey 16-bit scans to colour pictures and back; the identity loss says that it is off."""
    from PIL import Image

    for i in range(5):
        rng = np.random.default_rng(i)
        for name in ("scans", "photos"):
            (tmp_path / name).mkdir(exist_ok=True)
        scan = rng.integers(0, 4000, (40, 40)).astype(np.uint16)
        Image.fromarray(scan).save(tmp_path / "scans" / f"{i}.png")
        photo = rng.integers(0, 255, (33, 50, 3)).astype(np.uint8)
        Image.fromarray(photo).save(tmp_path / "photos" / f"{i}.jpg")
    run, out = tmp_path / "run", tmp_path / "out"
    done = diptych(
        "train", tmp_path / "scans", tmp_path / "photos", "--run", run, *TINY_OPTIONS,
        "--set", "a.depth=native", "--set", "loss.plain=1", "--set", "generator.output=retouch",
        "--steps", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for what in ("the identity loss", "loss.plain", "generator.output is picture"):
        assert what in " ".join(done.stdout.split())
    assert "1 channel, uint16" in done.stdout
    assert "identity_a" not in RunFolder(run).read_metrics()[0]
    back = diptych("translate", run, tmp_path / "photos", "--to", "a", "-o", out)
    assert back.returncode == 0, back.stderr
    with Image.open(out / "0.png") as scan:
        assert scan.size == (50, 33)
        assert scan.mode == "I;16"
        assert os.path.getsize(out / "0.png") > 100


def test_going_on_from_a_model_reads_pictures_as_it_did(tmp_path: Path, diptych: Command) -> None:
    """Scans of a wider range first, then some of a narrow one: the same value means the same."""
    from PIL import Image

    for i in range(4):
        rng = np.random.default_rng(i)
        for name, most in (("wide", 60_000), ("wide-b", 50_000), ("narrow", 900), ("dim", 800)):
            (tmp_path / name).mkdir(exist_ok=True)
            scan = rng.integers(0, most, (40, 40)).astype(np.uint16)
            Image.fromarray(scan).save(tmp_path / name / f"{i}.png")
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    options = [*TINY_OPTIONS, "--steps", "1"]
    wide, narrow = (tmp_path / "wide", tmp_path / "wide-b"), (tmp_path / "narrow", tmp_path / "dim")
    done = diptych("train", *wide, "--run", first, "--depth", "native", *options)
    assert done.returncode == 0, done.stderr
    done = diptych("train", *narrow, "--run", second, "--from", first, *options)
    assert done.returncode == 0, done.stderr
    again = ["--set", f"training.start_from={first}", "--depth", "native", "--range-a", "0,1000"]
    done = diptych("train", *narrow, "--run", third, *again, *options)
    assert done.returncode == 0, done.stderr
    infos = [load_model(run / "model.safetensors", CPU).info for run in (first, second, third)]
    assert infos[1].a == infos[0].a
    assert infos[1].b == infos[0].b
    assert infos[0].a.high > 50_000
    assert (infos[2].a.low, infos[2].a.high) == (0, 1000)


def test_resuming_maps_values_as_before(tmp_path: Path, diptych: Command) -> None:
    """Also where a newer version would measure other ranges: the networks know no others."""
    for i, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for j in range(4):
            values = np.random.default_rng([i, j]).integers([5, 200], [900, 6000], (40, 40, 2))
            np.save(tmp_path / name / f"{j}.npy", values.astype(np.uint16))
    run = RunFolder(tmp_path / "run")
    done = diptych("train", tmp_path / "a", tmp_path / "b", "--run", run.path, "--depth", "native",
                   "--preset", "repaint", *TINY_OPTIONS, "--steps", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads((run.path / "data.json").read_text())
    data["a"]["pixel_format"].update(low=5.0, high=5999.0)
    (run.path / "data.json").write_text(json.dumps(data))
    done = diptych("train", "--run", run.path, "--resume", "--steps", "2")
    assert done.returncode == 0, done.stderr
    info = load_model(run.model, CPU).info
    assert info.a == PixelFormat(2, "uint16", 5, 5999)
    assert isinstance(info.b.low, tuple)


def test_what_a_run_to_go_on_from_has_otherwise_is_said(
    towns: Path, trained: Path, tmp_path: Path
) -> None:
    """Its networks stay, whatever the preset; and its sides may be exchanged now."""
    for mine, other in ("AB", "BA"):
        for kind in ("train", "test"):
            shutil.copytree(towns / f"{kind}{mine}", tmp_path / "exchanged" / f"{kind}{other}")
    for place, preset, words in (
        (towns, None, []),
        (towns, "paper", ["the networks are those of .* of the preset repaint; .* paper"]),
        (tmp_path / "exchanged", None, ["A and B are the other way round than in "]),
    ):
        said: list[str] = []
        config = make_config(preset, settings=TINY, start_from=trained)
        run = RunFolder(tmp_path / f"{place.name}-{preset}")
        start_run(data_folders(place), run, config, Listener(warn=said.append))
        notes = [line for line in said if "networks are those" in line or "other way" in line]
        assert len(notes) == len(words)
        assert all(re.search(word, note) for word, note in zip(words, notes, strict=True))


def test_going_on_from_a_run_takes_all_of_it(
    towns: Path, trained: Path, tmp_path: Path, diptych: Command
) -> None:
    """Settings, also the method, and discriminators; what is given goes first."""
    rate = ["--set", "optimizer.rate=1e-9", "--set", "training.ema_half_life=0"]
    done = diptych("train", "--data", towns, "--run", tmp_path / "more", "--from", trained, *rate)
    assert done.returncode == 0, done.stderr
    assert "learned from the start" not in done.stdout
    old, new = RunFolder(trained).config(), RunFolder(tmp_path / "more").config()
    assert make_config("repaint", start_from=trained).data == old.data  # (which is its own preset)
    assert make_config("laptop", start_from=trained).data.size == 64 != old.data.size
    earlier = package.Run(str(trained))
    assert earlier.metrics()[-1]["step"] == 12
    assert package.load(earlier, "cpu").info.step == 12
    with pytest.raises(DiptychError, match="no run in"):
        package.Run(tmp_path / "typo").metrics()
    with pytest.raises(UsageError, match="is empty"):
        package.Run("")
    assert new.optimizer.rate == 1e-9
    assert (new.data, new.loss, new.discriminator) == (old.data, old.loss, old.discriminator)
    assert new.training.steps == old.training.steps
    parts = [checkpoint.read_newest(run / "checkpoints")[2]["networks"]
             for run in (trained, tmp_path / "more")]  # fmt: skip
    judges = {name for name in parts[0] if name.startswith("D_")}
    assert judges
    assert all(torch.allclose(parts[0][name], parts[1][name], atol=1e-6) for name in judges)
    # Another discriminator is asked for: that one starts anew, and it is said.
    done = diptych("train", "--data", towns, "--run", tmp_path / "other", "--from", trained, *rate,
                   "--set", "discriminator.width=5")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "has no discriminator of A and no discriminator of B" in " ".join(done.stdout.split())
    deeper = diptych("train", "--data", towns, "--run", tmp_path / "deeper", "--from", trained,
                     "--set", "generator.blocks=3")  # fmt: skip
    assert "settings describe: generator.blocks is 1 there, not 3" in deeper.stderr
    cut = diptych("train", "--data", towns, "--run", tmp_path / "cut", "--method", "cut", "--from",
                  trained, *rate)  # fmt: skip
    assert cut.returncode == 0, cut.stderr
    assert RunFolder(tmp_path / "cut").config().contrast.source == 1
    cut = diptych("train", "--data", towns, "--run", tmp_path / "cut-2", "--from", tmp_path / "cut")
    assert cut.returncode == 0, cut.stderr
    assert RunFolder(tmp_path / "cut-2").config().method == "cut"
    assert "learned from the start" not in cut.stdout


def test_settings_of_the_other_method_are_remarked_on(
    towns: Path, tmp_path: Path, diptych: Command
) -> None:
    options = ["--data", towns, *TINY_OPTIONS, "--steps", "1", "--method", "cut"]
    for i, (said, more) in enumerate((
        (False, []), (True, ["--set", "loss.identity=0"]), (False, ["--preset", "laptop"]),
        (True, ["--preset", "laptop", "--set", "training.judged=6", "--set", "loss.cycle=1"]),
    )):  # fmt: skip
        done = diptych("train", *options, "--run", tmp_path / f"run-{i}", *more)
        assert done.returncode == 0, done.stderr
        told = " ".join(done.stdout.split())
        assert ("is off: it is CycleGAN's; cut has contrast.source" in told) is said
        assert ("training.judged adds no fakes" in done.stdout) is (i == 3)
    options[-1] = "cyclegan"
    done = diptych("train", *options, "--run", tmp_path / "other", "--set", "contrast.source=5",
                   "--set", "optimizer.decay_steps=50", "--set", "generator.levels=6")  # fmt: skip
    said = " ".join(done.stdout.split())
    assert "generator.levels is off: they are of U-Nets, and this is a resnet" in said
    assert "contrast.source is off: it is of CUT" in said
    assert "decay_steps is off: the schedule is linear, not step" in said
    assert said.count("is off") == 3


def test_settings_without_effect_are_remarked_on() -> None:
    def said(**settings: dict[str, Any]) -> list[str]:
        return [line.split(" is off")[0] for line in _of_settings(build_config(settings))]

    assert said() == []
    for preset in preset_names():
        assert list(_of_settings(build_config(read_preset(preset)))) == []
    assert said(generator={"architecture": "unet", "blocks": 6}) == ["generator.blocks"]
    assert said(generator={"least_change": 0.1, "strength": 2}) == [
        "generator.least_change", "generator.strength",
    ]  # fmt: skip
    pixel = {"architecture": "pixel", "layers": 2}
    assert said(discriminator=pixel) == ["discriminator.layers"]
    assert said(optimizer={"schedule": "constant", "decay_from": 0.2, "patience": 3}) == [
        "optimizer.decay_from", "optimizer.patience",
    ]  # fmt: skip
    assert said(optimizer={"schedule": "plateau", "patience": 3}) == []
    assert said(training={"judged": 2, "batch": 4}) == ["training.judged"]
    (line,) = _of_settings(
        build_config({"loss": {"adversarial": "wgangp"}, "discriminator": {"norm": "batch"}})
    )
    assert "wgangp bounds the slope at each by itself" in line


def test_paths_mean_what_they_meant_at_the_call(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the program goes elsewhere meanwhile, and there is a run of that name, too."""
    (tmp_path / "elsewhere" / "run").mkdir(parents=True)
    other = tmp_path / "elsewhere" / "run" / "model.safetensors"
    other.write_bytes(b"of another run")
    monkeypatch.chdir(towns.parent)

    def leave(status: Status) -> None:
        if status.step == 2:
            monkeypatch.chdir(tmp_path / "elsewhere")

    shutil.rmtree("run", ignore_errors=True)
    run = package.train(data=towns.name, run="run", settings=TINY, watch=leave)
    assert other.read_bytes() == b"of another run"
    assert run.path == towns.parent / "run"
    assert len(run.metrics()) == 4
    assert len(list((run.path / "samples").iterdir())) == 2
    shutil.rmtree(run.path)


def test_a_program_may_write_the_home_folder_as_shells_do(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "towns").symlink_to(towns)
    short = merge(TINY, {"training": {"steps": 1}})
    run = package.train(
        "~/towns/trainA", Path("~/towns/trainB"), run="~/runs/towns", settings=short
    )
    assert run.path == tmp_path / "runs" / "towns"
    picture = next((towns / "testA").iterdir())
    assert package.load("~/runs/towns").to_b(f"~/towns/testA/{picture.name}").size == (32, 32)
    assert package.evaluate("~/runs/towns").to_b.pictures == 1


def test_one_training_at_a_time(towns: Path, tmp_path: Path) -> None:
    """Threads share PyTorch's random numbers; the settings of the program outlive all of them."""
    first = package.train(data=towns, run=tmp_path / "first", settings=TINY)
    refused: list[str] = []

    def other() -> None:
        try:
            package.train(data=towns, run=tmp_path / "other", settings=TINY)
        except UsageError as error:
            refused.append(str(error))

    def start_other(status: Status) -> None:
        if status.step == 3:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            package.train(data=towns, run=tmp_path / "inside", settings=TINY)  # its own thread may

    run = package.train(data=towns, run=tmp_path / "run", settings=TINY, watch=start_other)
    assert len(refused) == 1
    assert "another thread of this process trains" in refused[0]
    assert not (tmp_path / "other").exists()
    models = [
        folder / "model.safetensors" for folder in (first.path, run.path, tmp_path / "inside")
    ]
    assert len({model.read_bytes() for model in models}) == 1


def test_settings_of_the_process_are_given_back_by_the_last() -> None:
    value = ["as it was"]

    @shared
    @contextmanager
    def needed() -> Iterator[None]:
        before = value[0]
        value[0] = f"needed, {before}"
        yield
        value[0] = before

    for _ in range(2):
        one, two = needed(), needed()
        one.__enter__()
        two.__enter__()
        assert value == ["needed, as it was"]
        one.__exit__(None, None, None)
        assert value == ["needed, as it was"]
        two.__exit__(None, None, None)
        assert value == ["as it was"]


def test_a_default_device_around_a_call(trained: Path) -> None:
    with torch.device("meta"):
        with usual_torch(CPU):
            assert torch.empty(1).device.type == "cpu"
        assert torch.empty(1).device.type == "meta"
    assert torch.empty(1).device.type == "cpu"
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    expected = [package.load(trained, "cpu", tile=tile).to_b(picture) for tile in ("off", 16)]
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = [package.load(trained, "cpu", tile=tile).to_b(picture) for tile in ("off", 16)]
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found, expected)


def test_python_is_told_what_a_person_is(towns: Path, tmp_path: Path) -> None:
    data = tmp_path / "towns"
    shutil.copytree(towns, data)
    (data / "trainA" / "broken.png").write_bytes(b"no picture")
    (data / "trainA" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    now: Any = np.float32(0)  # (numbers come from NumPy too)
    with pytest.warns(UserWarning, match=r"left out 2 pictures of .*broken.png .*phone.HEIC "):
        run = package.train(data=data, run=tmp_path / "run", settings=TINY, max_minutes=now)
    assert not run.finished
    with pytest.warns(UserWarning, match="left out") as caught:
        assert package.train(run=run.path, resume=True).finished
    assert run.finished  # (by now)
    assert {warning.filename for warning in caught} == {__file__}  # not a line of diptych's own


@pytest.mark.parametrize(
    "way_out", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, ConnectionError]
)
def test_whatever_ends_a_training_it_is_saved(
    towns: Path, tmp_path: Path, way_out: type[BaseException]
) -> None:
    def stop(status: Status) -> None:
        if status.step == 5:
            raise way_out

    with pytest.raises(way_out):
        package.train(data=towns, run=tmp_path / "run", settings=TINY, watch=stop)
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-00000005"


async def waiting(status: Status) -> None:
    """(It would never run.)"""


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"settings": ["training"]}, "settings are a dictionary"),
    ({"settings": "training.steps=3"}, "settings are a dictionary"),
    ({"max_minutes": float("nan")}, "max_minutes nan"),
    ({"max_minutes": -1}, "max_minutes -1"),
    ({"max_minutes": "3"}, "max_minutes '3'"),
    ({"watch": 3}, "watch is an ordinary function"),
    ({"watch": waiting}, "watch is an ordinary function"),
    ({"data": ["towns"]}, "a list is no path"),
    (
        {"settings": {"a": 3}},
        "a is a section, not a value like 3: write a.setting=value with --set, and a: {setting",
    ),
    ({"settings": {"method": "cut", "training": 3}}, "training is a section"),
    ({"run": "towns\0"}, r"is no path: embedded null"),
    ({"settings": {"training": {"steps": 1, "device": "meta"}}}, "no device 'meta'"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG, ids=lambda x: str(x)[:30])
def test_arguments_that_are_none(
    wrong: dict[str, Any], words: str, towns: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        package.train(**{"run": tmp_path / "run", "data": towns, "settings": TINY, **wrong})
    assert not (tmp_path / "run").exists()


def test_a_name_that_no_disk_takes(towns: Path) -> None:
    with pytest.raises(DiptychError, match=r"cannot use nnnn.*: File name too long"):
        package.train(data=towns, run="n" * 300, settings=TINY)


def test_arguments_of_scoring_that_are_none(trained: Path) -> None:
    for wrong, words in (
        ({"a": "testA"}, "give a diptych.Target"), ({"size": "32"}, "size '32'"),
        ({"size": 20_000}, "size 20000"), ({"features": 5}, "^features '5'"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            package.evaluate(trained, **wrong)  # type: ignore[arg-type]
    wrong_targets = ({"classes": "zebra"}, {"classes": (5000,)}, {"classes": 340}, {"palette": "5"})
    for what in wrong_targets:
        with pytest.raises(UsageError):
            package.Target(**what)  # type: ignore[arg-type]
    package.Target(classes=tuple(np.array([340])))


def test_a_start_that_was_killed_can_be_made_again(
    towns: Path, tmp_path: Path, diptych: Command
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for left in (".lock", ".0123.partial"):
        (run / left).touch()
    start = ("train", "--data", towns, "--run", run, *TINY_OPTIONS, "--steps", "1")
    begun = RunFolder(tmp_path / "begun")
    with begun.begun(config()):
        pass
    refused = diptych("train", "--run", begun.path, "--resume")
    assert refused.returncode == 1
    assert "stopped before it began: give the whole command again" in refused.stderr
    for place in (run, begun.path):
        done = diptych(*start[:4], place, *start[5:])
        assert done.returncode == 0, done.stderr
        assert not list(place.glob(".*.partial"))


def test_settings_that_are_cut_short_are_not_filled_up(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    file = run.path / "config.yaml"
    whole = file.read_text()
    for section in ("optimizer:", "training:", "made_with:"):
        file.write_text(whole[: whole.index(section)])
        with pytest.raises(DiptychError, match=r"config.yaml is cut short or damaged"):
            resume_run(run, {"training": {"steps": 13}})


def test_a_length_that_is_reached_is_refused_and_not_noted(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    before = (run.path / "config.yaml").read_text()
    for length in ({"steps": 11}, {"epochs": 1}):
        with pytest.raises(UsageError, match=r"has made 12 steps .* give a larger one"):
            resume_run(run, {"training": length})
    assert (run.path / "config.yaml").read_text() == before
    assert resume_run(run, {"training": {"steps": 12}})  # (as it is: nothing to do)


def test_other_threads_are_remarked_on(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    said: list[str] = []
    file = run.path / "config.yaml"
    now = f"threads: '{torch.get_num_threads()}'"
    assert now in file.read_text()
    for threads, count in ((now, 0), ("threads: '77'", 1)):
        file.write_text(file.read_text().replace(now, threads))
        resume_run(run, {"training": {"steps": 13 + count}}, Listener(warn=said.append))
        assert len([line for line in said if "went with threads 77" in line]) == count


def test_a_model_to_start_from_is_found_from_another_folder(
    towns: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.parent)
    made = config(training={"start_from": trained.name}, generator={"upsample": "resize"})
    start_run(data_folders(towns), RunFolder(tmp_path / "run"), made, max_minutes=0)
    assert RunFolder(tmp_path / "run").config().training.start_from == str(trained)


def copied(trained: Path, to: Path) -> RunFolder:
    """A run of 12 steps to spoil."""
    shutil.copytree(trained, to)
    return RunFolder(to)


def test_a_copy_of_a_checkpoint_has_its_discriminators_under_any_name(
    towns: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "checkpoints" / "step-00000012", tmp_path / "favourite")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = package.train(
            data=towns, run=tmp_path / "run", start_from=tmp_path / "favourite",
            settings=merge(TINY, {"training": {"steps": 1}, "optimizer": {"rate": 1e-30}}),
        )  # fmt: skip
    assert not any("learned from the start" in str(one.message) for one in caught)
    before = checkpoint.read(tmp_path / "favourite").parts
    _, _, after, _ = checkpoint.read_newest(run.path / "checkpoints")
    judges = [name for name in before["networks"] if name.startswith("D_")]
    assert judges
    for name in judges:
        torch.testing.assert_close(after["networks"][name], before["networks"][name])


def test_a_run_of_a_preset_that_is_no_more_goes_on(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    text = run.settings.read_text()
    assert text.startswith("preset: repaint")
    run.settings.write_text(text.replace("preset: repaint", "preset: one-of-long-ago", 1))
    resumed = package.train(run=run.path, resume=True, settings={"training": {"steps": 13}})
    assert read_info(resumed.path / "model.safetensors").step == 13


def test_a_run_that_has_lost_its_checkpoints_keeps_its_model(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    for path in checkpoint.checkpoints(run.checkpoints):
        shutil.rmtree(path)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(DiptychError, match=r"no checkpoint to go on from any more: .* --from "):
        resume_run(run, {"training": {"steps": 14}})
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("left", ["none", "older"])
def test_a_run_that_ended_before_its_model_was_written_gets_it(
    trained: Path, tmp_path: Path, left: str
) -> None:
    run = copied(trained, tmp_path / "run")
    whole = run.model.read_bytes()
    run.model.unlink()
    if left == "older":
        pair = load_model(trained / "model.safetensors", CPU)
        save_model(run.model, replace(pair, info=replace(pair.info, step=8)))
    resume_run(run)
    assert run.model.read_bytes() == whole


def test_the_newest_are_kept_however_many_digits_their_steps_have(tmp_path: Path) -> None:
    steps = [99_999_000, 99_999_500, 100_000_000, 100_000_500]
    for step in steps:
        (tmp_path / checkpoint.step_name(step)).mkdir()
    assert [int(path.name[5:]) for path in checkpoint.checkpoints(tmp_path)] == steps
    checkpoint.prune(tmp_path, steps[-1], keep_last=3, keep_every=0)
    assert {int(path.name[5:]) for path in tmp_path.iterdir()} == set(steps[1:])


def test_copies_of_checkpoints_are_left_alone(trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path / "run")
    copy = run.checkpoints / "step-00000008-good"
    shutil.copytree(run.checkpoints / "step-00000008", copy)
    checkpoint.prune(run.checkpoints, 12, keep_last=1, keep_every=4)
    checkpoint.prune(run.checkpoints, 12, keep_last=1, keep_every=0)
    assert {path.name for path in run.checkpoints.iterdir()} == {copy.name, "step-00000012"}


def test_an_epoch_is_a_round_through_the_larger_domain(towns: Path) -> None:
    assert len(list((towns / "trainA").iterdir())) == 10
    length = {"steps": None, "epochs": 2}
    assert trainer(towns, training=length).steps == 20
    assert trainer(towns, training={**length, "batch": 2, "accumulate": 2}).steps == 5


def test_means_of_losses_are_over_the_steps_that_had_them() -> None:
    sums, good, bad = LossSums(), torch.tensor(0.0), torch.tensor(1.0)
    for value, other in ((2.0, 8.0), (4.0, 6.0)):  # two batches of a step
        sums.add({"x": torch.tensor(value), "y": torch.tensor(other)}, 0.5, good)
    sums.add({"x": torch.tensor(100.0)}, 1, bad)
    sums.add({"x": torch.tensor(9.0)}, 1, good)
    assert sums.take_means() == {"x": 6.0, "y": 7.0}
    sums.add({"x": torch.tensor(5.0)}, 1, good)
    assert sums.take_means() == {"x": 5.0}


def test_the_log_tells_the_losses_of_a_step(towns: Path) -> None:
    """With several batches their mean, as the method itself computes them."""
    one = trainer(towns, training={"accumulate": 2, "history": 0, "batch": 1})
    model = one.state.model
    batches = [one.stepper._batch(i) for i in range(2)]
    with torch.no_grad():
        terms = [model.generator_loss(*batch, one.config.loss)[1] for batch in batches]
    one.step()
    found = one.state.losses.take_means()
    for name in terms[0]:
        expected = sum(float(each[name]) for each in terms) / 2
        assert found[name] == pytest.approx(expected, rel=1e-5), name


def test_a_model_remembers_the_background_and_samples_show_it(tmp_path: Path) -> None:
    for folder, green in (("trainA", 100), ("trainB", 200)):
        (tmp_path / folder).mkdir()
        for i in range(4):
            picture = Image.new("RGBA", (32, 32), (0, green, 10 * i, 255))
            picture.paste((0, 0, 0, 0), (16, 0, 32, 32))
            picture.save(tmp_path / folder / f"{i}.png")
    one = trainer(tmp_path, data={"background": "#ff0000"})
    assert one.keeper.pair().info.background == "#ff0000"
    ((_, picture),) = read_for_looking(one.a.heldout, one.config.a, RGB, one.config, 1)
    assert (picture[:, 17:] == (255, 0, 0)).all()
    assert (picture[:, :15, 1] == 100).all()


def test_the_log_tells_epoch_and_the_rate_of_the_generators(towns: Path) -> None:
    rates = {"rate": 1e-3, "discriminator_rate": 5e-3, "schedule": "constant"}
    one = trainer(towns, optimizer=rates)
    for _ in range(5):
        one.step()
    metrics = one._metrics()
    assert (metrics["epoch"], metrics["rate"]) == (0.5, 1e-3)


def test_a_model_remembers_how_its_pictures_were_cut(towns: Path) -> None:
    for preprocess in ("resize", "crop"):
        one = trainer(towns, data={"preprocess": preprocess})
        assert one.keeper.pair().info.preprocess == preprocess


def test_half_precision_has_a_scale_that_outlives_a_stop(towns: Path, tmp_path: Path) -> None:
    one, again = (trainer(towns, training={"precision": "fp16"}) for _ in range(2))
    assert one.state.scaler.is_enabled()
    one.state.scaler.scale(torch.zeros(1))  # (it begins with the first loss)
    one.state.scaler.update(new_scale=2.0**7)
    one.state.save(tmp_path, one.keeper.pair())
    again.state.load(tmp_path)
    assert again.state.scaler.get_scale() == 2.0**7
    assert not trainer(towns).state.scaler.is_enabled()


def test_pictures_of_any_size_stay_in_the_history_of_a_run_that_goes_on(
    towns: Path, tmp_path: Path
) -> None:
    one, again = (trainer(towns, data={"preprocess": "none"}) for _ in range(2))
    one.state.histories["a"].exchange(torch.zeros(1, 3, 32, 40))
    one.state.save(tmp_path, one.keeper.pair())
    again.state.load(tmp_path)
    assert [tuple(x.shape) for x in again.state.histories["a"].pictures] == [(1, 3, 32, 40)]


def test_scores_of_steps_that_come_again_are_made_again(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.samples.mkdir()
    for step in (4, 8):
        append_line(run.evaluations, step, {"kid/mean": 1.0})
    log = Log(run, 4)
    assert log.scored == {4}
    log.close()
