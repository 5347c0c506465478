"""Normalisation of features that lie channels last.

PyTorch's own instance norm copies such features to channels first and back, and its group norm
takes three times as long with them; here both are a few passes over long rows on the CPU, and
written out for the compiler on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.fast.norms_for_compiler import written_out
from diptych.networks.fast.tracing import being_traced, compiled_for_gpu, quick_on


class InstanceNorm(nn.InstanceNorm2d):
    """``nn.InstanceNorm2d``: per picture and channel, mean 0 and variance 1 over the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        if compiled_for_gpu(x):
            return written_out(x, (2, 3), self.eps)
        if not _pays(x):
            return super().forward(x)
        if x.dtype != torch.float32:  # (PyTorch's sums of them are exact enough)
            return roughly_normalised(x, self.eps)
        y: Tensor = NormalisePictures.apply(x, self.eps)  # type: ignore[no-untyped-call]
        return y


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``: per picture and group of channels, then a scale and shift per channel."""

    def forward(self, x: Tensor) -> Tensor:
        if compiled_for_gpu(x):
            by_group = written_out(
                torch.unflatten(x, 1, (self.num_groups, -1)), (2, 3, 4), self.eps
            )
            return _scaled(by_group.flatten(1, 2), self.weight, self.bias).to(x.dtype)
        if not _pays(x):
            return super().forward(x)
        if x.dtype != torch.float32:
            return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
        y: Tensor = NormaliseGroups.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.num_groups, self.eps
        )
        return y


class PixelNorm(nn.LayerNorm):
    """Per pixel, mean 0 and variance 1 over the channels; then a scale and shift per channel.

    ``nn.LayerNorm`` (Ba et al., 2016) of each pixel: ``(N, C, H, W)`` in and out. (Not the
    "pixelwise normalization" of Karras et al., 2018, which subtracts no mean and learns nothing.)
    """

    def forward(self, x: Tensor) -> Tensor:
        if compiled_for_gpu(x):
            return _scaled(written_out(x, (1,), self.eps), self.weight, self.bias).to(x.dtype)
        if being_traced():  # (a traced layer norm of a permuted batch refuses a single picture)
            centred = x - x.mean(1, keepdim=True)
            y = centred * (centred.square().mean(1, keepdim=True) + self.eps).rsqrt()
            return _scaled(y, self.weight, self.bias)
        rows = x.permute(0, 2, 3, 1)
        if quick_on(x):
            # (In bf16 it takes up to four times as long, and the scale's gradient is 6 % off.)
            return super().forward(rows.to(self.weight.dtype)).to(x.dtype).permute(0, 3, 1, 2)
        return super().forward(rows).permute(0, 3, 1, 2)


def _scaled(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``y * weight + bias``, one of each per channel."""
    return y * weight[:, None, None] + bias[:, None, None]


def roughly_normalised(x: Tensor, eps: float) -> Tensor:
    """Instance norm by batch norm's kernel, picture by picture, which lacks digits in float32."""

    def alone(picture: Tensor) -> Tensor:
        return F.batch_norm(picture, None, None, training=True, eps=eps)

    return each_alone(alone, x)


def each_alone(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of each picture of a batch, as a batch."""
    if len(x) == 1:
        return function(x)
    return torch.cat([function(picture) for picture in torch.split(x, 1)])


def _pays(x: Tensor) -> bool:
    return quick_on(x) and x.is_contiguous(memory_format=torch.channels_last)


class NormalisePictures(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps)`` over the pixels of each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        y = torch.empty_like(x)  # (not a view, so that a ReLU may work in place)
        mean = _rows(x).mean(1, keepdim=True)  # (sums in a tree: many pixels cost no digits)
        centred = torch.sub(_rows(x), mean, out=_rows(y))
        scale = _scale(centred, x.shape[1], eps)
        centred.mul_(scale)
        ctx.save_for_backward(x, mean, scale)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        """``scale * (dy - mean(dy) - y * mean(dy * y))``."""
        x, mean, scale = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return _gradient_of_pictures(dy, x, mean, scale, ctx.eps), None
        # A second derivative is wanted: mean and scale depend on x too.
        rows, drows = _rows(x), _rows(dy)
        centred = rows - rows.mean(1, keepdim=True)
        scale = _scale(centred, x.shape[1], ctx.eps)
        y = centred * scale
        along = (drows * y).mean(1, keepdim=True)
        return _features(scale * (drows - drows.mean(1, keepdim=True) - y * along), x.shape), None


def _gradient_of_pictures(dy: Tensor, x: Tensor, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    """That of batch norm for one picture at a time.

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


class NormaliseGroups(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps) * weight + bias``, mean and variance of each group.

    Both ways go over the features as few times as they can.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> Tensor:
        y = torch.empty_like(x)
        mean = _of_groups(_rows(x).mean(1, keepdim=True), groups)
        centred = torch.sub(_rows(x), mean, out=_rows(y))
        scale = _scale(centred, groups, eps)
        torch.addcmul(bias, centred, scale * weight, out=centred)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.groups, ctx.eps = groups, eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """With ``y`` before its scale and shift:

        ``scale * (weight * dy - mean(weight * dy) - y * mean(weight * dy * y))``.
        """
        x, weight, mean, scale = ctx.saved_tensors
        groups, rows, drows = ctx.groups, _rows(x), _rows(dy)
        if torch.is_grad_enabled():  # a second derivative is wanted: these depend on x too
            mean = _of_groups(rows.mean(1, keepdim=True), groups)
            scale = _scale(rows - mean, groups, ctx.eps)
        centred = rows - mean
        level = drows.mean(1, keepdim=True)
        along = (drows * centred).mean(1, keepdim=True) * scale
        of_level, of_along = (scale * _of_groups(weight * m, groups) for m in (level, along))
        dx = torch.addcmul(-of_level, drows, scale * weight)
        dx.addcmul_(centred, scale * of_along, value=-1)
        pixels = rows.shape[1]
        dweight, dbias = (pixels * m.sum((0, 1)) for m in (along, level))
        return _features(dx, x.shape), dweight, dbias, None, None


def _scale(centred: Tensor, groups: int, eps: float) -> Tensor:
    """``1 / sqrt(variance + eps)`` per picture and group, ``(N, 1, C)``."""
    return (_of_groups(centred.square().mean(1, keepdim=True), groups) + eps).rsqrt()


def _of_groups(means: Tensor, groups: int) -> Tensor:
    """The means over each group's channels, of those of channels: ``(N, 1, C)`` both."""
    n, _, channels = means.shape
    if groups == channels:
        return means
    by_group = means.view(n, 1, groups, channels // groups)
    return by_group.mean(3, keepdim=True).expand_as(by_group).reshape(n, 1, channels)


def _rows(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` features as ``(N, H * W, C)``: one row of channels per pixel."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _features(rows: Tensor, shape: torch.Size) -> Tensor:
    """The way back from ``_rows``, to ``(N, C, H, W)``."""
    n, channels, height, width = shape
    return rows.view(n, height, width, channels).permute(0, 3, 1, 2)
