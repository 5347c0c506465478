"""How a run looks at held-out pictures as it goes: sample sheets and scores."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import torch

from diptych.config import Config, DomainConfig
from diptych.data.domain import Domain
from diptych.data.looking import read_for_looking
from diptych.data.pixels import Pixels
from diptych.errors import DiptychError
from diptych.evaluation.yardstick import Yardstick
from diptych.model_file import GeneratorPair, read_info, save_model
from diptych.sides import Side
from diptych.training.log import Log
from diptych.training.run_folder import RunFolder
from diptych.training.samples import Translated, sample_sheet, translate_samples


def look_at_samples(
    log: Log, pair: GeneratorPair, a: Domain, b: Domain, config: Config, device: torch.device
) -> tuple[dict[Side, list[Translated]], dict[Side, list[Pixels]]]:
    """Translate a few held-out pictures, write their sheet; returns translations, and pictures."""
    most = config.training.samples

    def some(domain: Domain, reading: DomainConfig) -> list[Pixels]:
        found = read_for_looking(domain.heldout, reading, domain.pixel_format, config, most)
        return [picture for _, picture in found]

    real: dict[Side, list[Pixels]] = {"a": some(a, config.a), "b": some(b, config.b)}
    made = translate_samples(pair, real["a"], real["b"], device)
    sheet = sample_sheet(made, pair.info)
    if sheet is not None:
        log.write_samples(pair.info.step, sheet)
    return made, real


def best_so_far(run: RunFolder) -> float:
    """The score of the model that was kept, also if its step has been taken back since."""
    try:
        kept = read_info(run.best_model).kid
    except DiptychError:  # there is none yet
        return math.inf
    return math.inf if kept is None else kept


def score_and_keep_best(
    log: Log, pair: GeneratorPair, yardstick: Yardstick, seconds: float, device: torch.device
) -> None:
    """KID of held-out pictures; the best model so far (by the mean of its ways) is kept.

    ``seconds`` of training have led to ``pair``.
    """
    found = yardstick.kid(pair, device)
    mean = statistics.mean(kid.value for kid in found.values())
    if mean < best_so_far(log.run):
        info = replace(pair.info, kid=mean)
        save_model(log.run.best_model, replace(pair, info=info))
    scores = {"seconds": round(seconds, 3), "kid/mean": mean}
    for to, kid in found.items():
        scores |= {f"kid/to_{to}": kid.value}
        scores |= {f"kid/to_{to}/low": kid.low, f"kid/to_{to}/high": kid.high}
    log.write_scores(pair.info.step, scores)
