"""Loss terms between two log steps, added up where they are made."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.cyclegan import Terms
from diptych.training import distributed


class LossSums:
    """Sums of loss terms on the device: reading each value would make a GPU wait at every step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}  # steps in them: not every step has every term

    def add(self, terms: Terms, share: float, bad: Tensor) -> None:
        """Add the terms of a batch, ``share`` of a step; nothing if the step was ``bad`` (1.0)."""
        made = share * (1 - bad)
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + (share * value.float()).where(bad == 0, 0)
            self.counts[name] = self.counts.get(name, 0) + made

    def take_means(self) -> dict[str, float]:
        """Each term's mean over those steps that had it, in all processes; then begins anew.

        Empty, and the sums go on, if all steps were bad.
        """
        names = sorted(self.sums)  # (one order in all processes, also after resuming)
        sums = distributed.mean(torch.stack([self.sums[name] for name in names])).tolist()
        steps = torch.stack([self.counts[name] for name in names]).tolist()
        means = {name: x / n for name, x, n in zip(names, sums, steps, strict=True) if n}
        if means:
            self.sums, self.counts = {}, {}
        return means
