"""The learning rate and the weights of the losses over the progress of a run (0 to 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diptych.config import Config, LossConfig, OptimizerConfig


def rate_share(progress: float, optimizer: OptimizerConfig) -> float:
    """The share of its starting value that the learning rate has at ``progress``.

    ``plateau`` depends on losses: see Plateau.
    """
    start = optimizer.decay_from
    if optimizer.schedule == "linear":  # Zhu et al., 2017, section 7.1: constant, then to zero
        return 1.0 if progress < start else (1 - progress) / (1 - start)
    if optimizer.schedule == "cosine":  # Loshchilov & Hutter, 2017, eq. 5, one period
        along = max(0.0, progress - start) / (1 - start)
        return (1 + math.cos(math.pi * along)) / 2
    if optimizer.schedule == "step":  # decay_steps falls, evenly spaced
        falls = min(optimizer.decay_steps, int(progress * (optimizer.decay_steps + 1)))
        return optimizer.decay_factor**falls
    return 1.0


MOVES = 20  # by which weights get to their ends; at each a GPU has to record its passes anew


def weights_at(progress: float, step: int, config: Config) -> LossConfig:
    """The losses of a step, at ``progress`` 0 to 1 of the run.

    What has an end moves there in ``MOVES`` equal ones. Of ``cycle_every`` steps one makes up for
    what the others leave out: the way back costs as much as the way there, and regularisation at
    every n-th step with n times the weight gives Adam nearly the same means (Karras et al., 2020,
    StyleGAN2, "lazy regularization").
    """
    loss, moved = config.loss, round(progress * MOVES) / MOVES
    share = loss.cycle_every if step % loss.cycle_every == 0 else 0

    def between(start: float, end: float | None) -> float:
        return start if end is None else start + moved * (end - start)

    return loss.model_copy(
        update={
            "cycle": share * between(loss.cycle, loss.cycle_end),
            "identity": share * between(loss.identity, loss.identity_end),
            # (Where D sees the means of n x n pixels, these have an n-th of their noise.)
            "noise": config.shrink * between(loss.noise, loss.noise_end),
        }
    )


@dataclass
class Plateau:
    """Lets the rate fall by ``factor`` when more than ``patience`` looks see no lower loss."""

    factor: float
    patience: int
    best: float = math.inf
    waited: int = 0
    share: float = 1.0

    def look(self, loss: float) -> None:
        """Take note of a new value; one at least 1 % below the best counts as improvement."""
        if loss < 0.99 * self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.share *= self.factor
            self.waited = 0
