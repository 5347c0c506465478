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

    All else belongs to both, and so do convolutions of each channel by itself, transposed ones, and
    those that double and convolve in one: what they see is most unlike from channel to channel, so
    that levels for all of them cost most there, and 8 bits gain least (benchmarks/NOTES.md).
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
    """The same layers; dense convolutions have taken in the norm, ReLU and margin before them."""
    done = 0
    while done < len(layers):
        before = _those_before(layers[done:])
        place = done + len(before)
        convolution = layers[place] if place < len(layers) else None
        if isinstance(convolution, nn.Conv2d) and convolution.groups == 1:
            yield EightBitConv(_before(before, convolution), _kernels(convolution))
            done = place + 1
        else:
            layer = layers[done]
            yield RoughInstanceNorm(layer.eps) if isinstance(layer, InstanceNorm) else layer
            done += 1


def _those_before(layers: list[nn.Module]) -> list[nn.Module]:
    """The first of ``layers`` that a convolution behind them can take in."""
    for kinds in BEFORE:
        first = layers[: len(kinds)]
        if len(first) == len(kinds) and all(map(isinstance, first, kinds)):
            return first
    return []


def _before(layers: list[nn.Module], convolution: nn.Conv2d) -> Before:
    found = Before(margin=int(convolution.padding[0]))
    for layer in layers:
        if isinstance(layer, InstanceNorm):
            found = found._replace(eps=layer.eps)
        elif isinstance(layer, nn.ReLU):
            found = found._replace(relu=True)
        elif isinstance(layer, nn.ReflectionPad2d):
            found = found._replace(margin=layer.padding[0], mirrors=True)
    return found


def _kernels(convolution: nn.Conv2d) -> Kernels:
    if isinstance(convolution, WideConv) and convolution.out_channels < FEWEST_CHANNELS:
        weight, bias = convolution.of_squares()
        return Kernels(weight, bias, stride=2, squares=True)
    return Kernels(convolution.weight, convolution.bias, stride=convolution.stride[0])
