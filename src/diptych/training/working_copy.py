"""Training on the CPU: passes in the type and layout that they are fastest with.

Once a step the weights are copied into these.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from diptych.config import Config
from diptych.cut import CUT
from diptych.cyclegan import CycleGAN
from diptych.networks.fast.casting import cast_convolutions, with_bf16_convolutions
from diptych.training.side_by_side import SideBySide, pays


class WorkingCopy:
    """A model's twin for the passes of a step; the optimizers change the model itself.

    In bf16 the model is the "master copy" of Micikevicius et al., 2018, section 3.1. ``masters``
    names, for each weight of the twin, the weights of the model that it is a copy of: one, or two
    that were joined (``Pair``). Where it is the model's own, there is nothing to copy.
    """

    def __init__(self, twin: CycleGAN | CUT, masters: Iterable[tuple[Tensor, ...]]) -> None:
        self.model = twin
        self._own = [
            (weight, of)
            for weight, of in zip(twin.parameters(), masters, strict=True)
            if weight is not of[0]
        ]
        self._masters = [master for _, of in self._own for master in of]
        self._parts = [part for weight, of in self._own for part in weight.detach().chunk(len(of))]

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the model's weights, which an optimizer may have changed, to the twin."""
        torch._foreach_copy_(self._parts, self._masters)

    @torch.no_grad()
    def hand_over_gradients(self) -> None:
        """Add the twin's gradients to those of the model, and forget them."""
        for weight, masters in self._own:
            if weight.grad is None:
                continue
            for master, part in zip(masters, weight.grad.chunk(len(masters)), strict=True):
                gradient = torch.empty_like(master).copy_(part)
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            weight.grad = None


def make_working_copy(
    config: Config, model: CycleGAN | CUT, precision: torch.dtype
) -> WorkingCopy | None:
    """The twin that suits ``model`` on the CPU, or None where the model itself does."""
    if isinstance(model, CycleGAN) and pays(config, model, precision):
        return paired_copy(model, precision)
    return copy_in_bf16(model) if precision == torch.bfloat16 else None


def copy_in_bf16(model: CycleGAN | CUT) -> WorkingCopy:
    """``model`` with its convolutions in bf16; all else belongs to both."""
    return WorkingCopy(with_bf16_convolutions(model), [(weight,) for weight in model.parameters()])


def paired_copy(model: CycleGAN, precision: torch.dtype) -> WorkingCopy:
    """``model`` with its two ways side by side; in bf16 with its convolutions in that."""
    pair = SideBySide(model)
    if precision == torch.bfloat16:
        cast_convolutions(pair)
    makers = zip(model.G_ab.parameters(), model.G_ba.parameters(), strict=True)
    judges = zip(model.D_a.parameters(), model.D_b.parameters(), strict=True)
    return WorkingCopy(pair, [*makers, *judges])
