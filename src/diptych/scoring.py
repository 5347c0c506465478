"""How good a run is, in one call: its held-out pictures, translated and scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from diptych.config import Config, DomainConfig, FeatureName
from diptych.data.folder import find_pictures
from diptych.data.pixels import PixelFormat, Pixels, resize_labels
from diptych.errors import DiptychError, UsageError, one_of, warn
from diptych.evaluation.features import FEATURE_NAMES, make_feature_net
from diptych.evaluation.heldout import Heldout, read_heldout
from diptych.evaluation.results import Evaluation
from diptych.evaluation.scores import evaluate_pair
from diptych.evaluation.table import score_tables
from diptych.evaluation.wanted import Target, find_wanted
from diptych.host.device import choose_device
from diptych.host.files import AnyPath, as_path, explain_os_errors, write_whole
from diptych.host.memory import freed_memory_kept
from diptych.host.surroundings import usual_torch
from diptych.model_file import GeneratorPair, ModelInfo, read_info
from diptych.sides import Side, other_side
from diptych.training.records import DataRecord, flattering
from diptych.training.run_folder import RunFolder
from diptych.translation.other_size import at_size, with_size
from diptych.translation.translator import Translator, load
from diptych.words import typed

__all__ = ["Target", "evaluate", "keep_evaluation", "stored_evaluation"]


def evaluate(
    run: AnyPath,
    *,
    features: FeatureName | None = None,
    inception_file: AnyPath | None = None,
    paired: bool | None = None,
    a: Target = Target(),
    b: Target = Target(),
    size: int | None = None,
    device: str | torch.device = "auto",
    keep: bool = True,
    model: AnyPath | None = None,
    strength: float = 1.0,
) -> Evaluation:
    """Score a run on its held-out pictures, both ways.

    ``features`` is ``"inception"`` (fetched on first use, or read from ``inception_file``) or
    ``"efficientnet-lite0"``; None takes the first that is at hand. ``paired``: whether held-out
    pictures of A and B belong together, by name, or those of two test folders in their order if no
    name agrees; None finds out by the names. ``size``: pixels a side that they are translated and
    scored at, as ``load(run)`` translates such; None: those of the training. ``model``: a model
    file or another run, which translates the pictures in place of the run's own. ``strength`` as
    in ``load``. With ``keep`` the run folder keeps the result as ``evaluation.json``, unless it is
    of another size, model or strength.
    Held-out pictures that are missing or damaged are left out, and named in the result as
    ``unread``; with fewer than eight of A or B there are no ``distances``. Raises DiptychError with
    one line.
    """
    folder, where = RunFolder(as_path(run).absolute()), choose_device(device)
    if folder.path.is_file():
        but = ", or score it on the pictures of another: diptych evaluate RUN --model "
        model_file = folder.path.suffix == ".safetensors"
        raise DiptychError(
            f"{run} is a file: give the run folder that it came from"
            + (f"{but}{typed(as_path(run))}" if model_file else "")
        )
    targets: dict[Side, Target] = {"a": a, "b": b}
    for side, target in targets.items():
        if not isinstance(target, Target):
            raise UsageError(f"{side} says what else to score: give a diptych.Target")
    config, data = folder.config(), folder.data()
    translator = load(folder.saved_model() if model is None else model, where, strength=strength)
    pair, config = _translating_pair(translator, folder, config, model, size)
    if a != Target():
        pair.towards("a")  # (says so if the model cannot)
    held: dict[Side, Heldout] = {
        "a": _heldout(folder, data, "a", config, pair.info.a),
        "b": _heldout(folder, data, "b", config, pair.info.b),
    }
    tests = folder.folders()
    ordered = bool(paired) and (
        _is_all_of(held["a"], tests.test_a) and _is_all_of(held["b"], tests.test_b)
    )
    wanted = {}
    for to in pair.ways:
        labels = _labels(targets[to], held[to], config.reading(to), config)
        source = held[other_side(to)]
        wanted[to] = find_wanted(targets[to], source, held[to], labels, paired, ordered)
    file = as_path(inception_file) if inception_file is not None else None
    name = one_of("features", features, FEATURE_NAMES)
    with usual_torch(where), freed_memory_kept(where):
        net = make_feature_net(name, where, file, classify=bool(a.classes or b.classes))
        found = replace(evaluate_pair(pair, held, net, where, wanted), strength=float(strength))
    if model is None:
        found = replace(found, learned_from=flattering(data))
    if keep and size is None and model is None and strength == 1:
        _keep_if_possible(folder.path, found)
    return found


def _translating_pair(
    translator: Translator,
    run: RunFolder,
    config: Config,
    model: AnyPath | None,
    size: int | None,
) -> tuple[GeneratorPair, Config]:
    """The generators to score, and the settings that their pictures are read by."""
    if size is not None and not config.data.one_size:
        raise UsageError(
            f"the pictures of {run.path} keep their own sizes (data.preprocess none), and are "
            "scored in those: go without a size"
        )
    its = translator.info
    if model is not None and run.model.exists():
        own = read_info(run.model)
        _check_formats(run.path, model, its, own)
        if (its.a, its.b) != (own.a, own.b):
            warn(
                f"{model} has other ranges of values than {run.path}, and sees pictures by its "
                "own: scores of the two cannot be compared"
            )
    if size is None and model is None:
        return translator.pair, config
    pixels = config.data.size if size is None else size
    return at_size(translator, pixels), with_size(config, pixels)


def _check_formats(run: AnyPath, model: AnyPath, its: ModelInfo, own: ModelInfo) -> None:
    """Raise UsageError for another model that takes pictures of another kind than the run's."""
    for name, taken, there in (("A", its.a, own.a), ("B", its.b, own.b)):
        if (taken.channels, taken.dtype) != (there.channels, there.dtype):
            raise UsageError(
                f"{model} takes {taken.describe()} as {name}, and those of {run} are "
                f"{there.describe()}: score it on a run of its own kind"
            )


