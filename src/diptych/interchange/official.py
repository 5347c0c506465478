"""Weights of the field's PyTorch repositories (``latest_net_G_A.pth`` ...), in and out.

Known layouts: the ResNet and U-Net generators and the patch and pixel discriminators of
pytorch-CycleGAN-and-pix2pix (Zhu et al.), the antialiased ResNet of CUT (Park et al., 2020), and
the mobile ResNet of GAN Compression (Li et al., 2020). A file there is a list of tensors named by
places in nested lists; what kind of network it is follows from the names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from diptych.errors import DiptychError
from diptych.interchange.places import Places, block_places, resnet_places, unet_places
from diptych.interchange.pth_file import Tensors, read_weights
from diptych.network_config import DiscriminatorConfig, GeneratorConfig, Norm
from diptych.networks import Discriminator, make_generator
from diptych.words import first_line

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class ForeignGenerator:
    """A generator as it was found in a file, rebuilt."""

    network: nn.Module
    config: GeneratorConfig
    channels_in: int
    channels_out: int


@dataclass(frozen=True)
class ForeignDiscriminator:
    """A discriminator as it was found in a file, rebuilt."""

    network: nn.Module
    config: DiscriminatorConfig
    channels: int


def rebuild(path: Path, norm: Norm | None = None) -> ForeignGenerator | ForeignDiscriminator:
    """The network that the file at ``path`` holds the weights of.

    ``norm``: what the file does not say, since instance norm has no tensors of its own. None takes
    batch norm where there are its statistics and weights, else instance norm. Raises DiptychError
    if the layout is not a known one.
    """
    tensors = read_weights(path)
    if any(name.endswith(".filt") for name in tensors) and "model.0.weight" in tensors:
        raise DiptychError(
            f"{path} is CUT's discriminator, which blurs before it halves: it is not known here; "
            "leave it out"
        )
    try:
        kind = recognise(tensors)
        if kind in ("patch", "pixel"):
            return _discriminator(tensors, kind, norm)
        return _generator(tensors, kind, norm)
    except (KeyError, IndexError, ValueError, OverflowError, RuntimeError) as error:
        raise DiptychError(
            f"{path} holds no network that is known here: expected the ResNet or U-Net "
            f"generator, or a discriminator, of the CycleGAN, CUT or GAN Compression repositories "
            f"({first_line(error)})"
        ) from error


Kind = Literal["resnet", "unet", "mobile", "patch", "pixel"]


def recognise(tensors: Tensors) -> Kind:
    """What kind of network has these tensors. Raises ValueError for none."""
    if "model.model.0.weight" in tensors:
        return "unet"
    if "net.0.weight" in tensors:
        return "pixel"
    if "model.0.weight" in tensors:
        return "patch"
    if any(".conv.2.weight" in name for name in tensors):
        return "mobile"
    if "model.1.weight" in tensors:
        return "resnet"
    raise ValueError("no layer has a familiar name")


def _generator(tensors: Tensors, kind: Kind, norm: Norm | None) -> ForeignGenerator:
    config, places = _read_generator(tensors, kind, norm or _norm_of(tensors))
    first = tensors[f"{places[0].theirs}.weight"]
    last = tensors[f"{places[-1].theirs}.weight"]
    if f"{places[-1].theirs}.bias" not in tensors:
        raise ValueError(f"{places[-1].theirs}.bias is missing")
    channels_out = last.shape[1] if kind == "unet" else last.shape[0]
    network = make_generator(config, first.shape[1], channels_out)
    load_by_place(network, places, tensors)
    return ForeignGenerator(network.eval(), config, first.shape[1], channels_out)


def _read_generator(tensors: Tensors, kind: Kind, norm: Norm) -> tuple[GeneratorConfig, Places]:
    if kind == "unet":
        levels = max(name.count("model.") for name in tensors) - 1
        width = tensors["model.model.0.weight"].shape[0]
        config = GeneratorConfig(architecture="unet", width=width, levels=levels, norm=norm)
        return config, unet_places(config)
    blocks = sorted({int(m[1]) for name in tensors if (m := re.match(BLOCK, name))})
    if not blocks or blocks != list(range(blocks[0], blocks[-1] + 1)):
        raise ValueError("its residual blocks are not where they should be")
    first_block = f"model.{blocks[0]}."
    inside = {
        name.split(".")[3]
        for name, value in tensors.items()
        if name.startswith(first_block) and value.ndim == 4
    }
    if "0" in inside:
        raise ValueError("its residual blocks pad with zeros, which is not known here")
    dropout = 0.5 if "6" in inside else 0.0
    filters = [int(name.split(".")[1]) for name in tensors if name.endswith(".filt")]
    down = any(place < blocks[0] for place in filters)
    up = any(place > blocks[-1] for place in filters)
    config = GeneratorConfig(
        width=tensors["model.1.weight"].shape[0],
        blocks=len(blocks),
        norm=norm,
        downsample="antialias" if down else "stride",
        upsample="antialias" if up else "transpose",
        dropout=dropout if kind == "resnet" else 0.0,
    )
    if kind == "mobile":
        places = resnet_places(config, mobile=True)
        widths = tuple(
            # (A transposed convolution's weights have its outputs second.)
            tensors[f"{p.theirs}.weight"].shape[p.ours.startswith("decode")]
            for p in places
            if p.has_width
        )
        config = config.model_copy(update={"architecture": "mobile", "widths": widths})
        return config, places
    return config, resnet_places(config)


BLOCK = r"model\.(\d+)\.conv_block\."


def _discriminator(tensors: Tensors, kind: Kind, norm: Norm | None) -> ForeignDiscriminator:
    convolutions = [name for name, value in tensors.items() if value.ndim == 4]
    first = tensors[convolutions[0]]
    norm = norm or _norm_of(tensors)
    if kind == "pixel":
        config = DiscriminatorConfig(architecture="pixel", width=first.shape[0], norm=norm)
    else:
        layers = len(convolutions) - 2
        config = DiscriminatorConfig(width=first.shape[0], layers=layers, norm=norm)
    network = Discriminator(config, first.shape[1])
    theirs = [name.removesuffix(".weight") for name in convolutions]
    load_by_place(network, block_places(network, theirs), tensors)
    return ForeignDiscriminator(network.eval(), config, first.shape[1])


def _norm_of(tensors: Tensors) -> Norm:
    """Batch norm has weights of one dimension and running statistics; instance norm has neither.

    (Old files hold running statistics of instance norm, without weights; they are of no use.)
    Their convolutions have a bias before instance norm, and none where there is no norm.
    """
    weights = {name: value.ndim for name, value in tensors.items() if name.endswith(".weight")}
    if 1 in weights.values():
        return "batch"
    biases = [name.removesuffix("weight") + "bias" for name, ndim in weights.items() if ndim == 4]
    missing = [name for name in biases if name not in tensors]
    if missing and len(missing) < len(biases) - 2:  # (first and last layers have one in any case)
        raise ValueError(f"{missing[0]} is missing")
    return "none" if missing else "instance"


def load_by_place(network: nn.Module, places: Places, tensors: Tensors) -> None:
    """Put their tensors into ``network``. Raises ValueError or RuntimeError if they do not fit."""
    own = network.state_dict()
    used = set()
    for place in places:
        for name in ("weight", "bias", *STATISTICS):
            ours, theirs = f"{place.ours}.{name}", f"{place.theirs}.{name}"
            if ours not in own:
                continue
            if theirs in tensors:
                own[ours] = tensors[theirs].to(own[ours].dtype)
                used.add(theirs)
            elif name == "bias" and own[f"{place.ours}.weight"].ndim == 4:
                # (Convolutions before batch norm, or none, have no bias.)
                own[ours] = torch.zeros_like(own[ours])
            elif name != "num_batches_tracked":  # (PyTorch before 0.4.1 had none)
                raise ValueError(f"{theirs} is missing")
    ignored = (".filt", *STATISTICS)
    unknown = [n for n in tensors if n not in used and not n.endswith(ignored)]
    if unknown:
        raise ValueError(f"{unknown[0]} is unknown")
    network.load_state_dict(own)


def official_tensors(network: nn.Module, config: GeneratorConfig) -> Tensors:
    """The tensors of a generator under the names of the field, for their code to load strictly.

    Raises DiptychError for a network that has no counterpart there.
    """
    if (
        config.norm in ("group", "pixel", "none")
        or config.output != "picture"
        or config.halvings != 2
        or config.upsample == "resize"
        or (config.architecture == "unet" and config.upsample != "transpose")
        or (config.architecture == "unet" and config.levels < 5)
        or (config.architecture != "unet" and config.blocks == 0)
    ):
        raise DiptychError(
            "the official code has no such generator: it knows instance and batch norm, "
            "transposed convolutions or CUT's antialiasing, two halvings, residual blocks, U-Nets "
            "of 5 levels or more, and pictures as output "
            f"(this one: norm {config.norm}, upsample {config.upsample}, output {config.output}, "
            f"halvings {config.halvings}). --format onnx or torch takes any"
        )
    unet, mobile = config.architecture == "unet", config.architecture == "mobile"
    places = unet_places(config) if unet else resnet_places(config, mobile)
    own = network.state_dict()
    found: Tensors = {}
    used = {f"{place.ours}.{name}" for place in places for name in ("weight", "bias", *STATISTICS)}
    assert used >= own.keys(), "a layer has no place in the official code"
    for place in places:
        for name in ("weight", "bias", *STATISTICS):
            if f"{place.ours}.{name}" in own:
                found[f"{place.theirs}.{name}"] = own[f"{place.ours}.{name}"].cpu().clone()
    for place in places:
        if place.before_norm is not None:
            # Their convolutions before batch norm have no bias: its mean takes it up.
            found[f"{place.before_norm}.running_mean"] -= found.pop(f"{place.theirs}.bias")
        elif config.norm == "batch" and place.ours in ("down.0.0", f"down.{config.levels - 1}.1"):
            bias = found.pop(f"{place.theirs}.bias")
            if bias.any():  # there is no norm to take it up
                raise DiptychError(
                    "the official U-Net with batch norm has no bias in its first and its innermost "
                    "convolution, and this one has"
                )
    return found | _filters(config)


def _filters(config: GeneratorConfig) -> Tensors:
    """The constant filters that CUT's files hold, if any: binomial, of 3 and of 4 taps."""
    width, found = config.width, {}
    first_up = (12 if config.downsample == "antialias" else 10) + config.blocks
    if config.downsample == "antialias":
        for place, channels in ((7, 2 * width), (11, 4 * width)):
            found[f"model.{place}.filt"] = _filter([1, 2, 1], channels)
    if config.upsample == "antialias":
        for place, channels in ((first_up, 4 * width), (first_up + 4, 2 * width)):
            found[f"model.{place}.filt"] = 4 * _filter([1, 3, 3, 1], channels)
    return found


def _filter(taps: Sequence[float], channels: int) -> Tensor:
    row = torch.tensor(taps)
    kernel = torch.outer(row, row)
    return (kernel / kernel.sum()).expand(channels, 1, -1, -1).clone()
