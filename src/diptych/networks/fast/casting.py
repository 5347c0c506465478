"""Convolutions in bf16, everything else in float32: what matrix units are made for."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Model = TypeVar("Model", bound=nn.Module)


def with_bf16_convolutions(model: Model) -> Model:
    """A twin of ``model``, whose convolutions have weights of their own, in bf16 and channels last.

    All that is no convolution belongs to both; so does a convolution whose weight is computed anew
    in each pass, as under spectral norm.
    """
    layers = [layer for layer in model.modules() if _is_cast(layer)]
    twin = twin_of(model, apart=[weight for layer in layers for weight in layer.parameters()])
    cast_convolutions(twin)
    return twin


def twin_of(model: Model, apart: Iterable[Tensor] = ()) -> Model:
    """A copy of ``model`` that has the same weights and buffers, but for those ``apart``."""
    own = {id(tensor) for tensor in apart}
    shared = {id(t): t for t in (*model.parameters(), *model.buffers()) if id(t) not in own}
    return copy.deepcopy(model, shared)  # (what is in its memo is not copied)


def cast_convolutions(model: nn.Module) -> None:
    """Turn the weights of the model's convolutions into bf16, channels last."""
    for layer in model.modules():
        if _is_cast(layer):
            for weight in layer.parameters():
                weight.data = _cast(weight.data)


def lay_out_as_cast(model: nn.Module) -> None:
    """Lay the weights of ``model`` out as those in bf16 are, so that casting moves none of them."""
    for weight in model.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def _is_cast(layer: nn.Module) -> bool:
    convolves = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    return convolves and not parametrize.is_parametrized(layer)


def _cast(weight: Tensor) -> Tensor:
    if weight.ndim != 4:
        return weight.to(torch.bfloat16)
    return weight.to(torch.bfloat16, memory_format=torch.channels_last)
