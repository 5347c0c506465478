"""Learning rates, the history and the average: small rules, checked against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from diptych.config import Config, LossConfig, OptimizerConfig
from diptych.training.average import keep_share, update_average
from diptych.training.history import History
from diptych.training.schedule import Plateau, rate_share, weights_at


@pytest.mark.parametrize(
    ("schedule", "values"),
    [  # at 0, 1/4, 1/2, 3/4, 1
        ("constant", [1, 1, 1, 1, 1]),
        ("linear", [1, 1, 1, 0.5, 0]),
        ("cosine", [1, 1, 1, 0.5, 0]),
        ("step", [1, 0.1, 0.01, 0.001, 0.001]),
    ],
)
def test_schedules(schedule: str, values: list[float]) -> None:
    optimizer = OptimizerConfig.model_validate({"schedule": schedule})
    at = [rate_share(progress, optimizer) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert at == pytest.approx(values, abs=1e-12)


def test_cosine_over_the_whole_run_is_a_cosine() -> None:
    optimizer = OptimizerConfig(schedule="cosine", decay_from=0)
    for p in (0.1, 0.3, 0.9):
        assert rate_share(p, optimizer) == pytest.approx((1 + math.cos(math.pi * p)) / 2)


def test_weights_move_from_start_to_end() -> None:
    loss = LossConfig(cycle=10, cycle_end=2, identity=5, noise=0.25, noise_end=0)
    at = [weights_at(progress, 0, Config(loss=loss)) for progress in (0, 0.25, 1)]
    assert [one.cycle for one in at] == [10, 8, 2]
    assert [one.identity for one in at] == [5, 5, 5]
    assert [one.noise for one in at] == [0.25, 0.1875, 0]


def test_weights_move_seldom() -> None:
    """A GPU records its passes anew at each move."""
    config = Config(loss=LossConfig(noise=0.25, noise_end=0.05))
    seen = [weights_at(step / 1000, 0, config).noise for step in range(1001)]
    assert len(set(seen)) == 21
    assert seen == sorted(seen, reverse=True)
    exact = [0.25 - 0.2 * step / 1000 for step in range(1001)]
    assert max(abs(x - y) for x, y in zip(seen, exact, strict=True)) <= 0.2 / 40 + 1e-9


def test_plateau_waits_for_patience_and_then_lowers_the_rate() -> None:
    plateau = Plateau(factor=0.5, patience=2)
    for loss in (1.0, 0.8, 0.81, 0.795):  # (less than 1 % below the best is no improvement)
        plateau.look(loss)
    assert plateau.share == 1.0
    plateau.look(0.805)
    assert plateau.share == 0.5
    for loss in (0.5, 0.6, 0.6, 0.6):
        plateau.look(loss)
    assert plateau.share == 0.25
    plateau.look(0.6)
    plateau.look(0.6)
    assert plateau.share == 0.25  # it waits anew
    plateau.look(0.6)
    assert plateau.share == 0.125


def test_history_fills_and_then_exchanges_half_of_the_pictures() -> None:
    history = History(50, seed=1)
    for i in range(50):
        shown = history.exchange(torch.full((1, 1, 2, 2), float(i)))
        assert float(shown.mean()) == i
    shown_past, seen = 0, set(range(50))
    for i in range(50, 2050):
        shown = float(history.exchange(torch.full((1, 1, 2, 2), float(i))).mean())
        assert shown in seen | {i}
        if shown != i:
            shown_past += 1
            seen.remove(int(shown))  # given away for the new one
            seen.add(i)
    assert 900 < shown_past < 1100
    assert {float(p.mean()) for p in history.pictures} == seen


def test_history_goes_on_exactly_from_its_state() -> None:
    first = History(5, seed=2)
    for i in range(12):
        first.exchange(torch.full((1, 1, 1, 1), float(i)))
    second = History(5, seed=99)
    second.load(first.state(), torch.device("cpu"))
    for i in range(12, 60):
        fake = torch.full((1, 1, 1, 1), float(i))
        assert float(first.exchange(fake)) == float(second.exchange(fake))
        assert list(map(float, first.recall(2))) == list(map(float, second.recall(2)))


def test_history_passes_no_gradient_and_none_at_size_0_remembers() -> None:
    fake = torch.ones(2, 1, 2, 2, requires_grad=True) * 2
    assert not History(5, seed=0).exchange(fake).requires_grad
    history = History(0, seed=0)
    assert torch.equal(history.exchange(fake), fake)
    assert history.pictures == []


def test_a_past_picture_of_another_size_is_not_shown() -> None:
    history = History(3, seed=0)
    past = torch.zeros(3, 1, 2, 2)
    history.exchange(past)
    for _ in range(20):
        fake = torch.ones(1, 1, 2, 3)
        assert torch.equal(history.exchange(fake), fake)
    assert torch.equal(torch.cat(history.pictures), past)


def test_recalled_pictures_are_any_of_the_past() -> None:
    history = History(9, seed=0)
    history.exchange(torch.arange(9.0).view(9, 1, 1, 1))
    pairs = [tuple(int(picture) for picture in history.recall(2)) for _ in range(100)]
    assert {i for pair in pairs for i in pair} == set(range(9))
    assert all(first != second for first, second in pairs)


def test_average_halves_the_distance_in_one_half_life() -> None:
    average, current = nn.Linear(2, 2), nn.Linear(2, 2)
    start = average.weight.detach().clone()
    for _ in range(100):
        update_average(average, current, keep_share(100, step=10_000))
    torch.testing.assert_close(average.weight, (start + current.weight) / 2)
    assert keep_share(500, step=1) < 1e-3  # the random start is forgotten at once


def test_statistics_are_those_of_the_last_step_not_averages() -> None:
    average, current = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    current(torch.rand(3, 2, 4, 4))
    update_average(average, current, 0.9)
    expected = dict(current.named_buffers())
    torch.testing.assert_close(dict(average.named_buffers()), expected, rtol=0, atol=0)


def test_what_most_steps_leave_out_one_makes_up_for() -> None:
    config = Config(loss=LossConfig(cycle=2, identity=1, cycle_every=4))
    steps = [weights_at(0, step, config) for step in range(8)]
    assert [one.cycle for one in steps] == [8, 0, 0, 0, 8, 0, 0, 0]
    assert [one.identity for one in steps] == [4, 0, 0, 0, 4, 0, 0, 0]
    assert weights_at(0, 5, Config(loss=LossConfig(cycle=2))).cycle == 2


def test_of_few_past_pictures_as_many_are_recalled_as_are_asked_for() -> None:
    """So D sees as many from the first step on."""
    history = History(9, seed=0)
    assert history.recall(3) == []
    history.exchange(torch.arange(2.0).view(2, 1, 1, 1))
    recalled = [int(picture) for picture in history.recall(5)]
    assert len(recalled) == 5
    assert sorted(map(recalled.count, (0, 1))) == [2, 3]
