"""Saving a run, and going back to what was saved."""

from __future__ import annotations

import time

from diptych.config import Config
from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError
from diptych.model_file import GeneratorPair, ModelInfo, save_model
from diptych.training import checkpoint, distributed
from diptych.training.guard import LOWER_RATE, MOST_IN_A_ROW
from diptych.training.log import Log
from diptych.training.run_folder import RunFolder
from diptych.training.state import TrainingState
from diptych.words import counted, typed

MOST_UNSAVED = 10  # minutes: a step may take many seconds, and checkpoints go by steps


class Keeper:
    """Writes checkpoints and the model of one run, and reads them when its losses fail.

    ``a`` and ``b``: how pictures of the two domains are stored.
    """

    def __init__(
        self, config: Config, run: RunFolder, state: TrainingState, a: PixelFormat, b: PixelFormat
    ) -> None:
        self.config, self.run, self.state, self.a, self.b = config, run, state, a, b
        self.owes_save = False  # a checkpoint was due while steps were being left out
        self.saved: int | None = None  # the step of the last checkpoint
        self.saved_at = time.monotonic()  # and when that was

    def pair(self) -> GeneratorPair:
        """The generators to use and share, and what the model file says about them."""
        G_ab, *back = self.state.generators_to_use()
        data = self.config.data
        info = ModelInfo(
            generator=self.config.generator,
            a=self.a,
            b=self.b,
            size=data.size,
            preprocess=data.preprocess,
            background=data.background,
            step=self.state.step,
        )
        return GeneratorPair(G_ab, back[0] if back else None, info)

    def resume(self) -> list[str]:
        """Take back the newest whole checkpoint; returns lines about what was not as expected.

        A run that stopped before its first checkpoint starts again. Raises DiptychError if it has
        lost those that it had: to start again would write over its model.
        """
        if not checkpoint.checkpoints(self.run.checkpoints):
            if self.run.model.exists():
                raise DiptychError(
                    f"{self.run.path} has a model, but no checkpoint to go on from any more: start "
                    f"a new run from it, with --from {typed(self.run.model)}"
                )
            return [f"there is no checkpoint in {self.run.path} yet"]
        return self.state.load(self.run.checkpoints)

    def is_late(self) -> bool:
        """Whether the last checkpoint was long ago."""
        return time.monotonic() - self.saved_at >= 60 * MOST_UNSAVED

    def is_due(self, late: bool) -> bool:
        """Whether to save after this step; where that ``is_late`` for some process, in any case.

        If it was left out (NaN), saving waits for one that is not: the weights may be why.
        """
        training, step = self.config.training, self.state.step
        every = (training.checkpoint_every, training.keep_every)
        due = late or self.owes_save or any(n and step % n == 0 for n in every)
        self.owes_save = due and int(self.state.bad_in_row) > 0
        return due and not self.owes_save

    def save(self, log: Log | None = None) -> None:
        """Write a checkpoint and the model file.

        Raises DiptychError, and writes nothing, if a weight is no longer a number.
        """
        state = self.state
        if not all(bool(value.isfinite().all()) for value in state.model.state_dict().values()):
            raise DiptychError(
                f"the weights became NaN before step {state.step} and were not saved: lower "
                f"optimizer.rate; the last checkpoint of {self.run.path} is unharmed"
            )
        if log is not None:
            log.sync()  # a checkpoint must not outlive the lines before it
        state.save(self.run.checkpoints, self.pair())
        self.saved, self.saved_at = state.step, time.monotonic()
        if distributed.rank() == 0:
            if not int(state.bad_in_row):  # (else the last good one may be among the oldest)
                every = self.config.training.keep_every
                checkpoint.prune(self.run.checkpoints, state.step, checkpoint.KEEP_LAST, every)
            self.save_model()

    def save_model(self) -> None:
        """Write the model file alone."""
        save_model(self.run.model, self.pair())

    def has_failed(self, done: bool) -> bool:
        """Whether too many steps were left out in a row; at the end half of a short run is."""
        most = min(MOST_IN_A_ROW, 1 + self.state.step // 2) if done else MOST_IN_A_ROW
        return int(self.state.bad_in_row) >= most

    def go_back(self, log: Log | None) -> str:
        """Return to the last good checkpoint, once, to go on at a lower rate; says so.

        Raises DiptychError if there is none, or if it has been tried.
        """
        state = self.state
        left_out = counted(int(state.bad_in_row), "step")
        seen = f"{left_out} up to step {state.step} gave NaN or infinity"
        too = ", at a lower rate too" if state.setbacks else ""
        hopeless = DiptychError(
            f"{seen}{too}: start again with a lower optimizer.rate (it was "
            f"{self.config.optimizer.rate:g}); the last checkpoint of {self.run.path}, if it has "
            "one, is unharmed"
        )
        if self.config.training.precision == "fp16" and state.step < MOST_IN_A_ROW:
            raise DiptychError(
                f"{seen}: fp16 begins with some such steps, until it has found its scale. Make the "
                "run longer, or leave --precision out"
            )
        if state.setbacks:
            raise hopeless
        try:
            state.load(self.run.checkpoints, healthy=True)
        except DiptychError as error:  # (there is none, or all are of failing steps)
            raise hopeless from error
        state.setbacks += 1
        self.owes_save = False  # what was due is of the steps that are taken back
        if distributed.rank() == 0:
            checkpoint.drop_after(self.run.checkpoints, state.step)
        if log is not None:
            log.go_back(state.step)
        self.save(log)  # (else a run that is stopped now would forget that it went back)
        return f"{seen}: back to step {state.step}, on with {LOWER_RATE:.0%} of the rate"
