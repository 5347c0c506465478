"""Training in bf16 on the CPU: weights are cast once a step, not in each pass."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from diptych.networks.casting import with_bf16_convolutions

Model = TypeVar("Model", bound=nn.Module)


class WorkingCopy(Generic[Model]):
    """A model's twin for the passes of a step, with its convolutions in bf16.

    The model keeps the float32 weights that the optimizers change (the "master copy" of
    Micikevicius et al., 2018, section 3.1).
    """

    def __init__(self, model: Model) -> None:
        self.model = with_bf16_convolutions(model)
        self._masters: list[Tensor] = []
        self._weights: list[Tensor] = []
        for master, weight in zip(model.parameters(), self.model.parameters(), strict=True):
            if weight is not master:
                self._masters.append(master)
                self._weights.append(weight)

    @torch.no_grad()
    def refresh(self) -> Model:
        """The twin, with the model's weights of now."""
        torch._foreach_copy_(self._weights, self._masters)
        return self.model

    @torch.no_grad()
    def hand_over_gradients(self) -> None:
        """Add the twin's gradients to those of the model, and forget them."""
        for master, weight in zip(self._masters, self._weights, strict=True):
            if weight.grad is None:
                continue
            gradient = weight.grad.to(master.dtype, memory_format=torch.contiguous_format)
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            weight.grad = None
