"""NaN and infinity: the step is left out, the run goes back once, and then stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_training import trainer
from torch import Tensor, nn

from diptych.cyclegan import CycleGAN
from diptych.data.domain import data_folders
from diptych.errors import DiptychError
from diptych.settings import build_config, merge
from diptych.training import checkpoint
from diptych.training.guard import MOST_IN_A_ROW, GuardedAdam, any_not_finite
from diptych.training.history import History
from diptych.training.run_folder import RunFolder
from diptych.training.session import Listener
from diptych.training.start import resume_run, start_run
from diptych.training.step import _without_broken_ones
from diptych.training.watch import Status, Watch

SETTINGS = {"training": {"steps": 60, "checkpoint_every": 10, "log_every": 5, "history": 4}}


class Poison:
    """Makes one loss of the given steps NaN; ``seen`` counts the steps that were tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, which: str, steps: set[int]) -> None:
        self.seen = 0
        real = getattr(CycleGAN, which)

        def poisoned(model: CycleGAN, *inputs: Any) -> Any:
            loss, *rest = real(model, *inputs)
            self.seen += 1
            return (loss * float("nan") if self.seen in steps else loss, *rest)

        monkeypatch.setattr(CycleGAN, which, poisoned)


def run(towns: Path, place: Path, **sections: Any) -> tuple[RunFolder, list[str]]:
    said: list[str] = []
    folder = RunFolder(place)
    config = build_config(merge(merge(TINY, SETTINGS), sections))
    start_run(data_folders(towns), folder, config, Listener(warn=said.append))
    return folder, said


@pytest.mark.parametrize("which", ["generator_loss", "discriminator_loss"])
def test_single_bad_steps_are_left_out(
    which: str, towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, which, {3, 11, 12, 30})
    folder, said = run(towns, tmp_path / "run")
    assert not [line for line in said if "NaN" in line]
    lines = folder.read_metrics()
    assert [line["step"] for line in lines] == list(range(5, 65, 5))
    text = folder.metrics.read_text()
    assert "NaN" not in text
    json.loads(text.splitlines()[-1])


def test_a_bad_step_changes_no_weight_and_no_moment(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trainer(towns, training={"history": 4})
    for _ in range(2):
        one.step()
    Poison(monkeypatch, "discriminator_loss", {1})
    before = snapshot(one.state.model, one.state.optimizer_G, one.state.optimizer_D)
    one.step()
    after = snapshot(one.state.model, one.state.optimizer_G, one.state.optimizer_D)
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    assert int(one.state.bad_in_row) == 1
    one.step()
    moved = snapshot(one.state.model, one.state.optimizer_G, one.state.optimizer_D)
    assert not all(torch.equal(x, y) for x, y in zip(before, moved, strict=True))
    assert int(one.state.bad_in_row) == 0


def test_a_fake_that_is_no_number_does_not_come_again(towns: Path) -> None:
    one = trainer(towns, training={"history": 4, "judged": 2})
    black = torch.zeros(1, 3, 32, 32)
    bad = torch.full_like(black, float("nan"))
    one.stepper._for_D(0, black, black, {"a": bad, "b": bad})
    for history in one.state.histories.values():
        (kept,) = history.pictures
        assert kept.isfinite().all()


def snapshot(model: nn.Module, *optimizers: torch.optim.Optimizer) -> list[Tensor]:
    moments = [v for o in optimizers for own in o.state.values() for v in own.values()]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *moments)]


