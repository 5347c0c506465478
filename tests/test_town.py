"""The built-in towns: endless, reproducible, and drawn both ways from one plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.data import town


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_map_shows_the_plan(seed: int) -> None:
    plan = town.plan_town(seed)
    classes = town.draw_classes(plan)
    assert classes.shape == (64, 64)
    np.testing.assert_array_equal(town.read_map(town.draw_map(plan)[None])[0], classes)
    np.testing.assert_array_equal(town.draw_aerial(plan), town.draw_aerial(town.plan_town(seed)))


def test_towns_have_all_that_towns_have() -> None:
    classes = np.stack([town.draw_classes(town.plan_town(seed)) for seed in range(60)])
    shares = {name: float((classes == i).mean()) for i, name in enumerate(town.CLASSES)}
    assert all(share > 0.03 for share in shares.values()), shares
    with_river = (classes == town.WATER).any(axis=(1, 2)).mean()
    assert 0.3 < with_river < 0.7
    assert len({one.tobytes() for one in classes}) == 60


def test_aerial_pictures_can_be_read_and_have_texture() -> None:
    plans = [town.plan_town(seed) for seed in range(20)]
    aerials = np.stack([town.draw_aerial(plan) for plan in plans])
    classes = np.stack([town.draw_classes(plan) for plan in plans])
    assert (town.read_aerial(aerials) == classes).mean() > 0.85
    for i in range(len(town.CLASSES)):  # no class is one flat colour, as it is on the map
        assert aerials[classes == i].std(axis=0).min() > 3


def test_training_folders_hold_different_towns_and_test_folders_pairs(towns: Path) -> None:
    from PIL import Image

    def pictures(name: str) -> list[np.ndarray]:
        return [np.asarray(Image.open(path)) for path in sorted((towns / name).iterdir())]

    train_a, train_b = pictures("trainA"), np.stack(pictures("trainB"))
    assert len(train_a) == len(train_b) == 10
    agreement = []
    for aerial in train_a:  # against every map: the true one would agree far better
        read = town.read_aerial(aerial[None])
        agreement.append((read == town.read_map(train_b)).mean(axis=(1, 2)).max())
    truth = [
        (town.read_aerial(aerial[None]) == town.read_map(drawn[None])).mean()
        for aerial, drawn in zip(pictures("testA"), pictures("testB"), strict=True)
    ]
    assert min(truth) > max(agreement) + 0.1
