"""What to know before a training: pictures left out or doubted, settings without effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch

from diptych.config import Config, ContrastConfig
from diptych.data.cache import contents
from diptych.data.domain import Domain
from diptych.data.suits import are_grey, doubts
from diptych.errors import DiptychError
from diptych.settings import build_config, flat, preset_names, read_preset
from diptych.training.data_note import were_exchanged
from diptych.training.learned import learned_by, runs_before
from diptych.training.run_folder import RunFolder
from diptych.words import counted

SCHEDULES_WITH = {  # each of the optimizer's settings
    "decay_from": ("linear", "cosine"),
    "decay_steps": ("step",),
    "decay_factor": ("step", "plateau"),
    "patience": ("plateau",),
}


def remarks(config: Config, a: Domain, b: Domain, device: torch.device) -> list[str]:
    """What a person should know before the training starts."""
    channels = a.pixel_format.channels, b.pixel_format.channels
    return [
        *_of_pictures(a),
        *_of_pictures(b),
        *_of_earlier_runs(config, a, b),
        *_of_both(a, b),
        *_of_settings(config),
        *_of_precision(config, device),
        *(_of_channels(config, *channels) if channels[0] != channels[1] else ()),
    ]


def _of_pictures(domain: Domain) -> Iterator[str]:
    places = ((domain.folder, domain.skipped), (domain.test_folder, domain.test_skipped))
    for folder, skipped in places:
        if skipped:
            names = ", ".join(f"{one.name} ({one.reason})" for one in skipped[:5])
            more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
            yield f"left out {counted(len(skipped), 'picture')} of {folder}: {names}{more}"
    if here := domain.learned_here:
        yield (
            f"trained on, although held out: {counted(len(here), 'picture')} of "
            f"{domain.folder}; scores will flatter (diptych data check says which)"
        )
    for doubt in doubts(domain):
        yield f"{domain.folder}: {doubt.about}; {doubt.advice}"


def _of_earlier_runs(config: Config, a: Domain, b: Domain) -> Iterator[str]:
    runs = runs_before(config)
    for start in runs[:1]:
        with suppress(DiptychError):  # (gone or damaged since)
            yield from _of_first_run(config, start, a, b)
    for before in runs:
        for domain, earlier in ((a, learned_by(before, a, "a")), (b, learned_by(before, b, "b"))):
            if earlier:
                yield (
                    f"held out now, but not by {before.path}, which learned from them: "
                    f"{counted(len(earlier), 'picture')} of {domain.folder}; scores will flatter "
                    "(the same data.holdout and pictures, or test folders, would hold out others)"
                )


def _of_first_run(config: Config, start: RunFolder, a: Domain, b: Domain) -> Iterator[str]:
    """What the run that a training goes on from has otherwise, and keeps."""
    if (preset := start.config().preset) != config.preset:
        yield (
            f"the networks are those of {start.path}, of the preset {preset}; all else is of "
            f"{config.preset}"
        )
    if were_exchanged(start, a, b):
        yield (
            f"A and B are the other way round than in {start.path}, whose generators learn each "
            "other's way now"
        )


def _of_both(a: Domain, b: Domain) -> Iterator[str]:
    if both := len(contents(a.cache) & contents(b.cache)):
        yield f"in both A and B: {counted(both, 'picture')} (diptych data check says which)"
    if are_grey(a) and are_grey(b):
        yield "all pictures are grey, and colours are learned: --channels 1 keeps them grey"


def _of_settings(config: Config) -> Iterator[str]:
    """Those that change nothing: what a preset sets is taken for nobody's wish."""
    # (A run may be of a preset that is no more.)
    preset = read_preset(config.preset) if config.preset in preset_names() else {}
    usual = flat(build_config({**preset, "method": config.method}).model_dump())
    asked_for = {name for name, value in flat(config.model_dump()).items() if value != usual[name]}
    for name, reason in _without_effect(config):
        if name in asked_for:
            yield f"{name} is off: {reason}"
    if config.data.zoom > 1 and not config.data.zooms:  # (a preset may have meant it)
        yield f"data.zoom is off: there is none with data.preprocess {config.data.preprocess}"
    D, training = config.discriminator, config.training
    if config.loss.adversarial == "wgangp" and D.norm == "batch":
        yield (
            "discriminator.norm batch mixes the pictures of a batch, and wgangp bounds the slope "
            "at each by itself: instance, group and none go with it"
        )
    more_judged = "training.judged" in asked_for and training.more_judged > training.untouched
    if more_judged and not training.history:
        yield "training.judged adds no fakes: without training.history there are no older"


def _of_precision(config: Config, device: torch.device) -> Iterator[str]:
    if config.training.precision == "fp16" and device.type == "cpu":
        yield "fp16 is for GPUs, and takes a CPU many times as long: leave --precision out here"


def _without_effect(config: Config) -> Iterator[tuple[str, str]]:
    """Settings that are not used together with others, and why."""
    G, D, adam, training = config.generator, config.discriminator, config.optimizer, config.training
    if G.architecture == "unet":
        yield "generator.blocks", "a U-Net has generator.levels"
        if G.levels < 6:
            yield "generator.dropout", "a U-Net has it from 6 generator.levels on"
    else:
        yield "generator.levels", f"they are of U-Nets, and this is a {G.architecture}"
    if G.output != "retouch":
        for name in ("least_change", "strength"):
            yield f"generator.{name}", f"generator.output is {G.output}, not retouch"
    if D.architecture == "pixel":
        for name in ("layers", "padding"):
            yield f"discriminator.{name}", "the discriminator sees single pixels"
    if config.method == "cyclegan":
        for name in ContrastConfig.model_fields:
            yield f"contrast.{name}", "it is of CUT; cyclegan has loss.cycle and loss.identity"
    else:
        instead = f"it is CycleGAN's; {config.method} has contrast.source and contrast.target"
        losses = ("cycle", "cycle_end", "cycle_every", "cycle_features", "identity", "identity_end")
        for name in losses:
            yield f"loss.{name}", instead
    for name, schedules in SCHEDULES_WITH.items():
        if adam.schedule not in schedules:
            its = " or ".join(schedules)
            yield f"optimizer.{name}", f"the schedule is {adam.schedule}, not {its}"
    if training.judged is not None and training.judged <= training.batch:
        yield "training.judged", f"training.batch is {training.batch}, as many or more"


def _of_channels(config: Config, a: int, b: int) -> Iterator[str]:
    """What cannot be had where pictures of A have ``a`` channels and those of B ``b`` others."""
    counts = f"A has {counted(a, 'channel')} and B {b}"
    why = f"{counts}, so a picture of one cannot pass the other's"
    if config.identity_weight > 0:
        yield f"the identity loss is off: {why} generator"
    if config.training.untouched:
        yield f"training.untouched is off: {why} discriminator"
    if config.loss.plain > 0:
        yield f"loss.plain is off: {counts}, so they cannot be compared"
    if config.generator.output == "retouch":
        yield (
            f"generator.output is picture, not retouch: {counts}. The preset repaint is made "
            "for that"
        )
