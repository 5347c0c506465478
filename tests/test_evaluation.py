"""Scores against independent implementations, closed forms, and a published generator."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gan_compression
import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import SHARED, TINY_OPTIONS, Command
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

import diptych as package
from diptych.data import town
from diptych.data.pixels import RGB, nearest_colour
from diptych.errors import DiptychError, UsageError
from diptych.evaluation import features
from diptych.evaluation.distances import (
    Interval,
    frechet_distance,
    kid,
    nearest_distance,
    precision_recall,
)
from diptych.evaluation.features import Described, make_feature_net
from diptych.evaluation.heldout import Heldout, read_heldout
from diptych.evaluation.pairs import (
    Likeness,
    PaletteScores,
    likeness,
    palette_scores,
    psnr,
    ssim,
)
from diptych.evaluation.results import DirectionScores, Distances, Evaluation, SetScores
from diptych.evaluation.scores import evaluate_pair, score_sets
from diptych.evaluation.table import score_tables
from diptych.evaluation.wanted import find_wanted
from diptych.evaluation.yardstick import make_yardstick
from diptych.host.files import file_sha256
from diptych.host.lock import only_one
from diptych.model_file import GeneratorPair, ModelInfo, load_model, save_model
from diptych.network_config import GeneratorConfig
from diptych.networks import make_generator
from diptych.report.compare_page import make_grid
from diptych.report.page import picture_url, write_report
from diptych.scoring import Target, stored_evaluation
from diptych.training.log import Log
from diptych.training.looks import score_and_keep_best
from diptych.training.run_folder import RunFolder

CPU = torch.device("cpu")
ZEBRA = 340  # among the classes of ImageNet


def samples(rows: int, columns: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(columns, columns)) / columns**0.5
    return rng.normal(size=(rows, columns)) @ mixing + shift


class Given(nn.Module):
    """Stands in for torchmetrics' network: the 'pictures' are the features already."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.num_features = columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(("rows", "columns"), [(60, 8), (30, 64)])
def test_kid_and_frechet_agree_with_torchmetrics(rows: int, columns: int) -> None:
    x, y = samples(rows, columns, 1), samples(rows, columns, 2, shift=0.3)
    fid = FrechetInceptionDistance(feature=Given(columns), normalize=True).set_dtype(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the memory that it takes
        their_kid = KernelInceptionDistance(
            feature=Given(columns), subsets=1, subset_size=rows, normalize=True
        ).set_dtype(torch.float64)
    for metric in (fid, their_kid):
        metric.inception.num_features = columns
        metric.normalize = False
        metric.used_custom_model = True
        metric.update(torch.from_numpy(x), real=True)
        metric.update(torch.from_numpy(y), real=False)
    # Their covariance of few rows has eigenvalues around zero, whose roots are noise.
    tolerance = 1e-6 if rows > columns else 1e-4
    assert frechet_distance(x, y) == pytest.approx(float(fid.compute()), rel=tolerance)
    assert kid(x, y, resamples=0).value == pytest.approx(float(their_kid.compute()[0]), rel=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(200, 5), (8, 7)])
def test_frechet_distance_of_gaussians_has_a_closed_form(rows: int, columns: int) -> None:
    """Samples made to have exactly these means and (commuting) covariances."""
    white = samples(rows, columns, 0)
    white -= white.mean(axis=0)
    covariance = white.T @ white / (rows - 1)
    white = white @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    rng = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(rng.normal(size=(columns, columns)))
    s, t = rng.uniform(0.5, 3, columns), rng.uniform(0.5, 3, columns)
    mean = rng.normal(size=columns)
    x, y = white * s @ rotation, white * t @ rotation + mean
    expected = (mean**2).sum() + ((s - t) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_kid_is_unbiased_and_its_interval_covers() -> None:
    """Over many draws of two equal distributions: mean zero, and zero inside 95 % of the time."""
    rng = np.random.default_rng(0)
    trials = [
        kid(rng.normal(size=(40, 6)), rng.normal(size=(50, 6)), resamples=200) for _ in range(300)
    ]
    values = np.array([trial.value for trial in trials])
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5
    far = [
        kid(rng.normal(size=(40, 6)), rng.normal(size=(50, 6)) + 0.5, resamples=200)
        for _ in range(300)
    ]
    large = kid(rng.normal(size=(3000, 6)), rng.normal(size=(3000, 6)) + 0.5, resamples=0).value
    covered = np.mean([trial.low <= large <= trial.high for trial in far])
    assert 0.88 < covered <= 0.99


@pytest.mark.parametrize("partners", [None, [2, -1, 0, 7, 1, -1, -1, 3, 5, 6]])
def test_kid_and_its_interval_by_hand(partners: list[int] | None) -> None:
    """The quantiles of resamples; copies of one picture, and partners, are not compared."""
    x, y = samples(10, 5, 1), samples(8, 5, 2, shift=0.3)
    of_x = np.array(partners or [-1] * len(x))

    def likeness_of(x: np.ndarray, y: np.ndarray, apart: np.ndarray) -> float:
        return float(((x @ y.T / 5 + 1) ** 3)[apart].mean())

    def distance(i: np.ndarray, j: np.ndarray) -> float:
        within = likeness_of(x[i], x[i], i[:, None] != i) + likeness_of(y[j], y[j], j[:, None] != j)
        return within - 2 * likeness_of(x[i], y[j], of_x[i][:, None] != j)

    found = kid(x, y, partners, 300)
    assert found.value == pytest.approx(distance(np.arange(10), np.arange(8)))
    rng = np.random.default_rng(0)
    draws = [rng.multinomial(n, np.full(n, 1 / n), size=300) for n in (10, 8)]
    values = [
        distance(*(np.repeat(np.arange(len(n)), n) for n in draw))
        for draw in zip(*draws, strict=True)
    ]
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_precision_and_recall_of_known_sets() -> None:
    real = samples(60, 4, 0)
    assert precision_recall(real, real.copy()) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)
    collapsed = real[:1] + 1e-6 * samples(60, 4, 1)  # one good picture, again and again
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1
    assert recall <= 1 / 30
    line = np.arange(4.0)[:, None]  # balls reach 3, 2, 2 and 3 far: -3 lies on the first one's edge
    assert precision_recall(10 * line - 3, line) == (1, 1 / 4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 4))
def test_precision_and_recall_by_their_definition(seed: int, k: int) -> None:
    real, fake = samples(12, 3, seed), samples(9, 3, seed + 1, shift=0.5)

    def inside(points: np.ndarray, manifold: np.ndarray) -> float:
        hits = 0
        for point in points:
            for centre in manifold:
                radius = sorted(np.linalg.norm(manifold - centre, axis=1))[k]
                if np.linalg.norm(point - centre) <= radius:
                    hits += 1
                    break
        return hits / len(points)

    assert precision_recall(real, fake, k) == (inside(fake, real), inside(real, fake))


def test_translations_are_ranked_by_their_distance() -> None:
    real = samples(20, 4, 0)
    translated = np.concatenate([real[:5] + offset for offset in (9, 0.01, 3)])
    found = score_sets(
        Described(translated, None), Described(real + 5, None), Described(real, None),
        [str(i) for i in range(15)], [],
    )  # fmt: skip
    assert set(found.best_first[:5]) == {"5", "6", "7", "8", "9"}
    assert set(found.best_first[-5:]) == {"0", "1", "2", "3", "4"}
    assert nearest_distance(translated, real, 1)[5] == pytest.approx(0.02)
    assert abs(found.split.kid.value) < found.untouched.kid.value
    assert found.translations.recognised is None


def test_sets_are_scored_the_right_way_round() -> None:
    real = samples(60, 4, 0)
    collapsed = real[:1] + 1e-6 * samples(60, 4, 1)  # one good picture, again and again
    translated, untouched = Described(collapsed, None), Described(real + 100, None)
    found = score_sets(translated, untouched, Described(real, None), list(map(str, range(60))), [])
    assert (found.translations.precision, found.untouched.precision) == (1, 0)
    assert found.translations.recall < 0.1


