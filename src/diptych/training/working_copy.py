"""Training in bf16 on the CPU: weights are cast once a step, not in each pass."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Model = TypeVar("Model", bound=nn.Module)


class WorkingCopy(Generic[Model]):
    """A model's twin for the passes of a step, whose convolutions are in bf16 and channels last.

    The model keeps the float32 weights that the optimizers change (the "master copy" of
    Micikevicius et al., 2018, section 3.1). All that is no convolution is the same in both; so is
    a convolution whose weight is computed anew in each pass, as under spectral norm.
    """

    def __init__(self, model: Model) -> None:
        names = [name for name, layer in model.named_modules() if _is_cast(layer)]
        self._masters: list[Tensor] = [
            p for name in names for p in model.get_submodule(name).parameters()
        ]
        own = {id(p) for p in self._masters}
        shared = {id(t): t for t in (*model.parameters(), *model.buffers()) if id(t) not in own}
        self.model = copy.deepcopy(model, shared)  # (what is in its memo is not copied)
        self._weights: list[Tensor] = []
        for name in names:
            for weight in self.model.get_submodule(name).parameters():
                weight.data = _cast(weight.data)
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


def _is_cast(layer: nn.Module) -> bool:
    convolves = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    return convolves and not parametrize.is_parametrized(layer)


def _cast(weight: Tensor) -> Tensor:
    if weight.ndim != 4:
        return weight.to(torch.bfloat16)
    return weight.to(torch.bfloat16, memory_format=torch.channels_last)
