"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import NoReturn

import torch

from diptych.config import Config
from diptych.data.domain import Domain
from diptych.errors import unheard
from diptych.evaluation.yardstick import Yardstick
from diptych.host.files import explain_os_errors
from diptych.host.interrupt import (
    InterruptedRunError,
    StopNowError,
    StopRequest,
    stop_on_signals,
)
from diptych.training import distributed
from diptych.training.average import keep_share, update_average
from diptych.training.guard import LOWER_RATE
from diptych.training.health import Health
from diptych.training.keeper import Keeper
from diptych.training.log import Log
from diptych.training.looks import look_at_samples, score_and_keep_best
from diptych.training.run_folder import RunFolder
from diptych.training.schedule import rate_share, weights_at
from diptych.training.state import TrainingState
from diptych.training.step import Stepper
from diptych.training.threads import ThreadTuner, tunes_threads
from diptych.training.watch import ProgramError, Status, Watch


class Trainer:
    """One run in one process. ``train`` goes on from wherever the state is, to the end."""

    def __init__(
        self,
        config: Config,
        run: RunFolder,
        a: Domain,
        b: Domain,
        device: torch.device,
        yardstick: Yardstick | None = None,
        warn: Callable[[str], None] = unheard,
    ) -> None:
        training = config.training
        self.yardstick = yardstick  # to score by, every training.evaluate_every steps
        self.warn = warn  # what to tell whoever watches
        self.config, self.run, self.a, self.b, self.device = config, run, a, b, device
        self.state = TrainingState(config, a.pixel_format.channels, b.pixel_format.channels, device)
        per_step = training.batch * training.accumulate * distributed.world_size()
        self.steps_per_epoch = max(len(a.train), len(b.train)) / per_step
        self.steps = training.steps
        if training.epochs is not None:
            self.steps = math.ceil(round(training.epochs * self.steps_per_epoch, 6))
        self.stepper = Stepper(config, self.state, a, b, warn, self.steps)
        tunes = tunes_threads(config, device, self.stepper.compiled)
        self.tuner = ThreadTuner(config.loss.cycle_every) if tunes else None
        self.health = Health(config)
        self.losses: dict[str, float] = {}
        self.keeper = Keeper(config, run, self.state, a.pixel_format, b.pixel_format)

    def train(self, watch: Watch | None = None, deadline: float = math.inf) -> bool:
        """Train to the end, and return True; at ``deadline`` save and return False.

        That is a time by ``time.monotonic``; where it has passed already, one step is made.
        Raises InterruptedRunError after saving when a signal says stop, and DiptychError when
        something cannot be written or the losses stay NaN.
        """
        try:
            with stop_on_signals() as stop, explain_os_errors(f"write the run {self.run.path}"):
                log = Log(self.run, self.state.step) if distributed.rank() == 0 else None
                try:
                    return self._loop(stop, log, watch, deadline)
                finally:
                    if log is not None:
                        log.close()
        except ProgramError as failed:
            raised = failed.error
        raise raised  # (out here, so that it keeps its own cause)

    def _loop(
        self, stop: StopRequest, log: Log | None, watch: Watch | None, deadline: float
    ) -> bool:
        training, state = self.config.training, self.state
        started = last = self.keeper.saved_at = time.monotonic()
        resumed, made = state.step > 0, 0
        if log is not None and self.progress() >= 1 and not self.run.has_model_of(state.step):
            self.keeper.save_model()  # (stopped between last checkpoint and model)
        # A run that was stopped between a step and its scores has them still to make.
        signal_number = 0
        if resumed:
            signal_number = self._sample_and_score(log, stop, self.progress() >= 1)
        while self.progress() < 1 and not signal_number:
            self.step()
            made += 1
            now = time.monotonic()
            state.seconds, last = state.seconds + now - last, now
            state.seconds, number, out_of_time, late = distributed.agree(
                [state.seconds, stop.signal_number, now >= deadline, self.keeper.is_late()]
            )
            signal_number, done = int(number), self.progress() >= 1
            if state.step % training.log_every == 0 or done:
                if self.keeper.has_failed(done):
                    self._go_back(log)
                    continue
                self._log(log)
            signal_number = signal_number or self._sample_and_score(log, stop, done)
            if self.keeper.is_due(bool(late)) or done or out_of_time or signal_number:
                self.keeper.save(log)
            if watch is not None and log is not None:
                pace = made / max(time.monotonic() - started, 1e-3)  # (clocks may be coarse)
                self._tell(watch, pace, log)
            if out_of_time:
                break
        distributed.wait_for_all()  # until process 0 has written the model
        finished = self.progress() >= 1
        if number := signal_number or stop.signal_number:  # (also during the last step)
            whole = finished and not self._scores_missing(log)
            further = "" if whole else f"; go on with: {self.run.resume_command}"
            raise InterruptedRunError(f"stopped at step {state.step}, all saved{further}", number)
        return finished

    def _tell(self, watch: Watch, pace: float, log: Log) -> None:
        """Call ``watch``. What it draws of the CPU's random numbers changes nothing here."""
        state, losses = self.state, self.losses
        try:
            with torch.random.fork_rng(devices=[]):
                watch(Status(state.step, self.steps, self.progress(), state.seconds, pace, losses))
        except StopNowError:  # (a second signal)
            raise
        except BaseException as error:  # a program's way to stop
            self._save_before(error, log)

    def _save_before(self, error: BaseException, log: Log) -> NoReturn:
        """What a program's function has raised ends the training, which has saved."""
        if distributed.world_size() == 1 and self.keeper.saved != self.state.step:
            self.keeper.save(log)
        raise ProgramError(error) from error

    def progress(self) -> float:
        """0 at the start, 1 at the end: the schedules follow it."""
        if self.steps is not None:
            return min(1.0, self.state.step / self.steps)
        assert self.config.training.minutes is not None
        return min(1.0, self.state.seconds / (60 * self.config.training.minutes))

    def rate(self) -> float:
        """The generators' learning rate in the coming step."""
        optimizer, state = self.config.optimizer, self.state
        share = rate_share(self.progress(), optimizer) * state.plateau.share
        return optimizer.rate * share * LOWER_RATE**state.setbacks

    def step(self) -> None:
        """One update of the generators, one of the discriminators, and of the average."""
        state = self.state
        weights = weights_at(self.progress(), state.step, self.config)
        tuned = self.tuner.timing() if self.tuner else nullcontext()
        with tuned, self.stepper.sharing_threads():
            self.stepper.step(self.rate(), weights)
            if state.average is not None:
                keep = keep_share(self.config.training.ema_half_life, state.step)
                update_average(state.average, state.model.generators, keep)

    def _go_back(self, log: Log | None) -> None:
        said = self.keeper.go_back(log)
        self.health = Health(self.config)  # (its warnings may be due again)
        if log is not None:
            self._warn(log, said)

    def _warn(self, log: Log, line: str) -> None:
        """Say it, in a resumed run again; the run folder keeps it once."""
        if all(line != warning.get("text") for warning in self.run.read_warnings()):
            log.write_warning(self.state.step, line)
        try:
            self.warn(line)
        except Exception as error:  # (warnings may be errors to a program)
            self._save_before(error, log)

    def _log(self, log: Log | None) -> None:
        if means := self.state.losses.take_means():
            self.losses = means
            self._show_plateau(means)
        if log is None:
            return
        log.write(self.state.step, self._metrics())
        for line in self.health.look_at_losses(self.state.step, self.losses):
            self._warn(log, line)

    def _show_plateau(self, losses: dict[str, float]) -> None:
        """Let the schedule ``plateau`` see those losses that hold translations to their source."""
        held = [x for name, x in losses.items() if name.startswith(("cycle", "contrast"))]
        if self.config.optimizer.schedule == "plateau" and held:
            self.state.plateau.look(sum(held))

    def _metrics(self) -> dict[str, float]:
        state = self.state
        return {
            "epoch": round(state.step / self.steps_per_epoch, 4),
            "seconds": round(state.seconds, 3),
            "rate": state.optimizer_G.param_groups[0]["lr"],  # of the last step
            **self.losses,
        }

    def _sample_and_score(self, log: Log | None, stop: StopRequest, done: bool) -> int:
        """Samples and scores, if they are due at this step and not made yet.

        Scoring takes a while, so a signal ends it at once; the run makes up for it when it goes
        on. Returns the number of such a signal in all processes, or 0.
        """
        step, training = self.state.step, self.config.training
        sampling = step % training.sample_every == 0 or done
        if log is not None and sampling and not log.has_samples(step):
            self._sample(log)
        every = training.evaluate_every
        if not every or not (step % every == 0 or done):
            return 0
        if self._scores_missing(log):
            assert log is not None
            assert self.yardstick is not None
            with suppress(StopNowError), stop.at_once():
                score_and_keep_best(
                    log, self.keeper.pair(), self.yardstick, self.state.seconds, self.device
                )
        return int(distributed.agree([stop.signal_number])[0])

    def _scores_missing(self, log: Log | None) -> bool:
        """Whether this process should score at this step, and has not."""
        return (
            log is not None and self.yardstick is not None and not log.has_scores(self.state.step)
        )

    def _sample(self, log: Log) -> None:
        pair = self.keeper.pair()
        made, real = look_at_samples(log, pair, self.a, self.b, self.config, self.device)
        for line in self.health.look_at_pictures(self.progress(), made, real, pair.info):
            self._warn(log, line)
