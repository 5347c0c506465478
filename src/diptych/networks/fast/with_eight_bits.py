"""A network whose convolutions are those of ``eight_bits``."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from diptych.networks.fast.eight_bits import Before, Edge, EightBitConv, Kernels, RoughInstanceNorm
from diptych.networks.fast.norms import InstanceNorm
from diptych.networks.fast.resize import ResizeConv, interleaved
from diptych.networks.fast.transposed import TransposedConv
from diptych.networks.fast.wide import FEWEST_CHANNELS, WideConv


def with_eight_bit_convolutions(model: nn.Module) -> nn.Module:
    """A copy of ``model`` for use, whose convolutions multiply 8-bit numbers.

    All else belongs to both, and so do convolutions of each channel by itself.
    """
    copied = copy.copy(model)
    parts: Iterable[tuple[str, nn.Module]] = model.named_children()
    if type(model) is nn.Sequential:
        layers = _converted(list(_flat(model)))
        parts = ((str(place), layer) for place, layer in enumerate(layers))
    copied._modules = {name: with_eight_bit_convolutions(part) for name, part in parts}
    return copied


def _flat(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Those of sequences inside too, but for what only trains."""
    for layer in layers:
        if type(layer) is nn.Sequential:
            yield from _flat(layer)
        elif not isinstance(layer, nn.Dropout):
            yield layer


def _converted(layers: list[nn.Module]) -> Iterator[nn.Module]:
    """The same layers; convolutions have taken in the norm, ReLU and margin before them."""
    while layers:
        before = _taken(layers, InstanceNorm, nn.ReLU) or _taken(layers, nn.ReLU)
        before += _taken(layers, nn.ReflectionPad2d)
        rest = _taken(layers, nn.Module)
        convolution = _convolution(rest[0], before) if rest else None
        if convolution is not None:
            yield convolution
            continue
        for layer in (*before, *rest):
            yield RoughInstanceNorm(layer.eps) if isinstance(layer, InstanceNorm) else layer


def _taken(layers: list[nn.Module], *kinds: type[nn.Module]) -> list[nn.Module]:
    """The first of ``layers``, which has them no more, if they are of these kinds."""
    first = layers[: len(kinds)]
    if len(first) < len(kinds) or not all(map(isinstance, first, kinds)):
        return []
    del layers[: len(kinds)]
    return first


def _convolution(layer: nn.Module, before: list[nn.Module]) -> EightBitConv | None:
    """What computes ``layer`` and those ``before`` it; None if it is no dense convolution."""
    kernels = _kernels(layer)
    if kernels is None:
        return None
    eps = next((one.eps for one in before if isinstance(one, InstanceNorm)), None)
    relu = any(isinstance(one, nn.ReLU) for one in before)
    return EightBitConv(Before(eps, relu, *_margin(layer, before)), kernels)


def _margin(layer: nn.Module, before: list[nn.Module]) -> tuple[int, Edge]:
    for one in before:
        if isinstance(one, nn.ReflectionPad2d):
            return one.padding[0], "mirror"
    if isinstance(layer, ResizeConv):
        return 1, "repeat"  # (mirroring at the edge of the doubled picture)
    if isinstance(layer, TransposedConv):
        return 1, "zero"
    assert isinstance(layer, nn.Conv2d)
    return int(layer.padding[0]), "zero"


def _kernels(layer: nn.Module) -> Kernels | None:
    if isinstance(layer, ResizeConv | TransposedConv):
        return Kernels(*layer.of_small(), 1, interleaved)
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1:
        return None
    if isinstance(layer, WideConv) and layer.out_channels < FEWEST_CHANNELS:
        return Kernels(*layer.of_squares(), 2, _shuffled)
    return Kernels(layer.weight, layer.bias, layer.stride[0])


def _shuffled(squares: Tensor) -> Tensor:
    return F.pixel_shuffle(squares, 2)
