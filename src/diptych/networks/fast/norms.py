"""Normalisation of features that lie channels last, on the CPU.

PyTorch's own instance norm copies such features to channels first and back, and its group norm
takes three times as long with them; here both are a few passes over long rows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.fast.tracing import being_traced, quick_on


class InstanceNorm(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d``: per picture and channel, mean 0 and variance 1 over the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        if not _pays(x):
            return super().forward(x)
        if x.dtype != torch.float32:  # (PyTorch's sums of them are exact enough)
            if len(x) == 1:
                return self._alone(x)
            return torch.cat([self._alone(picture) for picture in torch.split(x, 1)])
        y: Tensor = Normalise.apply(x, x.shape[1], self.eps)  # type: ignore[no-untyped-call]
        return y

    def _alone(self, picture: Tensor) -> Tensor:
        return F.batch_norm(picture, None, None, training=True, eps=self.eps)


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``: per picture and group of channels, then a scale and shift per channel."""

    def forward(self, x: Tensor) -> Tensor:
        if not _pays(x):
            return super().forward(x)
        if x.dtype != torch.float32:
            return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
        y: Tensor = Normalise.apply(x, self.num_groups, self.eps)  # type: ignore[no-untyped-call]
        return torch.addcmul(self.bias[:, None, None], y, self.weight[:, None, None])


class PixelNorm(nn.LayerNorm):
    """Per pixel, mean 0 and variance 1 over the channels; then a scale and shift per channel.

    ``nn.LayerNorm`` (Ba et al., 2016) of each pixel: ``(N, C, H, W)`` in and out. (Not the
    "pixelwise normalization" of Karras et al., 2018, which subtracts no mean and learns nothing.)
    """

    def forward(self, x: Tensor) -> Tensor:
        if being_traced():  # (a traced layer norm of a permuted batch refuses a single picture)
            centred = x - x.mean(1, keepdim=True)
            y = centred * (centred.square().mean(1, keepdim=True) + self.eps).rsqrt()
            return y * self.weight[:, None, None] + self.bias[:, None, None]
        rows = x.permute(0, 2, 3, 1)
        if quick_on(x):
            # (In bf16 it takes up to four times as long, and the scale's gradient is 6 % off.)
            return super().forward(rows.to(self.weight.dtype)).to(x.dtype).permute(0, 3, 1, 2)
        return super().forward(rows).permute(0, 3, 1, 2)


def _pays(x: Tensor) -> bool:
    return quick_on(x) and x.is_contiguous(memory_format=torch.channels_last)


class Normalise(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps)`` over the pixels of each group of channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, eps: float) -> Tensor:
        mean = _group_mean(_rows(x), groups)
        y = torch.empty_like(x)  # (not a view, so that a ReLU may work in place)
        rows = torch.sub(_rows(x), mean, out=_rows(y))
        scale = _scale(rows, groups, eps)
        rows.mul_(scale)
        ctx.save_for_backward(x, mean, scale)
        ctx.groups, ctx.eps = groups, eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        """``scale * (dy - mean(dy) - y * mean(dy * y))``."""
        x, mean, scale = ctx.saved_tensors
        second = torch.is_grad_enabled()  # a second derivative is wanted
        if ctx.groups == x.shape[1] and not second:
            return _gradient_of_pictures(dy, x, mean, scale, ctx.eps), None, None
        if second:  # mean and scale depend on x too
            mean = _group_mean(_rows(x), ctx.groups)
            scale = _scale(_rows(x) - mean, ctx.groups, ctx.eps)
        y = (_rows(x) - mean) * scale
        drows = _rows(dy)
        along = _group_mean(drows * y, ctx.groups)
        dx = torch.addcmul(drows - _group_mean(drows, ctx.groups), y, along, value=-1) * scale
        return dx.view(x.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2), None, None


def _gradient_of_pictures(dy: Tensor, x: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    """The same, if each channel is a group: that of batch norm for one picture at a time.

    Batch norm's own mean of ``x`` lacks digits in float32 (benchmarks/NOTES.md), but its gradient,
    given ``mean``, does not.
    """
    dy = dy.contiguous(memory_format=torch.channels_last)
    parts = [
        torch.ops.aten.native_batch_norm_backward(
            dy[i : i + 1], x[i : i + 1], None, None, None, mean[i, 0], scale[i, 0],
            True, eps, [True, False, False],
        )[0]
        for i in range(len(x))
    ]  # fmt: skip
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _scale(centred: Tensor, groups: int, eps: float) -> Tensor:
    """``1 / sqrt(variance + eps)`` per picture and channel, ``(N, 1, C)``."""
    return (_group_mean(centred.square(), groups) + eps).rsqrt()


def _rows(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` features as ``(N, H * W, C)``: one row of channels per pixel."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _group_mean(rows: Tensor, groups: int) -> Tensor:
    """The mean over pixels and over each group's channels, ``(N, 1, C)``."""
    n, _, channels = rows.shape
    mean = rows.mean(1, keepdim=True)  # (sums in a tree: many pixels cost no digits)
    if groups == channels:
        return mean
    by_group = mean.view(n, 1, groups, channels // groups)
    return by_group.mean(3, keepdim=True).expand_as(by_group).reshape(n, 1, channels)