def _heldout(
    run: RunFolder, data: DataRecord, side: Side, config: Config, pixel_format: PixelFormat
) -> Heldout:
    """Those of the run's held-out pictures that can be read: one at least, or DiptychError."""
    paths = [Path(path) for path in data[side]["heldout"]]
    if not paths:
        raise DiptychError(f"{run.path} names no held-out pictures of {side.upper()} (data.json)")
    found = read_heldout(paths, config.reading(side), pixel_format, config)
    if found.pictures:
        return found
    them = f"the {len(paths)} held-out pictures of {side.upper()}"
    if not any(path.exists() for path in paths):
        raise DiptychError(
            f"{them} are not where they were: {paths[0]} is missing. If they have moved, say where "
            f"to: {run.moved_command}"
        )
    raise DiptychError(
        f"none of {them} can be read as {pixel_format.describe()}; the first is {paths[0]}"
    )


def _is_all_of(held: Heldout, tests: Path | None) -> bool:
    """Whether these are all pictures of a test folder, so that their order says something."""
    return tests is not None and tests.is_dir() and len(find_pictures(tests)) == len(held.paths)


def _labels(
    target: Target, real: Heldout, reading: DomainConfig, config: Config
) -> Sequence[Pixels]:
    """Label maps once more, scaled without mixing their colours."""
    if target.palette is None:
        return ()
    return read_heldout(real.paths, reading, real.pixel_format, config, resize_labels).pictures


def _keep_if_possible(run: AnyPath, found: Evaluation) -> None:
    """``keep_evaluation``, or a warning, since scores take minutes.

    Scores of all held-out pictures are not replaced by those of fewer.
    """
    before = stored_evaluation(run)
    if found.unread and before is not None and not before.unread:
        warn("pictures are missing or damaged: the scores of all, which were there, are kept")
        return
    try:
        keep_evaluation(run, found)
    except DiptychError as error:
        warn(f"the scores are not kept: {error}")


def keep_evaluation(run: AnyPath, found: Evaluation) -> None:
    """Write scores into the run folder, for its report. Raises DiptychError if it cannot be."""
    file = RunFolder(as_path(run)).evaluation
    tables = [asdict(table) for table in score_tables(found)]
    with explain_os_errors(f"write {file}"):
        write_whole(file, json.dumps({"tables": tables, "evaluation": asdict(found)}, indent=1))


def stored_evaluation(run: AnyPath) -> Evaluation | None:
    """What ``evaluate`` wrote, if it is of the run's model as it is now."""
    folder = RunFolder(as_path(run))
    stored = folder.read_evaluation(read_info(folder.saved_model()).step)
    return None if stored is None else stored.evaluation
