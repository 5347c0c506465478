"""A generator as a Keras 3 model of the same layers and weights.

Only what comes with Keras is used, so that the saved model opens wherever Keras is, without diptych
or PyTorch. Three things are done differently there, with the same result:

* Keras keeps channels last: ``(N, H, W, C)``, and kernels ``(height, width, in, out)``.
* Instance norm is group norm with a group for each channel (``groups=-1``).
* PyTorch pads both sides of a convolution alike, Keras' ``same`` pads the far side more. So padding
  is a layer of its own, and what a transposed convolution paints beyond the edge is cropped.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops
from torch import Tensor, nn

from diptych.networks.blocks import BlurDown, ResidualBlock
from diptych.networks.fast.norms import PixelNorm
from diptych.networks.generator import ResnetGenerator, UnetGenerator


def keras_generator(generator: nn.Module, channels: int, name: str) -> Any:
    """A ``keras.Model`` called ``name`` that computes what ``generator`` does in evaluation mode.

    It takes ``(N, H, W, channels)`` float32 in [-1, 1], H and W as ``generator`` needs them.
    """
    build = _Builder(generator)
    x = keras.Input((None, None, channels), name="x")
    if isinstance(generator, UnetGenerator):
        painted = _unet(build, generator, x)
    else:
        assert isinstance(generator, ResnetGenerator)
        painted = build(generator.decode, build(generator.transform, build(generator.encode, x)))
    if isinstance(generator, ResnetGenerator) and generator.output == "retouch":
        y = ops.clip(x + _change(generator, painted), -1, 1)
    else:
        y = layers.Activation("tanh", name="y")(painted)
    return keras.Model(x, y, name=name)


def _change(generator: ResnetGenerator, painted: Any) -> Any:
    """As ``ResnetGenerator.change``."""
    if generator.least_change:
        power = ops.square(ops.mean(ops.absolute(painted), axis=-1, keepdims=True))
        painted = painted * (power / (power + generator.least_change**2))
    return painted * generator.strength


def _unet(build: _Builder, generator: UnetGenerator, x: Any) -> Any:
    kept = []
    for down in generator.down:
        x = build(down, x)
        kept.append(x)
    x = build(generator.up[-1], kept.pop())
    for level in reversed(range(len(kept))):
        x = layers.Concatenate(name=f"join_{level}")([kept.pop(), x])
        x = build(generator.up[level], x)
    return x


class _Builder:
    """Call it with a layer of ``network`` and what goes into it: out comes what the layer gives.

    The Keras layers have the names of the PyTorch layers, with ``_`` for each dot.
    """

    def __init__(self, network: nn.Module) -> None:
        self.names = {layer: name.replace(".", "_") for name, layer in network.named_modules()}

    def __call__(self, layer: nn.Module, x: Any) -> Any:
        name = self.names[layer]
        match layer:
            case nn.Sequential():
                for part in layer:
                    x = self(part, x)
                return x
            case ResidualBlock():
                return layers.Add(name=name)([x, self(layer.body, x)])
            case nn.ConvTranspose2d() | nn.Conv2d():
                return _convolution(layer, x, name)
            case nn.ReflectionPad2d():
                return _pad(x, layer.padding[0], "reflect")
            case BlurDown():
                return _blur(_pad(x, 1, "reflect"), 2, name)
            case nn.InstanceNorm2d() | nn.GroupNorm() | nn.BatchNorm2d() | PixelNorm():
                return _norm(layer, x, name)
            case nn.Upsample():
                return _upsample(x, layer.mode, name)
            case nn.ReLU():
                return layers.ReLU(name=name)(x)
            case nn.LeakyReLU():
                return layers.LeakyReLU(layer.negative_slope, name=name)(x)
            case nn.Dropout():
                return layers.Dropout(layer.p, name=name)(x)
            case nn.Identity():
                return x
        raise TypeError(f"no Keras layer for {layer}")


def _convolution(layer: nn.Conv2d | nn.ConvTranspose2d, x: Any, name: str) -> Any:
    size, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    weights = [layer.weight.permute(2, 3, 1, 0)]
    if isinstance(layer, nn.ConvTranspose2d):
        made = layers.Conv2DTranspose(layer.out_channels, size, stride, name=name)
        beyond = (padding, padding - layer.output_padding[0])
        y = layers.Cropping2D((beyond, beyond), name=f"{name}_crop")(made(x))
    else:
        if padding:
            x = layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
        if layer.groups > 1:
            made = layers.DepthwiseConv2D(size, stride, name=name)
            weights = [layer.weight.permute(2, 3, 0, 1)]
        else:
            made = layers.Conv2D(layer.out_channels, size, stride, name=name)
        y = made(x)
    assert layer.bias is not None
    _set(made, [*weights, layer.bias])
    return y


def _pad(x: Any, pixels: int, mode: str) -> Any:
    around = [pixels, pixels]
    return ops.pad(x, [[0, 0], around, around, [0, 0]], mode=mode)


def _upsample(x: Any, mode: str, name: str) -> Any:
    """Twice as high and wide. Bilinear interpolation is the nearest pixel, blurred: 1/4 and 3/4.

    (Keras' own bilinear layer cannot be saved for pictures of any size. The converter to LiteRT
    forgets behind ``UpSampling2D`` how many channels there are; adding a zero to each reminds it.)
    """
    zeros = [0.0] * x.shape[-1]
    x = layers.UpSampling2D(2, name=f"{name}_nearest")(x)
    x = layers.Rescaling(1.0, zeros, name=f"{name}_channels")(x)
    return x if mode == "nearest" else _blur(_pad(x, 1, "symmetric"), 1, name)


def _blur(x: Any, stride: int, name: str) -> Any:
    """A binomial 3x3 filter, which training leaves as it is; ``x`` is padded already."""
    row = np.array([0.25, 0.5, 0.25], np.float32)
    blur = layers.DepthwiseConv2D(3, stride, use_bias=False, trainable=False, name=name)
    y = blur(x)
    blur.set_weights([np.tile(np.outer(row, row)[:, :, None, None], (1, 1, x.shape[-1], 1))])
    return y


def _norm(
    layer: nn.InstanceNorm2d | nn.GroupNorm | nn.BatchNorm2d | PixelNorm, x: Any, name: str
) -> Any:
    if isinstance(layer, nn.InstanceNorm2d):
        made = layers.GroupNormalization(
            -1, epsilon=layer.eps, center=False, scale=False, name=name
        )
        return made(x)
    if isinstance(layer, nn.GroupNorm):
        made = layers.GroupNormalization(layer.num_groups, epsilon=layer.eps, name=name)
        weights: list[Tensor] = [layer.weight, layer.bias]
    elif isinstance(layer, PixelNorm):
        made = layers.LayerNormalization(-1, epsilon=layer.eps, name=name)
        weights = [layer.weight, layer.bias]
    else:
        momentum = 1 - (layer.momentum or 0.1)  # Keras counts what stays, PyTorch what comes
        made = layers.BatchNormalization(momentum=momentum, epsilon=layer.eps, name=name)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        weights = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
    y = made(x)
    _set(made, weights)
    return y


def _set(layer: Any, weights: list[Tensor]) -> None:
    layer.set_weights([value.detach().cpu().numpy() for value in weights])
