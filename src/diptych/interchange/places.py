"""Where each layer stands in our networks and in the field's, both named by their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from diptych.network_config import GeneratorConfig


@dataclass(frozen=True)
class Place:
    """One layer with weights: ours, theirs, and their norm right behind it, if it has one."""

    ours: str
    theirs: str
    before_norm: str | None = None
    has_width: bool = False  # its number of outputs is free (mobile)


Places = Sequence[Place]


def resnet_places(config: GeneratorConfig, mobile: bool = False) -> Places:
    """The layers of a ResNet generator, first to last; also CUT's antialiased and the mobile one.

    Theirs are one list, ours three. Behind each convolution but the last come its norm and ReLU,
    and where CUT blurs there is one place more: behind the ReLU on the way down, before the
    convolution on the way up.
    """
    places: list[Place] = []

    def add(ours: str, theirs: str, own_norm: str = "", has_width: bool = False) -> None:
        """A layer and, with batch norm, the norm behind it (ours: by default the next place)."""
        norm = _next(theirs) if config.norm == "batch" else None
        places.append(Place(ours, theirs, norm, has_width))
        if norm is not None:
            places.append(Place(own_norm or _next(ours), norm))

    blurs_down, blurs_up = config.downsample == "antialias", config.upsample == "antialias"
    add("encode.1", "model.1", has_width=mobile)
    theirs, ours = 4, 4
    for _ in range(2):
        add(f"encode.{ours}", f"model.{theirs}", has_width=mobile)
        ours, theirs = ours + 3 + blurs_down, theirs + 3 + blurs_down

    second = 6 if config.dropout or mobile else 5
    for block in range(config.blocks):
        for ours_at, theirs_at in ((1, 1), (6 if config.dropout else 5, second)):
            own, other = (
                f"transform.{block}.body.{ours_at}",
                f"model.{theirs}.conv_block.{theirs_at}",
            )
            if mobile:  # a convolution for each channel, its norm, then one that mixes them
                add(f"{own}.0", f"{other}.conv.0")
                norm = _next(own)  # theirs stands behind the list that holds both
                add(f"{own}.2", f"{other}.conv.2", norm, has_width=theirs_at == 1)
            else:
                add(own, other)
        theirs += 1

    for ours in (0, 3):
        if blurs_up:
            add(f"decode.{ours}.1", f"model.{theirs + 1}", f"decode.{ours + 1}")
            theirs += 4
        else:
            add(f"decode.{ours}", f"model.{theirs}", has_width=mobile)
            theirs += 3
    return [*places, Place("decode.7", f"model.{theirs + 1}")]


def unet_places(config: GeneratorConfig) -> Places:
    """The layers of a U-Net generator: down level by level, then up again.

    Theirs are lists within lists. The outermost holds: convolution, the next list, ReLU,
    convolution. Those between: ReLU, convolution, norm, the next list, ReLU, convolution, norm.
    The innermost: ReLU, convolution, ReLU, convolution, norm.
    """
    batch = config.norm == "batch"
    down: list[Place] = []
    up: list[Place] = []
    prefix = "model.model"
    for level in range(config.levels):
        outermost, innermost = level == 0, level == config.levels - 1
        own = "0" if outermost else "1"
        norm = f"{prefix}.2" if batch and not (outermost or innermost) else None
        down.append(Place(f"down.{level}.{own}", f"{prefix}.{own}", norm))
        if norm is not None:
            down.append(Place(f"down.{level}.2", norm))
        rising = 3 if outermost or innermost else 5
        norm = f"{prefix}.{rising + 1}" if batch and not outermost else None
        here = [Place(f"up.{level}.1", f"{prefix}.{rising}", norm)]
        if norm is not None:
            here.append(Place(f"up.{level}.2", norm))
        up = here + up
        prefix += ".1.model" if outermost else ".3.model"
    return [*down, *up]


def block_places(network: nn.Module, theirs: Sequence[str]) -> Places:
    """The layers of a discriminator: both are plain lists with norms in the same places."""
    ours = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    places = []
    for own, other in zip(ours, theirs, strict=True):
        places.append(Place(own, other))
        siblings = network.get_submodule(own.rpartition(".")[0])
        assert isinstance(siblings, nn.Sequential)
        behind = int(own.rpartition(".")[2]) + 1
        if behind < len(siblings) and isinstance(siblings[behind], nn.BatchNorm2d):
            places.append(Place(_next(own), _next(other)))
    return places


def _next(place: str) -> str:
    """``model.4`` to ``model.5``."""
    before, _, number = place.rpartition(".")
    return f"{before}.{int(number) + 1}"
