"""From two folders and settings to a trained run: what the command and the Python API share."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from diptych.config import LENGTHS, Config
from diptych.data.domain import Domain, Folders, data_folders, open_domains
from diptych.data.suits import check_shapes
from diptych.device import choose_device
from diptych.errors import DiptychError, UsageError
from diptych.evaluation.features import make_feature_net
from diptych.evaluation.heldout import read_heldout
from diptych.evaluation.yardstick import Yardstick, make_yardstick
from diptych.files import as_path, explain_os_errors, is_text, lies_in, write_whole
from diptych.lock import only_one
from diptych.memory import freed_memory_kept
from diptych.settings import Tree, build_config, merge, to_yaml
from diptych.surroundings import quickest_convolutions, usual_torch
from diptych.training import checkpoint, distributed
from diptych.training.choice import model_in
from diptych.training.learned import learned_from
from diptych.training.provenance import made_with, rounding
from diptych.training.remarks import remarks
from diptych.training.room import check_disk, check_memory
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer, Watch


@dataclass(frozen=True)
class Listener:
    """Functions to call while a training is prepared and runs; all may stay None."""

    decoding: Callable[[str, int, int], None] | None = None  # domain, done, total
    ready: Callable[[Trainer], None] | None = None
    warning: Callable[[str], None] | None = None
    watch: Watch | None = None

    def warn(self, line: str) -> None:
        """Pass a warning on, if anybody listens."""
        if self.warning is not None:
            self.warning(line)


def pick_folders(a: str | Path | None, b: str | Path | None, data: str | Path | None) -> Folders:
    """Two folders, or one that holds trainA and trainB. Raises UsageError for anything else."""
    if data is not None and a is None and b is None:
        return data_folders(as_path(data))
    if data is None and a is not None and b is not None:
        return Folders(as_path(a), as_path(b))
    raise UsageError("give two folders of pictures, A and B, or --data DIR with trainA and trainB")


def start_run(
    folders: Folders,
    run: RunFolder,
    config: Config,
    listener: Listener = Listener(),
    max_minutes: float | None = None,
) -> bool:
    """Make the run folder and train to the end, or for ``max_minutes``; returns whether to the end.

    Raises DiptychError with one line.
    """
    for pictures in filter(None, (folders.a, folders.b, folders.test_a, folders.test_b)):
        if lies_in(run.path, pictures):
            raise UsageError(
                f"the run {run.path} would lie among the pictures of {pictures}, and its samples "
                "with them: choose another --run"
            )
    run.check_free()
    return _train(run, folders, config, listener, max_minutes, resume=False)


_TRAINING = threading.RLock()  # held by the thread that trains
NO_LOCKS = (
    "this file system has no locks: see to it yourself that no second training uses the run folder"
)
ONLY_LENGTH = (
    "--resume goes on with the run's own settings: only --run, a new --steps, --epochs or "
    "--minutes, --max-minutes, and folders that have moved may be given with it. For others start "
    "a new run from it, with --from"
)


def resume_run(
    run: RunFolder,
    settings: Tree | None = None,
    listener: Listener = Listener(),
    max_minutes: float | None = None,
    moved: Folders | None = None,
) -> bool:
    """Go on with a run where it stopped; returns as ``start_run``.

    ``settings`` may hold a new length, ``{"training": {"steps": N}}``; UsageError for any other.
    ``moved``: where its pictures are now, if not where they were.
    """
    settings = settings or {}
    length = settings.get("training") or {}
    only_length = isinstance(length, dict) and set(length) <= set(LENGTHS)
    if set(settings) - {"training"} or not only_length:
        raise UsageError(ONLY_LENGTH)
    config = run.config()
    if settings:
        config = build_config(merge(config.model_dump(), settings))
    folders = moved or run.folders()
    if moved is not None and run.folders().tested and not moved.tested:
        raise UsageError(f"{run.path} has test folders too: give --data DIR, which holds all")
    if moved is None:
        for folder in filter(None, (folders.a, folders.b, folders.test_a, folders.test_b)):
            if not folder.is_dir():
                raise DiptychError(
                    f"the pictures of {run.path} were in {folder}, which is not there: put them "
                    f"back, or say where they are now: {run.moved_command}"
                )
    return _train(run, folders, config, listener, max_minutes, resume=True, moved=moved is not None)


def _train(
    run: RunFolder,
    folders: Folders,
    config: Config,
    listener: Listener,
    max_minutes: float | None,
    resume: bool,
    moved: bool = False,
) -> bool:
    if not is_text(run.path.absolute()):  # (other libraries write and read in it too)
        raise UsageError(f"the name of the run {run.path.absolute()} is no text: choose another")
    if not config.training.length:
        raise UsageError("how long? give --steps, --epochs or --minutes")
    if max_minutes is not None and not 0 <= max_minutes < math.inf:
        raise UsageError(f"max_minutes {max_minutes!r}: give a number of minutes")
    device = choose_device(config.training.device)
    if config.training.start_from is not None:  # (resuming may be from another folder)
        before = as_path(config.training.start_from).absolute()
        config = build_config(merge(config.model_dump(), {"training": {"start_from": str(before)}}))
    with ExitStack() as held:
        held.enter_context(_process_for_training(device))
        leader = distributed.rank() == 0
        if not leader:
            distributed.wait_for_all()  # process 0 decodes the pictures and makes the folder
        elif resume:
            run.check_places()
            if not held.enter_context(only_one(run.path)):
                listener.warn(NO_LOCKS)
        a, b = open_domains(folders, config, listener.decoding if leader else None)
        check_shapes(config, a, b)
        other_scores = False
        if resume:
            run.check_data(a, b)
            if not moved:  # the test folders may have got more pictures since
                a, b = run.with_heldout(a, "a"), run.with_heldout(b, "b")
            other_scores = run.scores_differently(a, b)
        yardstick = _yardstick(config, a, b, device) if leader else None
        if yardstick is not None:  # resuming scores by the same features
            features = {"training": {"features": yardstick.net.name}}
            config = build_config(merge(config.model_dump(), features))
        if leader:
            if not resume and not held.enter_context(run.made(config)):
                listener.warn(NO_LOCKS)
            with explain_os_errors(f"write the run folder {run.path}"):
                if resume:
                    run.sweep()
                    checkpoint.sweep(run.checkpoints)
                    run.make_folders()  # (somebody may have made room)
                if other_scores:
                    _set_scores_aside(run, yardstick, listener)
                if moved or other_scores or not resume:
                    learned = {"a": learned_from(config, a, "a"), "b": learned_from(config, b, "b")}
                    run.write_data(folders, a, b, learned)
            for line in remarks(config, a, b):
                listener.warn(line)
            distributed.wait_for_all()
        trainer = Trainer(config, run, a, b, device, yardstick, listener.warning)
        if leader:
            check_disk(trainer)
        check_memory(trainer)
        has_begun = resume and bool(checkpoint.checkpoints(run.checkpoints))
        said = [] if has_begun else _take_first_weights(trainer)
        if resume:
            said += _take_back(trainer)
            if leader:  # the length may be new
                with explain_os_errors(f"write the run folder {run.path}"):
                    write_whole(run.path / "config.yaml", to_yaml(config, made_with(config)))
        for line in said if leader else ():
            listener.warn(line)
        if leader and listener.ready is not None:
            listener.ready(trainer)
        return trainer.train(listener.watch, max_minutes)


@contextmanager
def _process_for_training(device: torch.device) -> Iterator[None]:
    """For one training the process is its own, set up as it needs it; afterwards as before."""
    if not _TRAINING.acquire(blocking=False):
        raise UsageError(
            "another thread of this process trains: start this one in a process of its own, "
            "with random numbers and settings of its own"
        )
    try:
        with (
            usual_torch(device),
            distributed.process_group(device),
            quickest_convolutions(),
            freed_memory_kept(device),
        ):
            yield
    finally:
        _TRAINING.release()


def _set_scores_aside(run: RunFolder, yardstick: Yardstick | None, listener: Listener) -> None:
    """The held-out pictures are others than before: what was scored by those no longer counts."""
    run.evaluation.unlink(missing_ok=True)
    if yardstick is not None:
        changed = run.set_best_aside()
        listener.warn(changed)
        run.note(changed)


def _yardstick(config: Config, a: Domain, b: Domain, device: torch.device) -> Yardstick | None:
    """What held-out pictures will be scored by. Raises DiptychError if they cannot be."""
    if not config.training.evaluate_every:
        return None
    held_a, held_b = (
        read_heldout(domain.heldout, reading, domain.pixel_format, config)
        for domain, reading in ((a, config.a), (b, config.b))
    )
    return make_yardstick(held_a, held_b, make_feature_net(config.training.features, device))


def _take_first_weights(trainer: Trainer) -> list[str]:
    """Those of the model to start from, if there is one; returns what a person should know."""
    if trainer.config.training.start_from is None:
        return []
    place = Path(trainer.config.training.start_from)
    checkpoints = RunFolder(place).checkpoints if place.is_dir() else None
    left = trainer.state.start_from(model_in(place), checkpoints)
    return [f"{', '.join(left)}: not in {place}, so learned from the start"] if left else []


def _take_back(trainer: Trainer) -> list[str]:
    """The newest checkpoint; returns what a person should know.

    Raises UsageError for a new length that the run has reached.
    """
    run, state, said = trainer.run, trainer.state, []
    noted = run.made_with()
    for name, now in rounding(trainer.config).items():
        then = noted.get(name)
        if trainer.device.type == "cpu" and then not in (None, now):
            said.append(
                f"the run went with {name} {then} and goes on with {now}, which rounds otherwise: "
                "not to the same bytes as a run that was never stopped"
            )
    said += [f"{problem}; going on from step {state.step}" for problem in trainer.resume()]
    given, before = trainer.config.training.length, run.config().training.length
    if trainer.progress() >= 1 and given != before:
        raise UsageError(
            f"{run.path} has made {state.step} steps in {state.seconds / 60:.3g} minutes: the "
            "length is that of the whole run, give a larger one"
        )
    return said