def test_partners_are_left_out_of_translations_and_untouched_alike() -> None:
    made, untouched, real = (samples(9, 4, seed) for seed in range(3))
    partners = [3, -1, 0, 1, 2, 8, 7, 6, -1]
    found = score_sets(
        *(Described(x, None) for x in (made, untouched, real)), list("abcdefghi"), [], partners
    )
    assert found.translations.kid == kid(made, real, partners)
    assert found.untouched.kid == kid(untouched, real, partners)


def test_a_partner_that_cannot_be_read_is_none() -> None:
    first, second = (np.full((4, 4, 3), value, np.uint8) for value in (1, 2))
    source = Heldout([Path("a/x.png"), Path("a/y.png")], [first, second], RGB)
    real = Heldout([Path("b/y.png")], [second], RGB, [Path("b/x.png")])
    found = find_wanted(Target(), source, real, (), True, False)
    assert found.partners == [-1, 0]
    assert found.truths is not None
    assert found.truths[0] is None


def test_pairs_by_order_count_as_people_do() -> None:
    """img2 is before img10, whether the other side is padded or not."""
    numbers = [1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9]  # as disks sort their names
    pictures = [np.full((4, 4, 3), n, np.uint8) for n in range(13)]
    source = Heldout([Path(f"a/img{n}.png") for n in numbers], [pictures[n] for n in numbers], RGB)
    real = Heldout([Path(f"b/m{n:03}.png") for n in range(1, 13)], pictures[1:], RGB)
    for there, back in ((source, real), (real, source)):
        found = find_wanted(Target(), there, back, (), True, True)
        assert found.truths is not None
        for own, truth in zip(there.pictures, found.truths, strict=True):
            np.testing.assert_array_equal(own, truth)


def test_the_split_is_drawn_at_random() -> None:
    """Files lie in an order: by day or by place."""
    real = np.concatenate([samples(40, 4, 0), samples(40, 4, 1, shift=5)])
    one = Described(real, None)
    found = score_sets(one, one, one, list(map(str, range(80))), [])
    assert (found.split.precision, found.split.recall) == pytest.approx((1, 1), abs=0.3)


def test_each_score_stands_in_its_own_cell() -> None:
    made, split, untouched = (
        SetScores(Interval(x + 0.01, x, x + 0.02), 70 + x, 0.5 + x, 0.2 + x, 0.9 + x / 10)
        for x in (0.1, 0.2, 0.3)
    )
    distances = Distances(made, split, untouched, [])
    palette = PaletteScores(0.61, 0.62, 0.63, {"#ffffff": 0.64, "#000000": 0.65}, strange=0)
    direction = DirectionScores(
        to="b", pictures=60, targets=50, distances=distances, cycle=Likeness(0.1, 21, 0.31),
        identity_l1=0.4, paired=Likeness(0.2, 22, 0.32), palette=palette, lpips=0.5,
        classes=(340, 7),
    )  # fmt: skip
    tables = score_tables(Evaluation(1, 32, "inception", "FID", "", direction, None))
    assert [(table.title, table.columns, table.rows) for table in tables] == [
        (
            "A to B: 60 translations, 50 real pictures",
            ["", "translations", "real, split", "untouched"],
            [
                ["KID x 1000", "110.0", "210.0", "310.0"],
                ["95 % interval", "100.0 to 120.0", "200.0 to 220.0", "300.0 to 320.0"],
                ["FID", "70.1", "70.2", "70.3"],
                ["precision", "0.60", "0.70", "0.80"],
                ["recall", "0.30", "0.40", "0.50"],
                ["recognised as 340, 7", "91.0%", "92.0%", "93.0%"],
            ],
        ),
        (
            "A to B: picture by picture",
            ["", "L1", "PSNR (dB)", "SSIM", "LPIPS (AlexNet)"],
            [
                ["there and back", "0.1000", "21.0", "0.310", ""],
                ["of the target already", "0.4000", "", "", ""],
                ["against the true translation", "0.2000", "22.0", "0.320", "0.500"],
            ],
        ),
        (
            "A to B: label maps",
            ["", "score"],
            [
                ["pixels right", "61.0%"],
                ["mean over classes", "62.0%"],
                ["mean IoU over classes", "0.630"],
                ["pixels of #ffffff right", "64.0%"],
                ["pixels of #000000 right", "65.0%"],
            ],
        ),
    ]


@pytest.mark.parametrize(
    ("change", "words", "shown"),
    [
        ({"pictures": 2000, "targets": 1999}, "fewer than 2000", True),
        ({"pictures": 1999, "targets": 2000}, "go by KID", True),
        ({"pictures": 2000, "targets": 2000}, "go by KID", False),
        ({"channels": 4}, "first three of 4 channels", True),
        ({"channels": 3}, "channels alone", False),
        ({"strength": 0.5}, "changed 0.5 times as much", True),
        ({}, "times as much", False),
        ({"learned_from": 3}, "3 held-out pictures had been learned from", True),
        ({"strange": 0.011}, "BUT 1% of the true pixels", True),
        ({"strange": 0.009}, "BUT", False),
    ],
    ids=str,
)
def test_what_scores_do_not_say_is_remarked_on(
    change: dict[str, Any], words: str, shown: bool
) -> None:
    scores = SetScores(Interval(0.1, 0, 0.2), 1, 1, 1, None)
    palette = PaletteScores(0.5, 0.5, 0.5, {}, strange=change.pop("strange", 0.0))
    whole = {name: change.pop(name) for name in ("strength", "learned_from") if name in change}
    direction = DirectionScores(
        "b", 60, 50, Distances(scores, scores, scores, []), None, None, None, palette
    )
    found = Evaluation(1, 32, "inception", "FID", "", replace(direction, **change), None, **whole)
    tables = score_tables(found)
    assert (words in " ".join(table.note for table in tables)) is shown
    many = min(found.to_b.pictures, found.to_b.targets) >= 2000
    assert [row[0] for row in tables[0].rows[:2]] == (
        ["FID", "KID x 1000"] if many else ["KID x 1000", "95 % interval"]
    )


@pytest.mark.parametrize("shape", [(1, 3, 40, 31), (2, 1, 16, 16)])
def test_ssim_agrees_with_torchmetrics(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=rng, dtype=torch.float64) * 2 - 1
    y = (x + 0.3 * torch.randn(shape, generator=rng, dtype=torch.float64)).clamp(-1, 1)
    # They also look beyond the edge, at mirrored pixels; Wang et al. do not.
    _, everywhere = structural_similarity_index_measure(
        y + 1, x + 1, data_range=2.0, reduction="none", return_full_image=True
    )
    theirs = everywhere[..., 5:-5, 5:-5].flatten(1).mean(dim=1)
    torch.testing.assert_close(ssim(x, y), theirs)
    torch.testing.assert_close(ssim(x, x), torch.ones(shape[0], dtype=torch.float64))


def test_likeness_in_numbers() -> None:
    x = torch.zeros(1, 3, 20, 20)
    y = x + 0.2
    assert likeness(x, y).l1 == pytest.approx(0.2)
    assert float(psnr(x, y)) == pytest.approx(20)  # 10 log10(4 / 0.04)
    assert float(psnr(x, x)) == pytest.approx(100)
    assert likeness(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)).ssim == pytest.approx(1)


