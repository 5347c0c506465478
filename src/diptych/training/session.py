"""One session of a training: pictures, run folder and networks are made ready, then it trains."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from numbers import Real

import torch

from diptych.config import Config
from diptych.data.domain import Domain, Folders, open_domains
from diptych.data.suits import check_shapes
from diptych.errors import UsageError, unheard
from diptych.evaluation.features import make_feature_net
from diptych.evaluation.heldout import read_heldout
from diptych.evaluation.yardstick import Yardstick, make_yardstick
from diptych.host.device import choose_device
from diptych.host.files import explain_os_errors, is_text, write_whole
from diptych.host.lock import only_one
from diptych.host.memory import freed_memory_kept
from diptych.host.surroundings import quickest_convolutions, usual_torch
from diptych.settings import changed, to_yaml
from diptych.training import checkpoint, distributed, first_weights
from diptych.training.data_note import (
    as_before,
    check_data,
    scores_differently,
    with_heldout,
    write_data,
    write_pictures,
)
from diptych.training.learned import learned_from
from diptych.training.provenance import made_with
from diptych.training.records import append_line
from diptych.training.remarks import remarks
from diptych.training.room import check_disk, check_memory
from diptych.training.run_folder import RunFolder, model_step
from diptych.training.trainer import Trainer
from diptych.training.watch import Watch

_TRAINING = threading.RLock()  # held by the thread that trains
NO_LOCKS = (
    "this file system has no locks: see to it yourself that no second training uses the run folder"
)


@dataclass(frozen=True)
class Listener:
    """Functions to call while a training is prepared and runs."""

    decoding: Callable[[str, int, int], None] = unheard  # domain, done, total
    ready: Callable[[Trainer], None] = unheard
    warn: Callable[[str], None] = unheard
    watch: Watch | None = None  # (it costs a little in every step)


SILENT = Listener()


@dataclass(frozen=True)
class Session:
    """What is asked of one session of a run: its first, or one that goes on (``resumes``)."""

    run: RunFolder
    folders: Folders
    config: Config
    listener: Listener
    max_minutes: float | None
    resumes: bool
    moved: bool = False  # ``folders`` are not where the pictures were

    def train(self) -> bool:
        """Train to the end, or until ``max_minutes`` from now; returns whether to the end.

        Raises DiptychError with one line.
        """
        self._check()
        minutes = math.inf if self.max_minutes is None else self.max_minutes
        deadline = time.monotonic() + 60 * minutes
        run, listener = self.run, self.listener
        device = choose_device(self.config.training.device)
        with ExitStack() as held:
            held.enter_context(_process_for_training(device))
            leader = distributed.rank() == 0
            config, yardstick = self.config, None
            if leader:
                a, b, config, yardstick = self._prepared(held, device)
            distributed.wait_for_all()  # until pictures are decoded and there is a folder
            if not leader:
                a, b = self._pictures(leader)
            trainer = Trainer(config, run, a, b, device, yardstick, listener.warn)
            if leader:
                check_disk(trainer)
            if not self.resumes:  # (its settings stay, whatever they take)
                check_memory(trainer)
            for line in self._weights(trainer):
                if leader:
                    listener.warn(line)
            if leader:
                listener.ready(trainer)
            return trainer.train(listener.watch, deadline)

    def _prepared(
        self, held: ExitStack, device: torch.device
    ) -> tuple[Domain, Domain, Config, Yardstick | None]:
        """What process 0 does for all: decode pictures, lock the run folder and write it down."""
        run = self.run
        if self.resumes:
            run.check_places()
            self._warn_unless(held.enter_context(only_one(run.path)))
        a, b = self._pictures(leader=True)
        config, yardstick = self._how_to_score(a, b, device)
        if not self.resumes:
            self._warn_unless(held.enter_context(run.begun(config)))
        self._write_down(config, a, b, yardstick)
        for line in remarks(config, a, b, device):
            self.listener.warn(line)
        return a, b, config, yardstick

    def _check(self) -> None:
        """What can be said before anything is opened."""
        place, minutes = self.run.path.absolute(), self.max_minutes
        if not is_text(place):  # (other libraries write and read in it too)
            raise UsageError(f"the name of the run {place} is no text: choose another")
        if not self.config.training.length:
            raise UsageError("how long? give --steps, --epochs or --minutes")
        is_number = isinstance(minutes, Real) and not isinstance(minutes, bool)
        if minutes is not None and not (is_number and 0 <= minutes < math.inf):
            raise UsageError(f"max_minutes {minutes!r}: give a number of minutes")

    def _warn_unless(self, locked: bool) -> None:
        if not locked:
            self.listener.warn(NO_LOCKS)

    def _pictures(self, leader: bool) -> tuple[Domain, Domain]:
        """Both domains. Raises DiptychError if they do not suit, or are others than before."""
        a, b = open_domains(
            self.folders, self.config, self.listener.decoding if leader else unheard
        )
        check_shapes(self.config, a, b)
        if self.resumes:
            check_data(self.run, a, b)
            a = as_before(self.run, a, "a", self.config.a)
            b = as_before(self.run, b, "b", self.config.b)
            if not self.moved:  # the test folders may have got more pictures since
                a, b = with_heldout(self.run, a, "a"), with_heldout(self.run, b, "b")
        return a, b

    def _how_to_score(
        self, a: Domain, b: Domain, device: torch.device
    ) -> tuple[Config, Yardstick | None]:
        """The yardstick, and settings that name its features: resuming scores by the same."""
        yardstick = _yardstick(self.config, a, b, device)
        if yardstick is None:
            return self.config, None
        return changed(self.config, {"training": {"features": yardstick.net.name}}), yardstick

    def _write_down(
        self, config: Config, a: Domain, b: Domain, yardstick: Yardstick | None
    ) -> None:
        """What the run folder says of the pictures, where that is new."""
        run = self.run
        other_scores = self.resumes and scores_differently(run, a, b)
        with explain_os_errors(f"write the run folder {run.path}"):
            if self.resumes:
                run.sweep()
                checkpoint.sweep(run.checkpoints)
                run.make_folders()  # (somebody may have made room)
            if other_scores:
                self._set_scores_aside(yardstick)
            if self.moved or other_scores or not self.resumes:
                learned = {"a": learned_from(config, a, "a"), "b": learned_from(config, b, "b")}
                write_data(run, self.folders, a, b, learned)
            elif run.pictures_of("a") is None:  # (it began before that was noted)
                write_pictures(run, a, b)

    def _set_scores_aside(self, yardstick: Yardstick | None) -> None:
        """The held-out pictures are others than before: scores by those no longer count."""
        run = self.run
        run.evaluation.unlink(missing_ok=True)
        if yardstick is None:
            return
        said = (
            f"the held-out pictures have changed since {run.path} began: scores before and after "
            "cannot be compared"
        )
        if run.best_model.exists():
            known = model_step(run.best_model)
            name = "damaged" if known is None else f"until-{known}"
            aside = run.best_model.with_stem(f"model-best-{name}")
            run.best_model.rename(aside)
            said = f"{said}; the best model by the pictures before is {aside.name}"
        self.listener.warn(said)
        append_line(run.warnings, model_step(run.model) or 0, {"text": said})

    def _weights(self, trainer: Trainer) -> list[str]:
        """The first ones, or those of the newest checkpoint; returns what a person should know."""
        said = []
        if not (self.resumes and checkpoint.checkpoints(self.run.checkpoints)):
            said += first_weights.take_first(trainer)
        if self.resumes:
            said += first_weights.take_back(trainer)
            if distributed.rank() == 0:  # the length may be new
                settings = to_yaml(trainer.config, made_with(trainer.config))
                with explain_os_errors(f"write the run folder {self.run.path}"):
                    write_whole(self.run.settings, settings)
        return said


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


def _yardstick(config: Config, a: Domain, b: Domain, device: torch.device) -> Yardstick | None:
    """What held-out pictures will be scored by. Raises DiptychError if they cannot be."""
    if not config.training.evaluate_every:
        return None
    held_a, held_b = (
        read_heldout(domain.heldout, reading, domain.pixel_format, config)
        for domain, reading in ((a, config.a), (b, config.b))
    )
    return make_yardstick(held_a, held_b, make_feature_net(config.training.features, device))
