"""The training loop."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diptych.config import Config
from diptych.cyclegan import Fakes
from diptych.data.batches import Batches
from diptych.data.domain import Domain, read_for_looking
from diptych.device import choose_precision
from diptych.errors import DiptychError
from diptych.evaluation.scores import Yardstick
from diptych.files import explain_os_errors
from diptych.model_file import GeneratorPair, ModelInfo, save_model
from diptych.training import checkpoint, distributed
from diptych.training.average import keep_share, update_average
from diptych.training.interrupt import InterruptedRunError, StopRequest, stop_on_signals
from diptych.training.log import Log
from diptych.training.run_folder import RunFolder
from diptych.training.samples import sample_sheet
from diptych.training.schedule import rate_share, weights_at
from diptych.training.state import TrainingState

KEEP_LAST = 3  # checkpoints


@dataclass(frozen=True)
class Status:
    """How far a run is, for whoever watches."""

    step: int
    steps: int | None  # in all; None when the length is given in minutes
    progress: float  # 0 to 1
    seconds: float  # of training, over all sessions
    steps_per_second: float  # in this session
    losses: dict[str, float]  # means since the last log step


Watch = Callable[[Status], None]


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
    ) -> None:
        training = config.training
        self.yardstick = yardstick  # to score by, every training.evaluate_every steps
        self.config, self.run, self.a, self.b, self.device = config, run, a, b, device
        self.state = TrainingState(config, a.pixel_format.channels, b.pixel_format.channels, device)
        self.batches_a = Batches(a, config.data, training.seed, 0, device)
        self.batches_b = Batches(b, config.data, training.seed, 1, device)
        self.judged_a = Batches(a, config.data, training.seed, 2, device)
        self.judged_b = Batches(b, config.data, training.seed, 3, device)
        self.precision = choose_precision(training.precision, device)
        self.losses: dict[str, float] = {}
        per_step = training.batch * training.accumulate * distributed.world_size()
        self.steps_per_epoch = math.ceil(max(len(a.train), len(b.train)) / per_step)
        self.steps = training.steps
        if training.epochs is not None:
            self.steps = training.epochs * self.steps_per_epoch

    def resume(self) -> list[str]:
        """Take back the newest checkpoint; returns a line for each damaged one passed over.

        A run that stopped before its first checkpoint starts again.
        """
        if not checkpoint.checkpoints(self.run.checkpoints):
            return [f"there is no checkpoint in {self.run.path} yet"]
        return self.state.load(self.run.checkpoints)

    def train(self, watch: Watch | None = None) -> None:
        """Train to the end. Raises InterruptedRunError after saving when a signal says stop."""
        log = Log(self.run, self.state.step) if distributed.rank() == 0 else None
        try:
            with stop_on_signals() as stop, explain_os_errors(f"write the run {self.run.path}"):
                self._loop(stop, log, watch)
        finally:
            if log is not None:
                log.close()

    def _loop(self, stop: StopRequest, log: Log | None, watch: Watch | None) -> None:
        training, state = self.config.training, self.state
        started, seconds_before, first_step = time.monotonic(), state.seconds, state.step
        while self.progress() < 1:
            self.step()
            state.seconds = seconds_before + time.monotonic() - started
            state.seconds, signal_number = distributed.agree(
                [state.seconds, float(stop.signal_number)], self.device
            )
            done = self.progress() >= 1
            if state.step % training.log_every == 0 or done:
                self.losses = self._mean_losses()
                if log is not None:
                    log.write(state.step, self._metrics())
            if log is not None and (state.step % training.sample_every == 0 or done):
                self._sample(log)
            if log is not None and self._scores_now(done):
                self._score(log)
            every = (training.checkpoint_every, training.keep_every)
            due = any(number and state.step % number == 0 for number in every)
            if due or done or signal_number:
                self.save()
            if watch is not None and log is not None:
                pace = (state.step - first_step) / (time.monotonic() - started)
                progress, losses = self.progress(), self.losses
                watch(Status(state.step, self.steps, progress, state.seconds, pace, losses))
            if signal_number and not done:
                raise InterruptedRunError(
                    f"stopped at step {state.step}, all saved; go on with: "
                    f"diptych train --run {self.run.path} --resume",
                    int(signal_number),
                )

    def progress(self) -> float:
        """0 at the start, 1 at the end: the schedules follow it."""
        if self.steps is not None:
            return min(1.0, self.state.step / self.steps)
        assert self.config.training.minutes is not None
        return min(1.0, self.state.seconds / (60 * self.config.training.minutes))

    def rate(self) -> float:
        """The learning rate of the coming step."""
        optimizer = self.config.optimizer
        return optimizer.rate * rate_share(self.progress(), optimizer) * self.state.plateau.share

    def _set_rates(self) -> None:
        adam, rate = self.config.optimizer, self.rate()
        for group in self.state.optimizer_G.param_groups:
            group["lr"] = rate
        for group in self.state.optimizer_D.param_groups:
            group["lr"] = rate * (adam.discriminator_rate or adam.rate) / adam.rate

    def step(self) -> None:
        """One update of both generators, then one of both discriminators."""
        state, training = self.state, self.config.training
        model, weights = state.model, weights_at(self.progress(), self.config.loss)
        self._set_rates()
        batches = [self._batch(i) for i in range(training.accumulate)]

        made: list[Fakes] = []
        model.discriminators.requires_grad_(False)  # G's loss needs no gradient of D's weights
        state.optimizer_G.zero_grad(set_to_none=True)
        for a, b in batches:
            with self._autocast():
                loss, terms, fakes = model.generator_loss(a, b, weights)
            state.scaler.scale(loss / training.accumulate).backward()  # type: ignore[no-untyped-call]
            made.append(fakes)
            self._note(terms)
        self._update(state.optimizer_G)

        model.discriminators.requires_grad_(True)
        state.optimizer_D.zero_grad(set_to_none=True)
        for i, ((a, b), fakes) in enumerate(zip(batches, made, strict=True)):
            a, b, past = self._judged(i, a, b, fakes)
            with self._autocast():
                loss, terms = model.discriminator_loss(a, b, past, weights)
            state.scaler.scale(loss / training.accumulate).backward()  # type: ignore[no-untyped-call]
            self._note(terms)
        self._update(state.optimizer_D)

        state.scaler.update()
        state.step += 1
        state.summed += 1
        if state.average is not None:
            keep = keep_share(training.ema_half_life, state.step)
            update_average(state.average, model.generators, keep)

    def save(self) -> None:
        """Write a checkpoint and the model file, unless a weight is no longer a number."""
        state = self.state
        if not all(bool(p.isfinite().all()) for p in state.model.parameters()):
            raise DiptychError(
                f"the weights became NaN before step {state.step} and were not saved: lower "
                f"optimizer.rate and go on from the last checkpoint of {self.run.path}"
            )
        state.save(self.run.checkpoints)
        if distributed.rank() == 0:
            checkpoint.prune(self.run.checkpoints, KEEP_LAST, self.config.training.keep_every)
            save_model(self.run.model, self._pair())

    def _batch(self, i: int) -> tuple[Tensor, Tensor]:
        """Batch number ``i`` of this step for this process: its own part of the stream."""
        batch = self.config.training.batch
        position = self._number(i) * batch
        return self.batches_a.at(position, batch), self.batches_b.at(position, batch)

    def _number(self, i: int) -> int:
        """The number of batch ``i`` of this step and process, over all steps and processes."""
        number = self.state.step * self.config.training.accumulate + i
        return number * distributed.world_size() + distributed.rank()

    def _judged(self, i: int, a: Tensor, b: Tensor, fakes: Fakes) -> tuple[Tensor, Tensor, Fakes]:
        """Real pictures and past fakes for D: batch number ``i``, filled up to ``judged``.

        D costs little beside G, so it can afford to look at more pictures than G translates.
        """
        training = self.config.training
        more = (training.judged or training.batch) - training.batch
        past = {}
        for name, fake in fakes.items():
            history = self.state.histories[name]
            recalled = history.recall(more) if more else []
            past[name] = torch.cat([history.exchange(fake), *recalled])
        if more:
            position = self._number(i) * more
            a = torch.cat([a, self.judged_a.at(position, more)])
            b = torch.cat([b, self.judged_b.at(position, more)])
        return a, b, past

    def _autocast(self) -> torch.autocast:
        on = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=self.precision, enabled=on)

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        distributed.average_gradients(p for g in optimizer.param_groups for p in g["params"])
        self.state.scaler.step(optimizer)

    def _note(self, terms: dict[str, Tensor]) -> None:
        """Add the losses up on the device: reading them would make a GPU wait at every step."""
        for name, value in terms.items():
            share = value.detach() / self.config.training.accumulate
            self.state.sums[name] = self.state.sums.get(name, 0) + share

    def _mean_losses(self) -> dict[str, float]:
        state = self.state
        sums = distributed.mean(torch.stack(list(state.sums.values()))).tolist()
        means = {name: value / state.summed for name, value in zip(state.sums, sums, strict=True)}
        state.sums, state.summed = {}, 0
        if not all(math.isfinite(value) for value in means.values()):
            bad = next(name for name, value in means.items() if not math.isfinite(value))
            raise DiptychError(
                f"the loss {bad} became {means[bad]} before step {state.step}: lower "
                f"optimizer.rate; the last checkpoint of {self.run.path} is unharmed"
            )
        if self.config.optimizer.schedule == "plateau":
            held = ("cycle", "contrast")  # what holds a translation to its source
            state.plateau.look(sum(x for name, x in means.items() if name.startswith(held)))
        return means

    def _metrics(self) -> dict[str, float]:
        state = self.state
        return {
            "epoch": round(state.step / self.steps_per_epoch, 4),
            "seconds": round(state.seconds, 3),
            "rate": self.rate(),
            **self.losses,
        }

    def _sample(self, log: Log) -> None:
        config = self.config
        pictures_a, pictures_b = (
            read_for_looking(
                domain.heldout, reading, domain.pixel_format, config, config.training.samples
            )
            for domain, reading in ((self.a, config.a), (self.b, config.b))
        )
        sheet = sample_sheet(
            self._pair(), [p for _, p in pictures_a], [p for _, p in pictures_b], self.device
        )
        if sheet is not None:
            log.write_samples(self.state.step, sheet)

    def _scores_now(self, done: bool) -> bool:
        every = self.config.training.evaluate_every
        return self.yardstick is not None and (self.state.step % every == 0 or done)

    def _score(self, log: Log) -> None:
        """KID of held-out pictures; the best model so far (by the mean of its ways) is kept."""
        assert self.yardstick is not None
        pair = self._pair()
        found = self.yardstick.kid(pair, self.device)
        mean = statistics.mean(kid.value for kid in found.values())
        if all(mean < line["kid/mean"] for line in self.run.read_evaluations()):
            save_model(self.run.best_model, pair)
        scores = {"seconds": round(self.state.seconds, 3), "kid/mean": mean}
        for to, kid in found.items():
            scores |= {f"kid/to_{to}": kid.value}
            scores |= {f"kid/to_{to}/low": kid.low, f"kid/to_{to}/high": kid.high}
        log.write_evaluation(self.state.step, scores)

    def _pair(self) -> GeneratorPair:
        """The generators to use and share, and what the model file says about them."""
        G_ab, *back = self.state.best_generators()
        data = self.config.data
        info = ModelInfo(
            self.config.generator, self.a.pixel_format, self.b.pixel_format,
            data.size, data.preprocess, data.background, self.state.step,
        )  # fmt: skip
        return GeneratorPair(G_ab, back[0] if back else None, info)