def test_many_bad_steps_send_the_run_back_once_at_half_the_rate(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = set(range(33, 33 + MOST_IN_A_ROW + 10))
    poison = Poison(monkeypatch, "generator_loss", bad)
    rate = {"optimizer": {"schedule": "constant", "rate": 1e-4}}
    folder, said = run(towns, tmp_path / "run", **rate)
    (line,) = [line for line in said if "NaN" in line]
    assert "back to step 30, on with 50% of the rate" in line
    assert [warning["text"] for warning in folder.read_warnings()] == [line]
    lines = folder.read_metrics()
    assert [line["step"] for line in lines] == list(range(5, 65, 5))  # none twice
    assert [line["rate"] for line in lines] == [1e-4] * 6 + [5e-5] * 6
    assert poison.seen > 60
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert [one.step for one in events.Scalars("rate")] == list(range(5, 65, 5))
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names == ["step-00000040", "step-00000050", "step-00000060"]


def test_a_stop_just_then_is_no_second_chance(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, "generator_loss", set(range(33, 33 + MOST_IN_A_ROW + 10)))
    rate = {"optimizer": {"schedule": "constant", "rate": 1e-4}}
    folder = RunFolder(tmp_path / "run")

    def stop(line: str) -> None:
        if "NaN" in line:
            raise KeyboardInterrupt

    config = build_config(merge(merge(TINY, SETTINGS), rate))
    with pytest.raises(KeyboardInterrupt):
        start_run(data_folders(towns), folder, config, Listener(warn=stop))
    assert resume_run(folder)
    assert [line["rate"] for line in folder.read_metrics()] == [1e-4] * 6 + [5e-5] * 6


def test_stops_while_steps_are_left_out_keep_the_way_back(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines that are taken away save what there is, several times before 20 steps are bad."""
    Poison(monkeypatch, "generator_loss", set(range(33, 33 + MOST_IN_A_ROW + 10)))
    folder = RunFolder(tmp_path / "run")
    said: list[str] = []
    paces: list[float] = []

    def stop(status: Status) -> None:
        paces.append(status.steps_per_second)
        if status.step in (35, 37, 39, 41):
            raise KeyboardInterrupt

    def listener(watch: Watch) -> Listener:
        return Listener(warn=said.append, watch=watch)

    config = build_config(merge(TINY, SETTINGS))
    with pytest.raises(KeyboardInterrupt):
        start_run(data_folders(towns), folder, config, listener(stop))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            resume_run(folder, listener=listener(stop))
    assert resume_run(
        folder, listener=listener(lambda status: paces.append(status.steps_per_second))
    )
    (line,) = [line for line in said if "NaN" in line]
    assert "back to step 30, on with 50% of the rate" in line
    assert min(paces) > 0  # (also of the session that went back beyond its start)


def test_and_a_second_time_it_stops_and_keeps_what_was_good(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, "generator_loss", set(range(33, 1000)))
    with pytest.raises(DiptychError, match=r"at a lower rate too.*lower optimizer\.rate"):
        run(towns, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names == ["step-00000010", "step-00000020", "step-00000030"]


@pytest.mark.parametrize("bad", [{60}, {59, 60}, {12, 13}])
def test_a_bad_step_at_the_end_costs_nothing(
    bad: set[int], towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, "generator_loss", bad)
    folder, said = run(towns, tmp_path / "run")
    assert not [line for line in said if "NaN" in line]
    assert (folder.checkpoints / "step-00000060").is_dir()
    assert folder.model.exists()


def test_a_checkpoint_that_was_due_in_a_bad_step_is_made_up_for(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, "generator_loss", {11, 12})  # (the first is tried for its memory alone)
    folder, _ = run(towns, tmp_path / "run", training={"steps": 16})
    made = [path.name for path in checkpoint.checkpoints(folder.checkpoints)]
    assert made == ["step-00000012", "step-00000016"]


def test_a_short_run_of_bad_steps_alone_is_not_called_done(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, "generator_loss", set(range(20)))
    with pytest.raises(DiptychError, match="12 steps up to step 12 gave NaN"):
        run(towns, tmp_path / "run", training={"steps": 12})
    assert not RunFolder(tmp_path / "run").model.exists()
    with pytest.raises(DiptychError, match="1 step up to step 1 gave NaN or infinity: fp16 begins"):
        run(towns, tmp_path / "fp16", training={"steps": 1, "precision": "fp16"})


def test_going_back_passes_over_what_was_saved_while_failing(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time ran out in the middle of the failing steps: that checkpoint may hold the cause."""
    from diptych.training.start import resume_run

    Poison(monkeypatch, "generator_loss", set(range(33, 33 + MOST_IN_A_ROW + 10)))
    settings = build_config(merge(merge(TINY, SETTINGS), {}))
    folder = RunFolder(tmp_path / "run")
    made: list[int] = []  # steps: the minutes are over after the 37th
    monkeypatch.setattr(
        "diptych.training.trainer.time.monotonic", lambda: 1e6 if 36 in made else 0.0
    )
    count = Listener(watch=lambda status: made.append(status.step))
    assert not start_run(data_folders(towns), folder, settings, count, max_minutes=1)
    stopped = max(path.name for path in folder.checkpoints.iterdir())
    assert "step-00000030" < stopped < "step-00000040"
    monkeypatch.undo()
    Poison(monkeypatch, "generator_loss", set(range(1, MOST_IN_A_ROW)))
    said: list[str] = []
    assert resume_run(folder, listener=Listener(warn=said.append))
    (line,) = [line for line in said if "NaN" in line]
    assert "back to step 30," in line


def test_what_was_saved_while_failing_is_gone_after_going_back(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else a run that is killed soon after it went back would be resumed from it."""
    one = trainer(towns, training={"history": 4})
    one.keeper.run = one.run = RunFolder(tmp_path)
    one.run.checkpoints.mkdir()
    for failing in range(2):
        for _ in range(2):
            one.step()
        one.state.bad_in_row += failing
        one.keeper.save()
    assert [path.name for path in checkpoint.checkpoints(one.run.checkpoints)][-1].endswith("04")
    one.health.said.add("a warning of a step that is taken back")
    one._go_back(None)
    assert one.state.step == 2
    assert not one.health.said  # it may be due again
    assert [path.name for path in checkpoint.checkpoints(one.run.checkpoints)] == ["step-00000002"]


def test_where_no_step_was_good_a_lower_rate_is_advised(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a run that was stopped, whose checkpoints are all of failing steps."""
    Poison(monkeypatch, "generator_loss", set(range(100)))
    folder, settings = RunFolder(tmp_path / "run"), build_config(merge(TINY, SETTINGS))
    assert not start_run(data_folders(towns), folder, settings, max_minutes=0)
    assert len(checkpoint.checkpoints(folder.checkpoints)) == 1
    with pytest.raises(DiptychError, match="NaN or infinity: start again with a lower optimizer"):
        resume_run(folder)


def test_what_a_history_has_no_room_for_by_now_is_forgotten() -> None:
    """It would be shown to D for ever. And what D cannot be shown with others is too."""
    full = History(5, 0)
    for i in range(5):
        full.exchange(torch.full((1, 1, 4, 4 + i // 4), float(i)))
    state = full.state()
    for size, left in ((2, [0.0, 1.0]), (0, []), (9, [0.0, 1.0, 2.0, 3.0, 4.0])):
        smaller = History(size, 0)
        smaller.load(state, torch.device("cpu"))
        assert [float(one.mean()) for one in smaller.pictures] == left
    full.drop_other_sizes(4)  # (the last one is no square)
    assert [float(one.mean()) for one in full.pictures] == [0.0, 1.0, 2.0, 3.0]


def test_weights_that_are_no_numbers_are_not_saved(towns: Path, tmp_path: Path) -> None:
    one = trainer(towns)
    one.keeper.run = one.run = RunFolder(tmp_path)
    one.run.checkpoints.mkdir()
    one.step()
    one.keeper.save()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    one.step()
    next(one.state.model.parameters()).data.view(-1)[0] = float("nan")
    with pytest.raises(DiptychError, match="became NaN before step 2 and were not saved"):
        one.keeper.save()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_fp16_and_batch_norm_change_nothing_in_a_bad_step(
    towns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = {"generator": {"norm": "batch"}, "discriminator": {"norm": "batch"}}
    one = trainer(towns, training={"precision": "fp16"}, **norms)
    for _ in range(8):  # until the loss scale fits
        one.step()
    assert int(one.state.bad_in_row) == 0
    x = one.stepper.batches_a.at

    def spoiled(position: int, size: int) -> Tensor:
        return x(position, size) * float("nan")

    before = [value.clone() for value in one.state.model.state_dict().values()]
    monkeypatch.setattr(one.stepper.batches_a, "at", spoiled)
    one.step()
    assert int(one.state.bad_in_row) == 1
    after = one.state.model.state_dict().values()
    assert all(torch.equal(p, q) for p, q in zip(before, after, strict=True))


def test_a_broken_fake_is_replaced_by_one_of_its_size() -> None:
    past = [torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9)]
    whole = torch.rand(1, 3, 8, 8)
    made = _without_broken_ones(torch.cat([whole, whole / 0]), past)
    assert torch.equal(made, torch.cat([whole, past[0]]))
    assert torch.equal(_without_broken_ones(torch.full((1, 3, 7, 7), torch.nan), past),
                       torch.zeros(1, 3, 7, 7))  # fmt: skip
    infinite = torch.tensor([torch.inf, -torch.inf, 0.5]).view(1, 3, 1, 1)  # stays a picture
    assert _without_broken_ones(infinite, past).flatten().tolist() == [1, -1, 0.5]


def test_broken_fakes_are_not_remembered(towns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D would be shown plain grey pictures for long."""
    one = trainer(towns, training={"history": 20})
    for _ in range(3):
        one.step()
    x = one.stepper.batches_a.at
    monkeypatch.setattr(
        one.stepper.batches_a, "at", lambda place, size: x(place, size) * float("nan")
    )
    for _ in range(5):
        one.step()
    assert int(one.state.bad_in_row) == 5
    for history in one.state.histories.values():
        assert len(history.pictures) == 8
        assert all(float(picture.std()) > 1e-3 for picture in history.pictures)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_number_among_many_is_found(value: float) -> None:
    parameters = [nn.Parameter(torch.zeros(50)), nn.Parameter(torch.zeros(3, 4))]
    for p in parameters:
        p.grad = torch.randn_like(p)
    fine = torch.tensor(1.0)
    assert float(any_not_finite([fine, fine], parameters)) == 0
    assert float(any_not_finite([fine, fine * value], parameters)) == 1
    assert parameters[1].grad is not None
    parameters[1].grad[2, 3] = value
    assert float(any_not_finite([fine, fine], parameters)) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_guarded_adam_is_adam(fused: bool) -> None:
    """Against the update written out (Kingma & Ba, 2015, algorithm 1), in float64."""
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(7, dtype=torch.float64))
    adam = GuardedAdam([p], 0.1, (0.5, 0.99))
    if not fused:  # as on devices without the kernel
        adam.fused = adam.param_groups[0]["fused"] = False
    x, m, v = p.detach().clone(), torch.zeros(7).double(), torch.zeros(7).double()
    for t in range(1, 6):
        g = torch.randn(7, dtype=torch.float64)
        p.grad = torch.full_like(g, float("nan"))
        adam.step_unless(torch.tensor(1.0))  # as if it had not been
        p.grad = g.clone()
        adam.step_unless(torch.tensor(0.0))
        m, v = 0.5 * m + 0.5 * g, 0.99 * v + 0.01 * g * g
        x = x - 0.1 * (m / (1 - 0.5**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8)
        torch.testing.assert_close(p.detach(), x, rtol=1e-9, atol=1e-12)
