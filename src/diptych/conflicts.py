"""Settings of different sections that do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.config import Config


def conflicts(config: Config) -> Iterator[str]:
    """Pairs of settings that exclude one another: a line each, saying what to change."""
    loss, training, G = config.loss, config.training, config.generator
    if config.method != "cyclegan" and G.architecture != "resnet":
        yield f"method {config.method} needs generator.architecture resnet"
    no_cycle = config.method == "cyclegan" and not (loss.cycle or loss.cycle_end)
    if config.optimizer.schedule == "plateau" and no_cycle:
        yield "optimizer.schedule plateau watches the cycle loss: use another, or loss.cycle"
    for what, asked_for in {
        "loss.adversarial wgangp needs": loss.adversarial == "wgangp",
        "training.judged and untouched need": training.more_judged,
        "training.compile needs": training.compile,
    }.items():
        if asked_for and not config.data.one_size:
            yield f"{what} pictures of one size: use a crop, or another preset"
    if training.compile and loss.has_gradient_penalty:
        yield (
            "training.compile cannot be had with loss.r1 or wgangp: PyTorch compiles nothing "
            "that is differentiated twice"
        )
    yield from _size_and_networks(config)


def _size_and_networks(config: Config) -> Iterator[str]:
    multiple, smallest = config.generator.size_multiple, config.smallest_size()
    size = config.data.size
    if size % multiple and size >= smallest:
        below, above = size // multiple * multiple, -(-size // multiple) * multiple
        choice = f"{below} or {above}" if below >= smallest else f"{above}"
        unet = config.generator.architecture == "unet"
        fewer = ", or fewer generator.levels" if unet else ""
        yield (
            f"data.size {size} does not fit the {config.generator.architecture} generator, "
            f"which needs a multiple of {multiple}: use {choice}{fewer}"
        )
    if size < smallest:
        sees, patches = config.discriminator.sees, smallest // config.shrink
        if sees is not None and sees < patches:
            above = -(-patches // multiple) * multiple
            larger = f", with data.size {above} or more" if size < patches else ""
            yield (
                f"discriminator.sees {sees} is too small for its patches: use {patches} or more"
                f"{larger}, or fewer discriminator.layers"
            )
        yield (
            f"data.size {size} is too small for these networks: use "
            f"{-(-smallest // multiple) * multiple} or more, "
            "or fewer discriminator.layers"
        )
