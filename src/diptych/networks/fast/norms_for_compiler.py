"""Normalisation for PyTorch's compiler, which makes kernels of what it reads.

It computes PyTorch's own instance and group norm channels first, and copies features there and
back; what is written out stays in the layout of its input. And left to itself it would take the
derivative of mean and variance one by one, which looks at all features once more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def written_out(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """``(x - mean) / sqrt(variance + eps)``, both over ``dims``; computed in float32."""
    y: Tensor = _Normalise.apply(x, dims, eps)  # type: ignore[no-untyped-call]
    return y


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
        variance, mean = torch.var_mean(x.float(), dims, correction=0, keepdim=True)
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(x, mean, scale)
        ctx.dims = dims
        return ((x.float() - mean) * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        """``scale * (dy - mean(dy) - y * mean(dy * y))``, which lies as ``x`` does."""
        x, mean, scale = ctx.saved_tensors
        y, wide = (x.float() - mean) * scale, dy.float()
        level = wide.mean(ctx.dims, keepdim=True)
        along = (wide * y).mean(ctx.dims, keepdim=True)
        return ((y * along + level - wide) * -scale).to(x.dtype), None, None
