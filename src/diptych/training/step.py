"""One training step: batches in, one update of the generators and one of the discriminators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from diptych.config import Config, LossConfig
from diptych.cut import CUT
from diptych.cyclegan import CycleGAN, Fakes, Terms
from diptych.data.batches import Batches
from diptych.data.domain import Domain
from diptych.errors import DiptychError, unheard
from diptych.host.device import choose_precision
from diptych.networks.fast.casting import lay_out_as_cast
from diptych.training import distributed
from diptych.training.compiled import compiled_twin, compilers_reason, compiles, to_be_compiled
from diptych.training.cuda_graphs import Recorder, Results, uses_cuda_graphs
from diptych.training.guard import any_not_finite
from diptych.training.state import TrainingState
from diptych.training.two_streams import InTwoStreams
from diptych.training.two_threads import InTwoThreads, draws_random_numbers
from diptych.training.working_copy import make_working_copy


class Stepper:
    """Makes the steps of one run: which pictures a step sees follows from its number alone."""

    def __init__(
        self,
        config: Config,
        state: TrainingState,
        a: Domain,
        b: Domain,
        warn: Callable[[str], None] = unheard,
        steps: int | None = None,  # of the whole run, if that is known
    ) -> None:
        device = state.device
        self.config, self.state, self.device, self.warn = config, state, device, warn
        self.precision = choose_precision(config.training.precision, device)
        # What makes the passes: the networks, or a twin of them (compiled, in bf16, side by side).
        self.model = state.model
        self.working_copy = None
        self.records = uses_cuda_graphs(config, device)
        self.compiled = compiles(config, steps, device)
        if self.compiled:
            self.uncompiled = to_be_compiled(state.model)
            try:
                self.model = self._in_streams(compiled_twin(self.uncompiled, device))
                lay_out_as_cast(state.model)
                if state.average is not None:
                    lay_out_as_cast(state.average)
            except RuntimeError as error:  # not with this version of Python
                self._go_without_compiling(str(error), error)
        elif device.type == "cpu":
            self.working_copy = make_working_copy(config, state.model, self.precision)
            self.model = self._model_for_cpu()
        else:
            self.model = self._in_streams(state.model)
        self.recorder = Recorder(list(state.model.parameters()), on=self.records)
        seed = config.training.seed
        self.batches_a = Batches(a, config.data, seed, 0, device)
        self.batches_b = Batches(b, config.data, seed, 1, device)
        self.more_a = Batches(a, config.data, seed, 2, device)  # for D alone: ``more_judged``
        self.more_b = Batches(b, config.data, seed, 3, device)

    def _model_for_cpu(self) -> CycleGAN | CUT:
        model = self.working_copy.model if self.working_copy else self.state.model
        casts = self.working_copy is None and self.precision != torch.float32
        one_thread = casts or draws_random_numbers(self.config)  # (autocast is one thread's alone)
        return InTwoThreads(model) if type(model) is CycleGAN and not one_thread else model

    def _in_streams(self, model: CycleGAN | CUT) -> CycleGAN | CUT:
        """Both ways at the same time, where steps are recorded: to ask for them takes no time."""
        if self.records and isinstance(model, CycleGAN):
            return InTwoStreams(model, self.device)
        return model

    def sharing_threads(self) -> AbstractContextManager[None]:
        """Around all of a step, and what else is done in it."""
        model = self.model
        return model.sharing_threads() if isinstance(model, InTwoThreads) else nullcontext()

    def step(self, rate: float, weights: LossConfig) -> None:
        """Both losses, then both updates; neither if a number in them is NaN or infinite.

        Raises DiptychError if the settings ask for compiled networks and they cannot be had. Where
        diptych itself has chosen that, it goes on without.
        """
        try:
            self._step(rate, weights)
        except Exception as error:
            reason = compilers_reason(error) if self.compiled else None
            if reason is None:
                raise
            self._go_without_compiling(reason, error)
            self._step(rate, weights)

    def _go_without_compiling(self, reason: str, error: Exception) -> None:
        problem = f"the networks cannot be compiled here: {reason}"
        if self.config.training.compile:
            raise DiptychError(f"{problem} (leave training.compile out)") from error
        self.warn(f"{problem}; without that a step takes longer")
        self.model, self.compiled = self._in_streams(self.uncompiled), False

    def _step(self, rate: float, weights: LossConfig) -> None:
        state = self.state
        if self.working_copy:
            self.working_copy.refresh()
        self._set_rates(rate)
        state.optimizer_G.zero_grad(set_to_none=True)
        state.optimizer_D.zero_grad(set_to_none=True)
        statistics = [value.clone() for value in self.model.buffers()]  # (of batch norm)
        batches = [self._batch(i) for i in range(self.config.training.accumulate)]
        losses: list[Tensor] = []
        parts: list[Terms] = []

        made: list[Fakes] = []
        for a, b in batches:
            loss, terms, fakes = self.recorder(self._generator_pass, a, b, {}, weights)
            losses.append(loss)
            made.append(fakes)
            parts.append(terms)

        # (A weight that moves, or is 0 in most steps, would have a recording made anew.)
        weights = weights.of_discriminators()
        for i, ((a, b), fakes) in enumerate(zip(batches, made, strict=True)):
            a, b, past = self._for_D(i, a, b, fakes)
            loss, terms, _ = self.recorder(self._discriminator_pass, a, b, past, weights)
            losses.append(loss)
            parts.append(terms)

        bad = self._update(losses)
        for value, before in zip(self.model.buffers(), statistics, strict=True):
            value.copy_(torch.where(bad == 0, value, before))
        for terms in parts:
            state.losses.add(terms, 1 / self.config.training.accumulate, bad)
        state.step += 1

    def _generator_pass(self, a: Tensor, b: Tensor, _: Fakes, weights: LossConfig) -> Results:
        self.model.discriminators.requires_grad_(False)  # G's loss needs no gradient of D's weights
        with self._autocast():
            loss, terms, fakes = self.model.generator_loss(a, b, weights)
        return self._backward(loss), detached(terms), detached(fakes)

    def _discriminator_pass(
        self, a: Tensor, b: Tensor, past: Fakes, weights: LossConfig
    ) -> Results:
        self.model.discriminators.requires_grad_(True)
        with self._autocast():
            loss, terms = self.model.discriminator_loss(a, b, past, weights)
        return self._backward(loss), detached(terms), {}

    def _set_rates(self, rate: float) -> None:
        adam = self.config.optimizer
        for group in self.state.optimizer_G.param_groups:
            group["lr"] = rate
        for group in self.state.optimizer_D.param_groups:
            group["lr"] = rate * (adam.discriminator_rate or adam.rate) / adam.rate

    def _batch(self, i: int) -> tuple[Tensor, Tensor]:
        """Batch number ``i`` of this step for this process: its own part of the stream."""
        batch = self.config.training.batch
        position = self._number(i) * batch
        return self.batches_a.at(position, batch), self.batches_b.at(position, batch)

    def _number(self, i: int) -> int:
        """The number of batch ``i`` of this step and process, over all steps and processes."""
        number = self.state.step * self.config.training.accumulate + i
        return number * distributed.world_size() + distributed.rank()

    def _for_D(self, i: int, a: Tensor, b: Tensor, fakes: Fakes) -> tuple[Tensor, Tensor, Fakes]:
        """Real pictures and past fakes for D: batch number ``i``, filled up to ``judged``.

        D costs little beside G, so it can afford to look at more pictures than G translates.
        ``untouched`` ones among the fakes remind it that a horse is no zebra: a D that need only
        tell translated pictures from real ones teaches G to leave pictures as they are.
        """
        training = self.config.training
        more = training.more_judged
        untouched = training.untouched if a.shape[1] == b.shape[1] else 0
        past = {}
        for name, fake in fakes.items():
            history = self.state.histories[name]
            fake = _without_broken_ones(fake, history.pictures)
            shown = history.exchange(fake)  # (first: then there is one to recall)
            past[name] = torch.cat([shown, *history.recall(more - untouched)])
        if more:
            position = self._number(i) * more
            a = torch.cat([a, self.more_a.at(position, more)])
            b = torch.cat([b, self.more_b.at(position, more)])
        if untouched:
            source = {"a": b, "b": a}
            past = {x: torch.cat([old, source[x][-untouched:]]) for x, old in past.items()}
        return a, b, past

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        """Convolutions in 16 bits, if they are wanted: each weight is cast once in the block.

        PyTorch would keep what it has cast until the outermost block ends, also of one that is
        switched off, and a whole training is in such a one (``usual_torch``).
        """
        on = self.precision != torch.float32 and not self.working_copy
        dtype = self.precision if on else None
        torch.clear_autocast_cache()
        with torch.autocast(self.device.type, dtype, enabled=on):
            yield

    def _backward(self, loss: Tensor) -> Tensor:
        share = loss / self.config.training.accumulate
        self.state.scaler.scale(share).backward()  # type: ignore[no-untyped-call]
        if self.working_copy:
            self.working_copy.hand_over_gradients()
        return share.detach()

    def _update(self, losses: list[Tensor]) -> Tensor:
        """Step both optimizers, unless something is not finite: then returns 1.0, else 0.0."""
        state = self.state
        optimizers = (state.optimizer_G, state.optimizer_D)
        parameters = [p for o in optimizers for g in o.param_groups for p in g["params"]]
        distributed.average_gradients(parameters)
        for optimizer in optimizers:
            state.scaler.unscale_(optimizer)  # (fp16: takes the loss scale out again)
        bad = distributed.largest(any_not_finite(losses, parameters))
        for optimizer in optimizers:
            optimizer.step_unless(bad)
        state.scaler.update()
        state.bad_in_row = (state.bad_in_row + 1) * bad
        return bad


def _without_broken_ones(fakes: Tensor, past: list[Tensor]) -> Tensor:
    """``fakes``, a past one in the place of each that is not finite, which would come again.

    Where there is none of its size yet, values that are no numbers become 0.
    """
    alike = next((one for one in reversed(past) if one.shape == fakes[:1].shape), None)
    if alike is not None:
        whole = fakes.isfinite().flatten(1).all(1)[:, None, None, None]
        fakes = fakes.where(whole, alike)
    return fakes.nan_to_num(0, 1, -1)


def detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values alone, without the way they were computed."""
    return {name: tensor.detach() for name, tensor in tensors.items()}
