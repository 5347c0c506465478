"""A network whose convolutions are those of ``eight_bits``."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

from torch import nn

from diptych.networks.fast.eight_bits import Before, EightBitConv, Kernels, RoughInstanceNorm
from diptych.networks.fast.norms import InstanceNorm
from diptych.networks.fast.wide import FEWEST_CHANNELS, WideConv

NORM_AND_RELU = (InstanceNorm, nn.ReLU)
BEFORE: tuple[tuple[type[nn.Module], ...], ...] = (  # a convolution, the longest first
    (*NORM_AND_RELU, nn.ReflectionPad2d),
    NORM_AND_RELU,
    (nn.ReLU, nn.ReflectionPad2d),
    (nn.ReLU,),
    (nn.ReflectionPad2d,),
)


def with_eight_bit_convolutions(model: nn.Module) -> nn.Module:
    """A copy of ``model`` for use, whose convolutions multiply 8-bit numbers.

    All else belongs to both, and so do convolutions of each channel by itself and the doubling
    ones: what those see is most unlike from channel to channel, so that levels for all of them cost
    most there, and 8 bits gain least (benchmarks/NOTES.md).
    """
    copied = copy.copy(model)
    parts: Iterable[tuple[str, nn.Module]] = model.named_children()
    if type(model) is nn.Sequential:
        layers = _converted(list(_flat(model)))
        parts = ((str(place), layer) for place, layer in enumerate(layers))
    copied._modules = {
        name: part if isinstance(part, EightBitConv) else with_eight_bit_convolutions(part)
        for name, part in parts
    }
    return copied


def _flat(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The layers, those of sequences inside too; dropout, which is for training, is left out."""
    for layer in layers:
        if type(layer) is nn.Sequential:
            yield from _flat(layer)
        elif not isinstance(layer, nn.Dropout):
            yield layer


def _converted(layers: list[nn.Module]) -> Iterator[nn.Module]:
    """The same layers; convolutions have taken in the norm, ReLU and margin before them."""
    done = 0
    while done < len(layers):
        before = _those_before(layers[done:])
        place = done + len(before)
        kernels = _kernels(layers[place]) if place < len(layers) else None
        if kernels is None:
            layer = layers[done]
            yield RoughInstanceNorm(layer.eps) if isinstance(layer, InstanceNorm) else layer
            done += 1
        else:
            yield EightBitConv(_before(before, layers[place]), kernels)
            done = place + 1


def _those_before(layers: list[nn.Module]) -> list[nn.Module]:
    """The first of ``layers`` that a convolution behind them can take in."""
    for kinds in BEFORE:
        first = layers[: len(kinds)]
        if len(first) == len(kinds) and all(map(isinstance, first, kinds)):
            return first
    return []


def _before(layers: list[nn.Module], convolution: nn.Module) -> Before:
    found = Before()
    for layer in layers:
        if isinstance(layer, InstanceNorm):
            found = found._replace(eps=layer.eps)
        elif isinstance(layer, nn.ReLU):
            found = found._replace(relu=True)
        elif isinstance(layer, nn.ReflectionPad2d):
            found = found._replace(margin=layer.padding[0], mirrors=True)
    if not found.mirrors and isinstance(convolution, nn.Conv2d):
        found = found._replace(margin=int(convolution.padding[0]))
    return found


def _kernels(layer: nn.Module) -> Kernels | None:
    """Of a dense convolution, else None."""
    # (Doubling layers are sequences and transposed convolutions.)
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1:
        return None
    if isinstance(layer, WideConv) and layer.out_channels < FEWEST_CHANNELS:
        weight, bias = layer.of_squares()
        return Kernels(weight, bias, stride=2, squares=True)
    return Kernels(layer.weight, layer.bias, stride=layer.stride[0])
