"""The settings of the networks, which a model file keeps beside their weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diptych.section import BelowOne, Count, Positive, Section, Weight, Width

Norm = Literal["instance", "batch", "group", "pixel", "none"]
Downsample = Literal["stride", "antialias"]
Upsample = Literal["transpose", "resize", "antialias"]
Output = Literal["picture", "retouch"]

SMALLEST = 16  # pixels a side: below, reflection padding inside the networks has no room


class GeneratorConfig(Section):
    """The networks ``G_ab`` and ``G_ba``."""

    architecture: Literal["resnet", "unet", "mobile"] = "resnet"
    width: Width = 64  # channels of the first layer
    halvings: Annotated[int, Field(ge=1, le=3)] = 2  # of the picture, before the blocks (resnet)
    blocks: Annotated[int, Field(ge=0, le=256)] = 9  # residual blocks (resnet)
    levels: Annotated[int, Field(ge=2, le=10)] = 8  # halvings of the picture (unet)
    norm: Norm = "instance"
    downsample: Downsample = "stride"  # how the picture is halved (resnet)
    upsample: Upsample = "transpose"  # and doubled again (resnet)
    output: Output = "picture"  # retouch: the network paints changes to its input (resnet)
    least_change: Weight = 0.0  # in use, smaller changes fade; pictures are [-1, 1] (retouch)
    strength: Positive = 1.0  # in use, of what is changed (retouch)
    dropout: BelowOne = 0.0  # share of features left out in residual blocks
    widths: tuple[Width, ...] | None = None  # of each layer (mobile)

    @model_validator(mode="after")
    def _check(self) -> GeneratorConfig:
        if self.widths is not None and self.architecture != "mobile":
            raise ValueError("generator.widths are for the architecture mobile")
        if self.architecture != "resnet":
            for name, value in (
                ("output", self.output),
                ("downsample", self.downsample),
                ("upsample", self.upsample),
            ):
                if value in ("retouch", "antialias"):
                    raise ValueError(f"generator.{name} {value} needs architecture resnet")
            if self.halvings != 2:
                raise ValueError("generator.halvings are for the architecture resnet")
        if self.architecture == "mobile" and self.dropout:
            raise ValueError("generator.dropout is not for the architecture mobile")
        if len(self.mobile_widths()) != self.blocks + 5:
            raise ValueError(f"generator.widths must be {self.blocks + 5} for {self.blocks} blocks")
        return self

    @property
    def size_multiple(self) -> int:
        """Height and width must be a multiple of this many pixels."""
        multiple: int = 2 ** (self.levels if self.architecture == "unet" else self.halvings)
        return multiple

    def mobile_widths(self) -> tuple[int, ...]:
        """Channels of each layer of the mobile generator; by default as those of the resnet."""
        if self.widths is not None:
            return self.widths
        w = self.width
        return (w, 2 * w, 4 * w, *[4 * w] * self.blocks, 2 * w, w)


class DiscriminatorConfig(Section):
    """The networks ``D_a`` and ``D_b``."""

    architecture: Literal["patch", "pixel"] = "patch"
    width: Width = 64  # channels of the first layer
    layers: Annotated[int, Field(ge=1, le=6)] = 3  # 3 sees 70 pixels, 2 sees 34, 1 sees 16
    norm: Literal[Norm, "spectral"] = "instance"
    padding: bool = True  # without it D cannot see where a picture ends (patch)
    fine: bool = False  # the first layer looks at every pixel, not at every second (patch)
    texture: bool = False  # a second network judges fine structure in grey (patch)
    sees: Count | None = None  # pixels: larger ones are shrunk for D, to under twice as many
    augment: bool = False  # shift and recolour what D sees, real and fake alike

    @property
    def stride(self) -> int:
        """Pixels from one patch to the next."""
        return int(2**self.layers)

    @property
    def patch(self) -> int:
        """Pixels a side of what one verdict sees."""
        return 6 * self.stride + 1 if self.fine else 9 * self.stride - 2

    @model_validator(mode="after")
    def _check(self) -> DiscriminatorConfig:
        for name, value in (("fine", self.fine), ("texture", self.texture)):
            if value and self.architecture != "patch":
                raise ValueError(f"discriminator.{name} needs architecture patch")
        return self
