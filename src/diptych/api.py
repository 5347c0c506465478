"""Training and scoring from Python, each in one call."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path

from diptych.config import Config, DomainConfig, FeatureName
from diptych.data.folder import find_pictures
from diptych.data.pixels import PixelFormat, Pixels, resize_labels
from diptych.device import choose_device
from diptych.errors import DiptychError, UsageError, one_of, typed
from diptych.evaluation.features import FEATURE_NAMES, make_feature_net
from diptych.evaluation.heldout import Heldout, read_heldout
from diptych.evaluation.results import Evaluation
from diptych.evaluation.scores import evaluate_pair
from diptych.evaluation.table import score_tables
from diptych.evaluation.wanted import Target, Wanted, find_wanted
from diptych.files import as_path, explain_os_errors, write_whole
from diptych.memory import freed_memory_kept
from diptych.model_file import ModelInfo, Side, read_info
from diptych.settings import Tree
from diptych.surroundings import usual_torch
from diptych.training.choice import make_config
from diptych.training.records import DataRecord, flattering
from diptych.training.run_folder import RunFolder
from diptych.training.session import Listener
from diptych.training.start import (
    ONLY_LENGTH,
    pick_folders,
    resume_run,
    start_run,
)
from diptych.training.trainer import Watch
from diptych.translation.other_size import at_size, with_size
from diptych.translation.translator import Translator, load

__all__ = ["Run", "Target", "evaluate", "keep_evaluation", "stored_evaluation", "train"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """A training, at its end or (after ``max_minutes``) to be resumed."""

    path: Path
    finished: bool = True

    def load(self, device: str = "auto") -> Translator:
        """The trained translator."""
        return load(self.path, device)

    def evaluate(self) -> Evaluation:
        """Its scores on the held-out pictures."""
        return evaluate(self.path)

    def metrics(self) -> list[dict[str, float]]:
        """The loss terms over time: one dictionary per log step."""
        return RunFolder(self.path).read_metrics()


def train(
    a: str | Path | None = None,
    b: str | Path | None = None,
    *,
    run: str | Path,
    data: str | Path | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    start_from: str | Path | None = None,
    resume: bool = False,
    settings: Tree | None = None,
    watch: Watch | None = None,
    max_minutes: float | None = None,
) -> Run:
    """Train a translator between two folders of pictures; returns when it is done.

    Give folders ``a`` and ``b``, or ``data`` with trainA and trainB in it. ``run`` is the folder
    to make. ``settings`` go on top of the preset: ``{"training": {"steps": 1000}}``; see
    ``diptych.config`` for all of them. ``start_from`` is a model file or a run, with whose networks
    and weights to begin; without a preset its settings are taken too. ``resume`` goes on with a
    stopped run, whose folder knows the rest: only a new length may be among the settings then, and
    folders are given only if they have moved.
    ``watch`` is called after each step with a Status; if it raises, the run is saved, and ends with
    that exception. After ``max_minutes`` it saves and returns, to be resumed later. What a person
    should know, as which pictures were left out, comes as a warning (UserWarning).

    Raises DiptychError, with one line saying what to do, for anything wrong with the folders or
    settings; and after a signal, once everything is saved. One training at a time in a process.
    """
    if settings is not None and not isinstance(settings, dict):
        raise UsageError(f"settings are a dictionary of sections, not a {type(settings).__name__}")
    if watch is not None and not callable(watch):
        raise UsageError(f"watch is a function, not a {type(watch).__name__}")
    if max_minutes is not None and not isinstance(max_minutes, Real):
        raise UsageError(f"max_minutes {max_minutes!r}: give a number")
    folder = RunFolder(as_path(run).absolute())
    listener = Listener(watch=watch, warning=_warn)
    if resume:
        if preset or config or start_from:
            raise UsageError(ONLY_LENGTH)
        moved = pick_folders(a, b, data).absolute() if a or b or data else None
        finished = resume_run(folder, settings, listener, max_minutes, moved)
    else:
        file, before = (as_path(x) if x is not None else None for x in (config, start_from))
        made = make_config(preset, file, settings, before)
        folders = pick_folders(a, b, data).absolute()
        finished = start_run(folders, folder, made, listener, max_minutes)
    return Run(folder.path, finished)


def _warn(line: str) -> None:
    """A warning that points to the line which called diptych (``skip_file_prefixes`` of 3.12)."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(line, stacklevel=level)


