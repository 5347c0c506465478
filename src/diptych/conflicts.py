"""Settings of different sections that do not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.config import Config


def refuse_conflicts(config: Config) -> None:
    """Raises ValueError, saying what to change, if two settings exclude one another."""
    _method_and_networks(config)
    _schedule_and_losses(config)
    _sizes_in_a_batch(config)
    _compiling_and_losses(config)
    _size_and_networks(config)


def _method_and_networks(config: Config) -> None:
    if config.method != "cyclegan" and config.generator.architecture != "resnet":
        raise ValueError(f"method {config.method} needs generator.architecture resnet")


def _schedule_and_losses(config: Config) -> None:
    """A plateau must see something."""
    loss = config.loss
    held = config.method != "cyclegan" or loss.cycle > 0 or (loss.cycle_end or 0) > 0
    if config.optimizer.schedule == "plateau" and not held:
        raise ValueError(
            "optimizer.schedule plateau watches the cycle loss: use another, or loss.cycle"
        )


def _sizes_in_a_batch(config: Config) -> None:
    asked_for = {
        "loss.adversarial wgangp needs": config.loss.adversarial == "wgangp",
        "training.judged and untouched need": bool(config.training.more_judged),
        "training.compile needs": bool(config.training.compile),
    }
    for what, wanted in asked_for.items():
        if wanted and not config.data.one_size:
            raise ValueError(f"{what} pictures of one size: use a crop, or another preset")


def _compiling_and_losses(config: Config) -> None:
    if config.training.compile and config.loss.bounds_slope:
        raise ValueError(
            "training.compile cannot be had with loss.r1 or wgangp: PyTorch compiles nothing "
            "that is differentiated twice"
        )


def _size_and_networks(config: Config) -> None:
    multiple, smallest = config.generator.size_multiple, config.smallest_size()
    size = config.data.size
    if size % multiple and size >= smallest:
        below, above = size // multiple * multiple, -(-size // multiple) * multiple
        choice = f"{below} or {above}" if below >= smallest else f"{above}"
        unet = config.generator.architecture == "unet"
        fewer = ", or fewer generator.levels" if unet else ""
        raise ValueError(
            f"data.size {size} does not fit the {config.generator.architecture} generator, "
            f"which needs a multiple of {multiple}: use {choice}{fewer}"
        )
    if size < smallest:
        sees, patches = config.discriminator.sees, smallest // config.shrink
        if sees is not None and sees < patches:
            above = -(-patches // multiple) * multiple
            larger = f", with data.size {above} or more" if size < patches else ""
            raise ValueError(
                f"discriminator.sees {sees} is too small for its patches: use {patches} or more"
                f"{larger}, or fewer discriminator.layers"
            )
        raise ValueError(
            f"data.size {size} is too small for these networks: use "
            f"{-(-smallest // multiple) * multiple} or more, "
            "or fewer discriminator.layers"
        )
