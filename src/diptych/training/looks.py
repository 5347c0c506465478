"""How a run looks at held-out pictures as it goes: sample sheets and scores."""

from __future__ import annotations

import statistics

import torch

from diptych.config import Config
from diptych.data.domain import Domain, read_for_looking
from diptych.evaluation.scores import Yardstick
from diptych.model_file import GeneratorPair, Side, save_model
from diptych.training.log import Log
from diptych.training.samples import Translated, sample_sheet, translate_samples


def write_samples(
    log: Log, pair: GeneratorPair, a: Domain, b: Domain, config: Config, device: torch.device
) -> dict[Side, list[Translated]]:
    """Translate a few held-out pictures, write their sheet, and return them."""
    pictures_a, pictures_b = (
        read_for_looking(
            domain.heldout, reading, domain.pixel_format, config, config.training.samples
        )
        for domain, reading in ((a, config.a), (b, config.b))
    )
    made = translate_samples(pair, [p for _, p in pictures_a], [p for _, p in pictures_b], device)
    sheet = sample_sheet(made, pair.info)
    if sheet is not None:
        log.write_samples(pair.info.step, sheet)
    return made


def write_scores(
    log: Log, pair: GeneratorPair, yardstick: Yardstick, seconds: float, device: torch.device
) -> None:
    """KID of held-out pictures; the best model so far (by the mean of its ways) is kept.

    ``seconds`` of training have led to ``pair``.
    """
    found = yardstick.kid(pair, device)
    mean = statistics.mean(kid.value for kid in found.values())
    if all(mean < line["kid/mean"] for line in log.run.read_evaluations()):
        save_model(log.run.best_model, pair)
    scores = {"seconds": round(seconds, 3), "kid/mean": mean}
    for to, kid in found.items():
        scores |= {f"kid/to_{to}": kid.value}
        scores |= {f"kid/to_{to}/low": kid.low, f"kid/to_{to}/high": kid.high}
    log.write_scores(pair.info.step, scores)