def test_palette_scores_by_hand() -> None:
    palette = np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    truth = palette[np.array([[[0, 0, 0, 1], [1, 1, 2, 2]]])]
    fake = palette[np.array([[[0, 0, 1, 1], [1, 1, 2, 3]]])]
    fake = np.clip(fake.astype(int) + 20, 0, 255).astype(np.uint8)  # not exactly the colours
    assert palette_scores(truth, truth, palette).strange == 0
    assert palette_scores(truth, truth, palette[1:3]).strange == 3 / 8  # (what is white)
    found = palette_scores(fake, truth, palette)
    assert found.strange == 0  # (wrong guesses say nothing against the truth)
    assert found.pixel_accuracy == 6 / 8
    assert found.class_accuracy == pytest.approx((2 / 3 + 3 / 3 + 1 / 2) / 3)
    assert found.class_iou == pytest.approx((2 / 3 + 3 / 4 + 1 / 2) / 3)
    assert list(found.accuracy_of) == ["#ffffff", "#000000", "#ff0000"]  # no blue in the truth


@pytest.mark.skipif(not SHARED.exists(), reason="the reference generator is not here")
def test_a_published_generator_scores_as_published() -> None:
    """KID x 1000 64.7 and 87.5 % zebras for its output, 219.5 and none for untouched horses."""
    G = gan_compression.load(SHARED / "reference/gan_compression_horse2zebra/latest_net_G.pth")
    folder = SHARED / "data" / "horse2zebra"
    horses, zebras = (
        [Image.open(path).convert("RGB") for path in sorted((folder / name).iterdir())]
        for name in ("testA", "testB")
    )
    with torch.inference_mode():
        fakes = [
            Image.fromarray(RGB.to_pixels(G(RGB.to_tensor(np.array(horse)[None])))[0])
            for horse in horses
        ]
    net = make_feature_net("efficientnet-lite0", CPU)
    names = [str(i) for i in range(len(horses))]
    found = score_sets(net(fakes), net(horses), net(zebras), names, [ZEBRA])
    assert 1000 * found.translations.kid.value == pytest.approx(64.7, abs=1.5)
    assert 1000 * found.untouched.kid.value == pytest.approx(219.5, abs=1.5)
    assert found.translations.frechet == pytest.approx(107.8, abs=1.5)
    assert found.untouched.frechet == pytest.approx(220.2, abs=1.5)
    assert found.translations.recognised == pytest.approx(0.875, abs=0.02)
    assert found.untouched.recognised == 0