def evaluate(
    run: str | Path,
    *,
    features: FeatureName | None = None,
    inception_file: str | Path | None = None,
    paired: bool | None = None,
    a: Target = Target(),
    b: Target = Target(),
    size: int | None = None,
    device: str = "auto",
    keep: bool = True,
    model: str | Path | None = None,
) -> Evaluation:
    """Score a run on its held-out pictures, both ways.

    ``features`` is ``"inception"`` (fetched on first use, or read from ``inception_file``) or
    ``"efficientnet-lite0"``; None takes the first that is at hand. ``paired``: whether held-out
    pictures of A and B belong together, by name, or those of two test folders in their order if no
    name agrees; None finds out by the names. ``size``: pixels a side that they are translated and
    scored at, as ``load(run)`` translates such; None: those of the training. ``model``: a model
    file or another run, which translates the pictures in place of the run's own. With ``keep`` the
    run folder keeps the result as ``evaluation.json``, unless it is of another size or model.
    Held-out pictures that are missing or damaged are left out, and named in the result as
    ``unread``. Raises DiptychError with one line.
    """
    folder, where = RunFolder(as_path(run).absolute()), choose_device(device)
    if folder.path.is_file():
        raise DiptychError(
            f"{run} is a file: give the run folder that it came from, or score it on the pictures "
            f"of another: diptych evaluate RUN --model {typed(as_path(run))}"
        )
    for domain, target in (("a", a), ("b", b)):
        if not isinstance(target, Target):
            raise UsageError(f"{domain} says what else to score: give a diptych.Target")
    config, data = folder.config(), folder.data()
    translator = load(folder.saved_model() if model is None else model, where)
    if size is not None and config.data.preprocess == "none":
        raise UsageError(
            f"the pictures of {run} keep their own sizes (data.preprocess none), and are scored in "
            "those: go without a size"
        )
    pair = translator.pair
    if model is not None and folder.model.exists():
        _check_formats(run, model, pair.info, read_info(folder.model))
    if size is not None or model is not None:
        pixels = config.data.size if size is None else size
        pair, config = at_size(translator, pixels), with_size(config, pixels)
    if a != Target():
        pair.towards("a")  # (says so if the model cannot)

    held_a = _heldout(folder, data, "a", config, pair.info.a)
    held_b = _heldout(folder, data, "b", config, pair.info.b)
    places = folder.folders()
    ordered = (
        bool(paired) and _is_all_of(held_a, places.test_a) and _is_all_of(held_b, places.test_b)
    )

    labels = _labels(b, held_b, config.b, config)
    to_b = find_wanted(b, held_a, held_b, labels, paired, ordered)
    to_a = Wanted()
    if "a" in pair.ways:
        labels = _labels(a, held_a, config.a, config)
        to_a = find_wanted(a, held_b, held_a, labels, paired, ordered)
    file = as_path(inception_file) if inception_file is not None else None
    name = one_of("features", features, FEATURE_NAMES)
    with usual_torch(where), freed_memory_kept(where):
        net = make_feature_net(name, where, file, classify=bool(a.classes or b.classes))
        found = evaluate_pair(pair, held_a, held_b, net, where, to_b, to_a)
    if model is None:
        found = replace(found, learned_from=flattering(data))
    if keep and size is None and model is None:
        try:
            keep_evaluation(folder.path, found)
        except DiptychError as error:  # (they took minutes)
            _warn(f"the scores are not kept: {error}")
    return found


def _check_formats(run: str | Path, model: str | Path, its: ModelInfo, own: ModelInfo) -> None:
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
    reading = config.a if side == "a" else config.b
    found = read_heldout(paths, reading, pixel_format, config)
    if not found.pictures:
        moved = f" (if they have moved, say where to: {run.moved_command})"
        raise DiptychError(
            f"none of the {len(paths)} held-out pictures of {side.upper()} can be read as "
            f"{pixel_format.describe()}; the first should be {paths[0]}"
            f"{'' if paths[0].exists() else moved}"
        )
    return found


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


def keep_evaluation(run: str | Path, found: Evaluation) -> None:
    """Write scores into the run folder, for its report. Raises DiptychError if it cannot be."""
    file = RunFolder(as_path(run)).evaluation
    tables = [asdict(table) for table in score_tables(found)]
    with explain_os_errors(f"write {file}"):
        write_whole(file, json.dumps({"tables": tables, "evaluation": asdict(found)}, indent=1))


def stored_evaluation(run: str | Path) -> Evaluation | None:
    """What ``evaluate`` wrote, if it is of the run's model as it is now."""
    folder = RunFolder(as_path(run))
    stored = folder.read_evaluation(read_info(folder.saved_model()).step)
    return None if stored is None else stored.evaluation