@pytest.fixture(scope="module")
def scored(trained: Path, towns: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny run that knows of ten held-out towns (the training ones)."""
    run = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(trained, run)
    data = json.loads((run / "data.json").read_text())
    for side, folder in (("a", "trainA"), ("b", "trainB")):
        data[side]["heldout"] = [str(path) for path in sorted((towns / folder).iterdir())]
        data["folders"][f"test_{side}"] = str(towns / folder)
    (run / "data.json").write_text(json.dumps(data))
    return run


def test_evaluate_from_the_command_line(
    scored: Path, towns: Path, tmp_path: Path, diptych: Command
) -> None:
    palette = "#eee0be,#ffffff,#ba685c,#96ce80,#6cace4"
    options = ["--features", "efficientnet-lite0", "--paired", "--palette", palette]
    shown = diptych("evaluate", scored, *options, "--classifier", "340,341")
    assert shown.returncode == 0, shown.stderr
    for words in (
        "A to B: 10 translations, 10 real pictures", "KID x 1000", "Fréchet distance",
        "efficientnet-lite0 features", "untouched", "there and back", "mean IoU",
        "recognised as 340, 341",
    ):  # fmt: skip
        assert words in shown.stdout
    assert "FID" not in shown.stdout
    of_a = diptych("evaluate", scored, *options, "--classifier-a", "340", "--json")
    found = json.loads(of_a.stdout)
    distances = found["to_b"]["distances"]
    assert distances["translations"]["recognised"] is None
    assert found["to_a"]["distances"]["translations"]["recognised"] is not None
    assert distances["translations"]["kid"]["low"] < distances["translations"]["kid"]["high"]
    assert (scored / "evaluation.json").is_file()
    assert abs(distances["split"]["kid"]["value"]) < distances["untouched"]["kid"]["value"]
    assert len(distances["best_first"]) == 10
    assert found["to_b"]["palette"]["pixel_accuracy"] < 1
    assert found["to_b"]["identity_l1"] > 0
    assert diptych("report", scored).returncode == 0
    page = (scored / "report.html").read_text()
    assert "A to B: the worst by efficientnet-lite0 features" in page
    assert "KID x 1000" in page

    # Where its pictures have moved since, the scores stay, and nothing claims to be the worst.
    run, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(scored, run)
    shutil.copytree(towns, moved)
    done = diptych("train", "--run", run, "--resume", "--data", moved)
    assert done.returncode == 0, done.stderr
    done = diptych("report", run)
    assert done.returncode == 0, done.stderr
    page = (run / "report.html").read_text()
    assert "KID x 1000" in page
    assert "the worst by" not in page


def test_scores_are_shown_where_they_cannot_be_kept(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "evaluation.json").mkdir()  # (to root all folders are writable)
    shown = diptych("evaluate", run, "--features", "efficientnet-lite0")
    assert shown.returncode == 0, shown.stderr
    assert "there and back" in shown.stdout
    assert "the scores are not kept: cannot write" in shown.stderr
    assert "next:" not in shown.stdout


def test_few_pictures_are_scored_one_by_one_only(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    found = package.evaluate(tmp_path / "run", features="efficientnet-lite0", device="cpu")
    assert found.to_b.distances is None
    assert found.to_b.pictures == 4
    assert found.to_b.paired is not None  # the test towns have partners of the same name
    translator = package.load(trained, "cpu")
    heldout = json.loads((trained / "data.json").read_text())["a"]["heldout"]
    there_and_back = []
    for path in heldout:
        x = RGB.to_tensor(np.array(Image.open(path))[None])
        there_and_back.append(translator.tensor(translator.tensor(x, "b"), "a") - x)
    expected = float(torch.cat(there_and_back).abs().mean())
    assert found.to_b.cycle.l1 == pytest.approx(expected, rel=1e-5)


def test_inception_is_read_from_a_file_and_its_distance_is_fid(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small TorchScript network that is called as Inception is."""

    class Small(nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            assert return_features
            assert x.dtype == torch.uint8
            return x.float().mean(dim=3).flatten(1)[:, :16]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out, but the file is in it
        torch.jit.script(Small()).save(str(tmp_path / "inception.pt"))
    with pytest.raises(DiptychError, match="not the published Inception network"):
        package.evaluate(scored, inception_file=tmp_path / "inception.pt")
    monkeypatch.setattr(features, "INCEPTION_SHA256", file_sha256(tmp_path / "inception.pt"))
    found = package.evaluate(scored, inception_file=tmp_path / "inception.pt")
    assert found.frechet_name == "FID"
    assert any("inception features" in table.note for table in score_tables(found))


def test_one_at_a_time_gets_inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    with (
        only_one(tmp_path, ".inception.lock"),
        pytest.raises(DiptychError, match=r"is in use by process .* another feature network"),
    ):
        make_feature_net("inception", CPU)


def test_inceptions_pictures_are_classified_by_another_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def inception(*_: Any) -> features.Run:
        return lambda pictures: (torch.zeros(len(pictures), 16), None)

    monkeypatch.setattr(features, "_inception", inception)
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green")]
    plain, classified = (
        make_feature_net("inception", CPU, classify=classify)(pictures)
        for classify in (False, True)
    )
    own = make_feature_net("efficientnet-lite0", CPU)(pictures)
    assert plain.classes is None
    assert classified.features.shape == (2, 16)
    np.testing.assert_array_equal(classified.classes, own.classes)


def test_lpips_is_given_true_pairs_where_its_package_is_installed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of that name that measures L1, so that the score is known."""
    run = shutil.copytree(trained, tmp_path / "run")
    assert package.evaluate(run).to_b.lpips is None  # it is not among what tests install
    (tmp_path / "lpips.py").write_text(
        "import torch\n"
        "class LPIPS(torch.nn.Module):\n"
        "    def __init__(self, net, verbose):\n"
        "        super().__init__()\n"
        "        assert net == 'alex'\n"
        "    def forward(self, x, y):\n"
        "        assert x.shape == y.shape and x.shape[:2] == (1, 3)\n"
        "        assert x.min() >= -1 and x.max() <= 1\n"
        "        return (x - y).abs().mean(dim=(1, 2, 3), keepdim=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = package.evaluate(run)
    for direction in found.directions:
        assert direction.paired is not None
        assert direction.lpips == pytest.approx(direction.paired.l1, rel=1e-5)
    (table,) = [t for t in score_tables(found) if t.title == "A to B: picture by picture"]
    assert table.columns[-1] == "LPIPS (AlexNet)"
    assert table.rows[-1][-1] == f"{found.to_b.lpips:.3f}"
    assert len({len(row) for row in table.rows}) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--features", "inceptoin"], "did you mean 'inception'?"),
        (["--palette", "#fff"], "two or more different colours"),
        (["--palette", "#fff,bluish"], "bluish"),
        (["--palette", "#fff,#000", "--unpaired"], "of the same names, or"),
        (["--classifier", "zebra"], "0 to 999"),
        (["--inception-file", __file__], "is not the published Inception network"),
        (["--inception-file", "x.pt", "--features", "efficientnet-lite0"], "not efficientnet"),
    ],
)
def test_mistakes_end_in_one_line(
    scored: Path, diptych: Command, options: list[str], words: str
) -> None:
    done = diptych("evaluate", scored, *options)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_network_inception_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(features, "INCEPTION_ADDRESS", "http://127.0.0.1:1/inception.pt")
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    with pytest.raises(DiptychError, match=r"127\.0\.0\.1:1/inception\.pt: .*refused"):
        make_feature_net("inception", CPU)


def with_heldout(
    run: Path, to: Path, a: list[Path], b: list[Path],
    test_a: Path | None = None, test_b: Path | None = None,
) -> Path:  # fmt: skip
    """A copy of a run that knows of these held-out pictures, from test folders or not."""
    shutil.copytree(run, to)
    data = json.loads((run / "data.json").read_text())
    data["a"]["heldout"], data["b"]["heldout"] = [str(p) for p in a], [str(p) for p in b]
    for name, test in (("test_a", test_a), ("test_b", test_b)):
        data["folders"][name] = None if test is None else str(test)
    (to / "data.json").write_text(json.dumps(data))
    return to


def test_only_pictures_that_belong_together_are_paired(
    trained: Path, towns: Path, tmp_path: Path
) -> None:
    maps, views = (sorted((towns / name).iterdir()) for name in ("testA", "testB"))
    tests = tmp_path / "tests"
    tests.mkdir()
    renamed = [shutil.copy(view, tests / f"view-{view.name}") for view in views[:3]]

    def paired(a: list[Path], b: list[Path], test: Path | None) -> float:
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        with_heldout(trained, run, a, b, test, test)
        found = package.evaluate(run, features="efficientnet-lite0", paired=True)
        assert found.to_b.paired is not None
        return found.to_b.paired.l1

    by_name = paired(maps[:3], views[2::-1], None)
    assert paired(maps[:3], renamed, tests) == by_name  # test folders: in their order
    with pytest.raises(UsageError, match=f"{maps[0].name} has no partner of its own name"):
        paired(maps[:3], views[1:4], tests)  # two have partners: their order says nothing
    with pytest.raises(UsageError, match="only the pictures of two test folders"):
        paired(maps[:3], renamed, None)  # held out by chance
    nested: dict[str, list[Path]] = {"a": [], "b": []}
    for side, pictures in (("a", maps[:3]), ("b", views[:3])):
        for folder, picture in zip(("lyon", "metz", "metz/nord"), pictures, strict=True):
            (tmp_path / side / folder).mkdir(parents=True)
            copy = shutil.copy(picture, tmp_path / side / folder / f"1{picture.suffix}")
            nested[side].append(Path(copy))
    assert paired(nested["a"], nested["b"][::-1], None) == by_name
    with pytest.raises(UsageError, match="names like 1 come several times"):
        paired(nested["a"], [*nested["b"][:2], renamed[0]], None)
    with pytest.raises(UsageError, match="none damaged"):  # one each, as the training found
        paired([maps[0], maps[2]], renamed[1:], tests)
    (tests / f"view-{views[1].name}").write_bytes(b"no picture")
    (tmp_path / "map-damaged.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="none damaged"):
        paired([tmp_path / "map-damaged.png", *maps[1:3]], renamed, tests)


def test_a_palette_is_of_colours_and_pictures_may_differ_in_size(
    tmp_path: Path, diptych: Command
) -> None:
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(32, 32), (32, 40), (36, 32), (40, 40)]):
        for name in ("photos", "labels"):
            (tmp_path / name).mkdir(exist_ok=True)
            picture = rng.integers(0, 2, (height, width, 3)).astype(np.uint8) * 255
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
        (tmp_path / "heights").mkdir(exist_ok=True)
        np.save(tmp_path / "heights" / f"{i}.npy", rng.random((height, width, 1), np.float32))
    options = [*TINY_OPTIONS, "--preprocess", "none", "--batch", "1", "--steps", "2"]
    folders = [tmp_path / name for name in ("photos", "labels", "heights")]
    for second, more in ((1, []), (2, ["--set", "b.depth=native"])):
        run = tmp_path / f"run-{second}"
        a, b = folders[0], folders[second]
        done = diptych("train", a, b, "--run", run, *options, *more, "--set", "loss.identity=0")
        assert done.returncode == 0, done.stderr
        data = json.loads((run / "data.json").read_text())
        for side, folder in (("a", a), ("b", b)):
            data[side]["heldout"] = [str(path) for path in sorted(folder.iterdir())]
        (run / "data.json").write_text(json.dumps(data))
    of_labels = diptych("evaluate", tmp_path / "run-1", "--palette", "white,black,#f00", "--json")
    assert of_labels.returncode == 0, of_labels.stderr
    assert 0 < json.loads(of_labels.stdout)["to_b"]["palette"]["pixel_accuracy"] < 1
    assert json.loads(of_labels.stdout)["size"] is None
    refused = diptych("evaluate", tmp_path / "run-1", "--size", "64")
    assert refused.returncode == 2
    assert "keep their own sizes" in refused.stderr
    unet = tmp_path / "unet"  # takes multiples of 16 alone
    options = [*TINY_OPTIONS, "--steps", "1", "--run", unet, "--data", tmp_path / "towns"]
    town.write_towns(tmp_path / "towns", train=4, test=4, size=32)
    networks = ["--set", "generator.architecture=unet", "--set", "generator.levels=4"]
    made = diptych("train", *options, *networks)
    assert made.returncode == 0, made.stderr
    of_other = diptych("evaluate", tmp_path / "run-1", "--model", unet, "--json")
    assert of_other.returncode == 0, of_other.stderr
    assert json.loads(of_other.stdout)["to_b"]["pictures"] == 4
    of_no_kin = diptych("evaluate", tmp_path / "run-1", "--model", tmp_path / "run-2")
    assert of_no_kin.returncode == 2
    assert "run-2 takes 1 channel, float32" in of_no_kin.stderr
    of_heights = diptych("evaluate", tmp_path / "run-2", "--palette", "white,black")
    assert of_heights.returncode == 2
    assert "8-bit pictures" in of_heights.stderr


def test_label_maps_are_shrunk_without_mixing_their_colours(scored: Path, tmp_path: Path) -> None:
    """Where white meets black a map of three times the size has no grey."""
    shutil.copytree(scored, tmp_path / "run")
    data = json.loads((scored / "data.json").read_text())
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for i in range(3):
            labels = np.random.default_rng(i).integers(0, 2, (100, 97, 1)).repeat(3, 2) * 255
            Image.fromarray(labels.astype(np.uint8)).save(tmp_path / side / f"{i}.png")
        data[side]["heldout"] = [str(tmp_path / side / f"{i}.png") for i in range(3)]
    (tmp_path / "run" / "data.json").write_text(json.dumps(data))
    target = Target(palette="white,black,#808080")
    found = package.evaluate(tmp_path / "run", b=target, features="efficientnet-lite0", keep=False)
    assert found.to_b.palette is not None
    assert set(found.to_b.palette.accuracy_of) == {"#ffffff", "#000000"}


def test_a_missing_picture_leaves_the_other_pairs(
    scored: Path, towns: Path, tmp_path: Path
) -> None:
    shutil.copytree(scored, tmp_path / "run")
    shutil.copytree(towns / "testB", tmp_path / "maps")
    data = json.loads((scored / "data.json").read_text())
    maps = sorted((tmp_path / "maps").iterdir())
    data["b"]["heldout"] = [str(path) for path in maps]
    data["a"]["heldout"] = [str(path) for path in sorted((towns / "testA").iterdir())]
    (tmp_path / "run" / "data.json").write_text(json.dumps(data))

    def likeness_of(paired: bool | None) -> Any:
        target = Target(palette="#eee0be,#ffffff,#ba685c,#96ce80,#6cace4")
        lite = {"features": "efficientnet-lite0", "keep": False}
        return package.evaluate(tmp_path / "run", paired=paired, b=target, **lite).to_b

    whole = likeness_of(None)
    maps[3].unlink()
    for paired in (None, True):
        found = likeness_of(paired)
        assert (found.pictures, found.targets) == (4, 3)
        assert found.paired.l1 == pytest.approx(whole.paired.l1, rel=0.3)
        assert found.paired.l1 != whole.paired.l1
        assert found.palette.pixel_accuracy != whole.palette.pixel_accuracy


def test_all_real_pictures_are_looked_at_for_classes() -> None:
    real = Described(samples(9, 4, 0), np.array([340] * 6 + [1] * 3))
    made = Described(samples(8, 4, 1), np.array([340, 1] * 4))
    found = score_sets(made, made, real, [str(i) for i in range(8)], [340, 341])
    assert (found.translations.recognised, found.split.recognised) == (0.5, 6 / 9)


def test_pictures_that_are_gone_are_named(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    data = json.loads((trained / "data.json").read_text())
    data["a"]["heldout"] = ["/nowhere/horse.png"]
    (tmp_path / "run" / "data.json").write_text(json.dumps(data))
    with pytest.raises(DiptychError, match=r"A are not where they were: /nowhere/horse\.png"):
        package.evaluate(tmp_path / "run", a=Target(classes=(3,)))


def test_scores_say_which_pictures_they_are_without(
    scored: Path, tmp_path: Path, diptych: Command
) -> None:
    shutil.copytree(scored, tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").unlink(missing_ok=True)
    data = json.loads((scored / "data.json").read_text())
    held = data["b"]["heldout"]
    held[3] = str(tmp_path / "gone.png")
    held[5] = str(tmp_path / "damaged.png")
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    (tmp_path / "run" / "data.json").write_text(json.dumps(data))
    lite = ["--features", "efficientnet-lite0"]
    done = diptych("evaluate", tmp_path / "run", *lite, "--unpaired")
    assert done.returncode == 0, done.stderr
    assert "A to B: 10 translations, 8 real pictures" in done.stdout
    assert "not scored: 2, the first" in " ".join(done.stdout.split())
    assert f"the first of them {held[3]}. If they have moved, say where to: diptych" in done.stderr
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["evaluation"]["unread"] == [held[3], held[5]]
    page = tmp_path / "compare.html"
    side_by_side = diptych("compare", scored, tmp_path / "run", "-o", page, *lite)
    said = " ".join(side_by_side.stdout.split())  # (a note is broken into lines)
    assert "Not all of these runs were scored on the same held-out pictures" in said, (
        side_by_side.stderr
    )


def test_training_scores_itself_and_keeps_the_best(tmp_path: Path, diptych: Command) -> None:
    town.write_towns(tmp_path / "towns", train=10, test=8, size=32)
    options = [
        "--data",
        tmp_path / "towns",
        *TINY_OPTIONS,
        "--steps",
        "20",
        "--evaluate-every",
        "4",
    ]
    run = tmp_path / "run"
    done = diptych("train", "--run", run, *options)
    assert done.returncode == 0, done.stderr
    lines = RunFolder(run).read_evaluations()
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20]
    assert RunFolder(run).config().training.features == "efficientnet-lite0"  # resuming asks for it
    best = min(lines, key=lambda line: line["kid/mean"])
    assert load_model(run / "model-best.safetensors", CPU).info.step == best["step"]
    last = package.evaluate(run, features="efficientnet-lite0", device="cpu")
    assert last.to_b.distances is not None
    assert last.to_b.distances.translations.kid.value == pytest.approx(lines[-1]["kid/to_b"])
    of_best = diptych(
        "evaluate", run, "--model", run / "model-best.safetensors", "--json",
        "--features", "efficientnet-lite0", "--device", "cpu",
    )  # fmt: skip
    assert of_best.returncode == 0, of_best.stderr
    ways = [json.loads(of_best.stdout)[way]["distances"] for way in ("to_b", "to_a")]
    kids = [way["translations"]["kid"]["value"] for way in ways]
    assert sum(kids) / 2 == pytest.approx(best["kid/mean"])
    package.evaluate(
        run, model=run / "model-best.safetensors", features="efficientnet-lite0", device="cpu"
    )
    kept = json.loads(RunFolder(run).evaluation.read_text())["evaluation"]
    assert kept["step"] == 20, "the scores of another model were kept"
    assert diptych("report", run).returncode == 0
    assert "KID x 1000 (efficientnet-lite0)" in (run / "report.html").read_text()
    assert "A to B: 8 translations" in (run / "report.html").read_text()
    longer = diptych("train", "--run", run, "--resume", "--steps", "24")
    assert longer.returncode == 0, longer.stderr
    assert [line["step"] for line in RunFolder(run).read_evaluations()] == [4, 8, 12, 16, 20, 24]
    assert diptych("report", run).returncode == 0  # the evaluation is of an older model now
    assert "A to B: 8 translations" not in (run / "report.html").read_text()

    best = load_model(run / "model-best.safetensors", CPU).info
    for name in ("A", "B"):  # another picture of the name: other scores
        tests, others = (sorted((tmp_path / "towns" / f"{part}{name}").iterdir())
                         for part in ("test", "train"))  # fmt: skip
        shutil.copy(others[0], tests[0])
    other = diptych("train", "--run", run, "--resume", "--steps", "28")
    assert other.returncode == 0, other.stderr
    aside = f"model-best-until-{best.step}.safetensors"
    assert "held-out pictures have changed" in " ".join(other.stdout.split())
    assert aside in other.stdout
    assert load_model(run / aside, CPU).info == best
    assert load_model(run / "model-best.safetensors", CPU).info.step == 28
    again = diptych("train", "--run", run, "--resume", "--steps", "29")
    assert again.returncode == 0, again.stderr
    assert "have changed" not in again.stdout

    shutil.copy(others[1], tests[0])
    for name in ("model", "model-best"):  # to go on takes the checkpoints alone
        (run / f"{name}.safetensors").write_bytes(b"damaged")
    mended = diptych("train", "--run", run, "--resume", "--steps", "32")
    assert mended.returncode == 0, mended.stderr
    assert (run / "model-best-damaged.safetensors").read_bytes() == b"damaged"
    for name in ("model", "model-best"):
        assert load_model(run / f"{name}.safetensors", CPU).info.step == 32


def test_the_best_stays_where_its_step_is_taken_back(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    pair = load_model(run.model, CPU)
    log = Log(run, 12)
    for step, score in ((13, 0.026), (14, 0.020), (0, 0.0), (13, 0.025), (14, 0.030), (15, 0.019)):
        if not step:  # what is kept is of a step that comes again, and scores otherwise
            log.go_back(12)
            continue
        kid = {"b": Interval(score, score, score)}
        found: Any = SimpleNamespace(kid=lambda *_, kid=kid: kid)
        score_and_keep_best(log, replace(pair, info=replace(pair.info, step=step)), found, 1.0, CPU)
        best = load_model(run.best_model, CPU).info
        assert best.kid == (0.019 if step == 15 else min(score, best.kid or 1))
        if score == 0.025:
            assert (best.step, best.kid) == (14, 0.020)
    assert best.step == 15
    log.close()


def test_true_translations_are_shown_where_they_are_scored(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    lite = ["--features", "efficientnet-lite0"]
    for option, shown in (("--paired", True), ("--unpaired", False)):
        done = diptych("evaluate", tmp_path / "run", *lite, option)
        assert done.returncode == 0, done.stderr
        assert ("of the same name" in " ".join(done.stdout.split())) is shown
        assert diptych("report", tmp_path / "run").returncode == 0
        assert ("true B" in (tmp_path / "run" / "report.html").read_text()) is shown


def test_the_page_shows_the_true_translations_that_scores_compare_with(
    trained: Path, towns: Path, tmp_path: Path
) -> None:
    """Also where not names but their order in the folders says which they are."""
    maps, views = (sorted((towns / name).iterdir()) for name in ("testA", "testB"))
    tests = [tmp_path / "testA", tmp_path / "testB"]
    for test, pictures in zip(tests, (maps, views[::-1]), strict=True):
        test.mkdir()
        for i, path in enumerate(pictures):
            shutil.copy(path, test / f"{test.name}-{i}.png")
    a, b = (sorted(test.iterdir()) for test in tests)
    run = with_heldout(trained, tmp_path / "run", a, b, *tests)
    found = package.evaluate(run, features="efficientnet-lite0", paired=True)
    assert found.to_b.true_of == dict(zip(map(str, a), map(str, b), strict=True))
    page = write_report(RunFolder(run), tmp_path / "page.html").read_text()
    shown = re.findall(r'src="([^"]*)" alt="true B"', page)
    expected = [picture_url(np.asarray(Image.open(path).convert("RGB")), RGB) for path in b]
    assert shown == expected


def test_scores_of_all_pictures_outlive_those_of_fewer(
    scored: Path, tmp_path: Path, diptych: Command
) -> None:
    run = tmp_path / "run"
    shutil.copytree(scored, run)
    lite = ["--features", "efficientnet-lite0", "--unpaired"]
    before = package.evaluate(run, features="efficientnet-lite0", paired=False)
    record = json.loads((run / "data.json").read_text())
    record["a"]["heldout"][0] = str(tmp_path / "gone.png")
    (run / "data.json").write_text(json.dumps(record))
    done = diptych("evaluate", run, *lite)
    assert done.returncode == 0, done.stderr
    assert "9 translations" in done.stdout
    assert "the scores of all, which were there, are kept" in done.stderr
    assert stored_evaluation(run) == before


def test_a_comparison_is_written_before_it_is_printed(scored: Path, tmp_path: Path) -> None:
    package.evaluate(scored, features="efficientnet-lite0")
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "diptych", "compare", scored, scored, "-o", page]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()  # as of a ``head`` that has seen enough
    process.communicate(timeout=LONGEST)
    assert "side by side" in page.read_text()


def test_all_runs_are_looked_at_before_one_is_scored(
    scored: Path, tmp_path: Path, diptych: Command
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for run in (first, second):
        shutil.copytree(scored, run)
        (run / "evaluation.json").unlink(missing_ok=True)
    with open(second / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    done = diptych("compare", first, second, "-o", tmp_path / "page.html")
    assert done.returncode == 1
    assert "scoring" not in done.stdout


def test_scoring_needs_pictures_to_score(towns: Path, tmp_path: Path, diptych: Command) -> None:
    options = [*TINY_OPTIONS, "--steps", "4", "--evaluate-every", "2"]
    done = diptych("train", "--data", towns, "--run", tmp_path / "run", *options)
    assert done.returncode == 1
    assert "at least 8 held-out pictures of A, and there are 4" in done.stderr
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_gone_are_named_where_too_few_are_left() -> None:
    net = features.FeatureNet("inception", lambda pictures: (torch.zeros(0), None))
    held = Heldout([], [], RGB, [Path("testA/gone.png")])
    with pytest.raises(DiptychError, match=r"there are 0: bring back 1 picture .* testA/gone.png$"):
        make_yardstick(held, held, net)


def test_pairs_are_pairs_both_ways_or_not_at_all(
    trained: Path, towns: Path, tmp_path: Path
) -> None:
    """Pictures that are only numbered have names in common by chance."""
    maps, views = (sorted((towns / name).iterdir()) for name in ("testA", "testB"))
    run = with_heldout(trained, tmp_path / "run", maps, views[1:])
    found = package.evaluate(run, features="efficientnet-lite0", device="cpu")
    assert (found.to_b.paired, found.to_a.paired) == (None, None)
    shutil.rmtree(run)
    with_heldout(trained, run, maps, views)
    found = package.evaluate(run, features="efficientnet-lite0", device="cpu")
    assert None not in (found.to_b.paired, found.to_a.paired)


def brightnesses(pictures: Any) -> Any:
    """Features that need no network."""
    rows = [np.asarray(picture, np.float64).mean((0, 1)) / 128 for picture in pictures]
    return torch.from_numpy(np.stack(rows)), None


def test_a_training_and_evaluate_know_the_same_pairs(
    trained: Path, towns: Path, tmp_path: Path
) -> None:
    """Also where a held-out picture has gone meanwhile: its partner stays alone."""
    pair, config = load_model(trained / "model.safetensors", CPU), RunFolder(trained).config()
    views, maps = (sorted((towns / name).iterdir()) for name in ("trainA", "trainB"))
    partners = [tmp_path / view.name for view in views]  # by their names
    for one, partner in list(zip(maps, partners, strict=True))[1:]:
        shutil.copy(one, partner)
    net = features.FeatureNet("inception", brightnesses)
    a = read_heldout(views, config.a, RGB, config)
    b = read_heldout(partners, config.b, RGB, config)
    assert len(b.unread) == 1
    wanted = {
        "b": find_wanted(Target(), a, b, (), None, False),
        "a": find_wanted(Target(), b, a, (), None, False),
    }
    found = evaluate_pair(pair, {"a": a, "b": b}, net, CPU, wanted)
    now = make_yardstick(a, b, net).kid(pair, CPU)
    for direction in found.directions:
        assert direction.paired is not None
        assert direction.distances is not None
        assert now[direction.to] == direction.distances.translations.kid


def test_a_training_is_scored_without_dropout_and_goes_on_with_it() -> None:
    config = GeneratorConfig(width=4, blocks=1, dropout=0.5)
    info = ModelInfo(config, RGB, RGB, 32, "crop", "white", 0)
    pair = GeneratorPair(*(make_generator(config, 3, 3) for _ in "ab"), info)
    pictures = [*np.random.default_rng(0).integers(0, 256, (18, 32, 32, 3), np.uint8)]
    names = [Path(f"{i}.png") for i in range(18)]
    a, b = (Heldout(names[own], pictures[own], RGB) for own in (slice(9), slice(9, 18)))
    yardstick = make_yardstick(a, b, features.FeatureNet("inception", brightnesses))
    assert yardstick.kid(pair, CPU) == yardstick.kid(pair, CPU)
    assert all(part.training for network in pair.generators for part in network.modules())


def test_scores_flatter_where_an_earlier_run_knew_the_pictures(
    towns: Path, tmp_path: Path, diptych: Command
) -> None:
    folders = [shutil.copytree(towns / name, tmp_path / name) for name in ("trainA", "trainB")]
    options = [*TINY_OPTIONS, "--steps", "2"]
    first = diptych("train", *folders, "--run", tmp_path / "1", *options)
    assert first.returncode == 0, first.stderr
    more = diptych(
        "train", *folders, "--run", tmp_path / "2", "--from", tmp_path / "1", "--steps", "2",
        "--set", "data.holdout=0.3",
    )  # fmt: skip
    assert more.returncode == 0, more.stderr
    assert "held out now, but not by" in more.stdout + more.stderr
    known = [json.loads((tmp_path / n / "data.json").read_text())["a"] for n in "12"]
    assert len(known[0]["heldout"]) == 1
    assert set(known[1]["learned_from"]) == set(known[1]["heldout"]) - set(known[0]["heldout"])
    found = package.evaluate(tmp_path / "2", features="efficientnet-lite0", device="cpu")
    assert found.learned_from == 2 * 2
    stranger = tmp_path / "1" / "model.safetensors"  # (whether that knows them nobody says)
    assert package.evaluate(tmp_path / "2", features="efficientnet-lite0", model=stranger,
                            keep=False).learned_from == 0  # fmt: skip
    assert "had been learned from" in score_tables(found)[0].note
    assert diptych("report", tmp_path / "2").returncode == 0
    page = (tmp_path / "2" / "report.html").read_text()
    other = [shutil.copytree(towns / name, tmp_path / f"{name}2") for name in ("testA", "testB")]
    pictures = (tmp_path / "1" / "pictures.json").read_text()
    (tmp_path / "1" / "pictures.json").unlink()  # (as of a run from before they were noted)
    old = diptych("train", *folders, "--run", tmp_path / "8", "--from", tmp_path / "1",
                  "--steps", "2", "--set", "data.holdout=0.3")  # fmt: skip
    assert old.returncode == 0, old.stderr
    assert json.loads((tmp_path / "8" / "data.json").read_text())["a"] == known[1]
    (tmp_path / "1" / "pictures.json").write_text(pictures)
    (held,) = known[0]["heldout"]
    content = Path(held).read_bytes()
    shutil.copy(sorted((towns / "testA").iterdir())[0], held)
    changed = diptych("train", "--run", tmp_path / "1", "--resume", "--steps", "3")
    assert f"altered: {Path(held).name}" in changed.stderr
    Path(held).write_bytes(content)
    elsewhere = [shutil.copytree(folder, tmp_path / f"{folder.name}3") for folder in folders]
    for path in elsewhere[0].iterdir():
        path.rename(path.with_stem(f"renamed-{path.stem}"))
    for run, folders_, before in (("5", other, "1"), ("6", folders, "5"), ("7", elsewhere, "1")):
        done = diptych("train", *folders_, "--run", tmp_path / run, "--from", tmp_path / before,
                       "--steps", "2", "--set", "data.holdout=0.3")  # fmt: skip
        assert done.returncode == 0, done.stderr
    chain = json.loads((tmp_path / "6" / "data.json").read_text())["a"]
    assert chain["learned_from"] == known[1]["learned_from"]
    renamed = json.loads((tmp_path / "7" / "data.json").read_text())["a"]
    assert len(renamed["learned_from"]) == len(known[1]["learned_from"]) == 2
    assert "had learned from 4 of the held-out pictures" in page
    assert "None of these was trained on" not in page
    third = diptych(
        "train", *folders, "--run", tmp_path / "3", "--from", tmp_path / "2", "--steps", "2"
    )
    assert third.returncode == 0, third.stderr  # what the first one knew is known for good
    assert json.loads((tmp_path / "3" / "data.json").read_text())["a"] == known[1]


def test_a_model_of_other_pictures_is_not_blamed_on_these(trained: Path, tmp_path: Path) -> None:
    pair = load_model(trained / "model.safetensors", CPU)
    deep = replace(pair.info, b=replace(pair.info.b, dtype="uint16", high=65535.0))
    save_model(tmp_path / "deep.safetensors", replace(pair, info=deep))
    with pytest.raises(UsageError, match=r"uint16, 0 to 65535 as B, and those of .* are .* uint8"):
        package.evaluate(trained, model=tmp_path / "deep.safetensors", device="cpu")


def test_a_model_of_other_ranges_is_told_in_one_line(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    """As a note at a terminal, as a warning in a program."""
    pair = load_model(trained / "model.safetensors", CPU)
    darker = replace(pair.info, b=replace(pair.info.b, high=200.0))
    other = tmp_path / "darker.safetensors"
    save_model(other, replace(pair, info=darker))
    said = f"{other} has other ranges of values than {trained}, and sees pictures by its own"
    with pytest.warns(package.DiptychWarning, match=re.escape(said)):
        package.evaluate(trained, model=other, device="cpu")
    done = diptych("evaluate", trained, "--model", other)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if said in line] == [
        f"note: {said}: scores of the two cannot be compared"
    ]
    assert "UserWarning" not in done.stderr


def test_the_same_pictures_are_known_again() -> None:
    first, second = (np.full((4, 4, 3), value, np.uint8) for value in (1, 2))
    names = [Path("1.png"), Path("2.png")]
    known = Heldout(names, [first, second], RGB).digest()
    assert Heldout([Path("x/9.png"), names[0]], [second, first], RGB).digest() == known
    for others, read_as in (
        ([first, first], RGB),
        ([first], RGB),
        ([first, second[:2]], RGB),
        ([first, second.reshape(2, 8, 3)], RGB),
        ([first, second], replace(RGB, high=100.0)),
        ([first, second.view(np.int8)], replace(RGB, dtype="uint16")),
    ):
        assert Heldout(names[: len(others)], others, read_as).digest() != known


def test_runs_side_by_side(scored: Path, tmp_path: Path, diptych: Command) -> None:
    package.evaluate(scored, features="efficientnet-lite0")
    shutil.copytree(scored, tmp_path / "other")
    settings = tmp_path / "other" / "config.yaml"
    whole = settings.read_text()
    assert "features: null" in whole
    settings.write_text(whole.replace("features: null", "features: efficientnet-lite0"))
    page = tmp_path / "compare.html"
    done = diptych("compare", scored, tmp_path / "other", "-o", page, "--pictures", "3")
    assert done.returncode == 0, done.stderr
    assert "scoring" not in done.stdout  # both have been scored already
    assert "compare with care" not in done.stdout
    text = page.read_text()
    assert text.count("<img") == 2 * 3 * 3  # directions, pictures, source and two runs
    assert str(tmp_path / "other") in text
    assert "Settings that differ" not in text + done.stdout
    (tmp_path / "other" / "evaluation.json").write_text("{")
    again = diptych("compare", scored, tmp_path / "other", "-o", page)
    assert again.stdout.count("scoring ") == 1

    settings.write_text(settings.read_text().replace("load_size: null", "load_size: 50"))
    (tmp_path / "other" / "evaluation.json").unlink()
    cut = diptych("compare", scored, tmp_path / "other", "-o", page)
    assert "on the same parts or values of them" in " ".join(cut.stdout.split()), cut.stderr
    assert "Settings that differ" in cut.stdout
    assert re.search(r"<td>data.load_size</td>\s*<td>null</td>\s*<td>50</td>", page.read_text())

    record = tmp_path / "other" / "data.json"
    data = json.loads(record.read_text())
    data["b"] |= {"fingerprint": "another", "training_pictures": 1234}
    record.write_text(json.dumps(data))
    assert diptych("compare", scored, tmp_path / "other", "-o", page).returncode == 0
    trained_on = re.search(
        r"<td>pictures of B</td>\s*<td>(.*)</td>\s*<td>(.*)</td>", page.read_text()
    )
    assert trained_on is not None
    folder = data["folders"]["b"]
    assert trained_on[2] == f"1,234 in {folder}" != trained_on[1]
    assert trained_on[1].endswith(f" in {folder}")
    assert "pictures of A" not in page.read_text()

    odd = tmp_path / "with[/markup]"  # names are no markup; and what was scored otherwise stays
    shutil.copytree(scored, odd)
    found = (odd / "evaluation.json").read_text().replace("efficientnet-lite0", "inception")
    (odd / "evaluation.json").write_text(found)
    refused = diptych("compare", scored, odd, "-o", page)
    assert refused.returncode == 2
    assert "give --features" in refused.stderr
    done = diptych("compare", scored, odd, "-o", page, "--features", "efficientnet-lite0")
    assert done.returncode == 0, done.stderr
    assert str(odd) in done.stdout  # in one piece
    assert (odd / "evaluation.json").read_text() == found
    assert diptych("compare", scored, "-o", page).returncode == 2


def test_a_comparison_shows_each_pictures_own_translation(trained: Path) -> None:
    run = RunFolder(trained)
    translator = package.load(trained, "cpu")
    held = [Path(path) for path in run.data()["a"]["heldout"][:3]]
    towards = held[0].parent.parent / "testB"
    grid = make_grid([(run, translator)] * 2, "b", 3, {held[1]: towards / held[1].name})
    assert grid.made_by == [str(trained), str(trained), "truth"]
    assert len(grid.rows) == 3
    for path, (name, (picture, *views, truth)) in zip(held, grid.rows, strict=True):
        stored = np.asarray(Image.open(path).convert("RGB"))
        true = np.asarray(Image.open(towards / path.name).convert("RGB"))
        assert truth == (picture_url(true, RGB) if path == held[1] else "")
        assert name == path.name
        assert picture == picture_url(stored, RGB)
        assert views == [picture_url(translator.to_b(stored), RGB)] * 2


def test_palette_scores_of_several_pictures_are_those_of_all_their_pixels() -> None:
    palette = np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0)], np.uint8)
    rng = np.random.default_rng(0)
    shapes = [(4, 5), (3, 7), (1, 2)]
    truths = [palette[rng.integers(0, 3, shape)] for shape in shapes]
    fakes = [palette[rng.integers(0, 3, shape)] for shape in shapes]
    truths[0][0, :3] = (90, 160, 90)  # of no class
    one_truth, one_fake = (
        np.concatenate([x.reshape(1, -1, 3) for x in pictures], 1) for pictures in (truths, fakes)
    )
    expected = palette_scores([one_fake], [one_truth], palette)
    assert expected.strange == 3 / 43
    assert palette_scores(fakes, truths, palette) == expected
    assert palette_scores(fakes[::-1], truths[::-1], palette) == expected


def test_the_nearest_colour_is_that_of_the_shortest_straight_line() -> None:
    palette = np.array([(0, 0, 0), (50, 50, 50)], np.uint8)
    assert nearest_colour(np.array([[(100, 0, 0)]], np.uint8), palette).tolist() == [[1]]


def test_ssim_of_a_flat_picture_has_windows_of_its_height_and_full_width() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 5, 40)) * 2 - 1

    def window(length: int) -> Any:
        place = np.arange(length) - (length - 1) / 2
        weights = np.exp(-(place**2) / (2 * 1.5**2))
        return weights / weights.sum()

    kernel = np.outer(window(5), window(11))
    found = []
    for left in range(40 - 10):
        u, v = x[:, left : left + 11] + 1, y[:, left : left + 11] + 1
        mean_u, mean_v = (kernel * u).sum(), (kernel * v).sum()
        var_u, var_v = (kernel * (u - mean_u) ** 2).sum(), (kernel * (v - mean_v) ** 2).sum()
        both = (kernel * (u - mean_u) * (v - mean_v)).sum()
        c1, c2 = 0.02**2, 0.06**2
        light = (2 * mean_u * mean_v + c1) / (mean_u**2 + mean_v**2 + c1)
        found.append(light * (2 * both + c2) / (var_u + var_v + c2))
    ours = ssim(torch.from_numpy(x)[None, None], torch.from_numpy(y)[None, None])
    assert float(ours) == pytest.approx(np.mean(found), rel=1e-9)


def test_of_two_pictures_no_interval_is_claimed() -> None:
    x, y = samples(3, 4, 0), samples(10, 4, 1)
    assert np.isnan(kid(x[:2], y).low)
    assert np.isnan(kid(y, x[:2]).high)
    assert kid(x, y).low < kid(x, y).high


def test_intervals_are_written_with_their_lower_end_first(tmp_path: Path, trained: Path) -> None:
    run = RunFolder(tmp_path)
    run.samples.mkdir()
    log = Log(run, 0)
    found: Any = SimpleNamespace(kid=lambda *_: {"b": Interval(0.2, 0.1, 0.4)})
    score_and_keep_best(log, load_model(trained / "model.safetensors", CPU), found, 1.0, CPU)
    log.close()
    (line,) = run.read_evaluations()
    assert [line[f"kid/to_b{end}"] for end in ("/low", "", "/high")] == [0.1, 0.2, 0.4]


def test_only_two_whole_test_folders_of_as_many_pictures_are_paired_by_order() -> None:
    one, other, third = (Heldout([Path(name)], [GREY], RGB) for name in ("a/1", "b/x", "b/y"))
    both = Heldout([*other.paths, *third.paths], [GREY, GREY], RGB)
    assert find_wanted(Target(), one, other, (), True, True).partners == [0]
    for source, real, ordered in ((one, both, True), (both, one, True), (one, other, False)):
        with pytest.raises(UsageError, match="as many in each"):
            find_wanted(Target(), source, real, (), True, ordered)


def test_partners_of_another_width_are_refused() -> None:
    one = Heldout([Path("a/1")], [np.zeros((8, 12, 3), np.uint8)], RGB)
    other = Heldout([Path("b/1")], [np.zeros((8, 10, 3), np.uint8)], RGB)
    with pytest.raises(UsageError, match="differ in size"):
        find_wanted(Target(), one, other, (), True, False)


def test_one_whole_test_folder_is_no_pair_of_them(
    trained: Path, towns: Path, tmp_path: Path
) -> None:
    maps, views = (sorted((towns / name).iterdir()) for name in ("testA", "testB"))
    renamed = []
    (tmp_path / "test").mkdir()
    for view in views:
        renamed.append(Path(shutil.copy(view, tmp_path / "test" / f"view-{view.name}")))
    run = with_heldout(trained, tmp_path / "run", maps, renamed, test_b=tmp_path / "test")
    with pytest.raises(UsageError, match="only the pictures of two test folders"):
        package.evaluate(run, features="efficientnet-lite0", paired=True)


def test_classes_of_either_domain_ask_for_a_classifier(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def net(*_: Any, classify: bool) -> features.FeatureNet:
        asked.append(classify)
        return features.FeatureNet("inception", brightnesses)

    monkeypatch.setattr("diptych.scoring.make_feature_net", net)
    for of in ({"a": Target(classes=(0,))}, {"b": Target(classes=(3,))}, {}):
        package.evaluate(trained, keep=False, **of)
    assert asked == [True, True, False]


@pytest.mark.parametrize("classes", [(3, 7), {7, 3}, np.array([3, 7])])
def test_classes_may_be_any_collection(classes: Any) -> None:
    assert sorted(Target(classes=classes).classes) == [3, 7]
    assert {type(number) for number in Target(classes=classes).classes} == {int}


def test_a_run_without_a_model_scores_another(
    scored: Path, tmp_path: Path, diptych: Command
) -> None:
    run = tmp_path / "run"
    shutil.copytree(scored, run)
    (run / "model.safetensors").rename(tmp_path / "other.safetensors")
    done = diptych("evaluate", run, "--model", tmp_path / "other.safetensors")
    assert done.returncode == 0, done.stderr
    assert "A to B: 10 translations" in done.stdout


def test_another_model_is_scored_at_the_size_of_the_run(trained: Path, tmp_path: Path) -> None:
    pair = load_model(trained / "model.safetensors", CPU)
    larger = tmp_path / "larger.safetensors"
    save_model(larger, replace(pair, info=replace(pair.info, size=64)))
    found = package.evaluate(trained, features="efficientnet-lite0", model=larger, keep=False)
    assert found.size == 32


GREY = np.full((8, 8, 3), 128, np.uint8)
