"""What to know before a training: pictures left out or doubted, settings without effect."""

from __future__ import annotations

from diptych.config import Config, ContrastConfig, LossConfig, OptimizerConfig
from diptych.data.cache import contents
from diptych.data.domain import Domain
from diptych.data.suits import are_grey, doubts
from diptych.errors import counted
from diptych.settings import read_preset, section
from diptych.training.learned import learned_by, runs_before


def remarks(config: Config, a: Domain, b: Domain) -> list[str]:
    """What a person should know before the training starts."""
    lines = []
    for domain in (a, b):
        places = ((domain.folder, domain.skipped), (domain.test_folder, domain.test_skipped))
        for folder, skipped in places:
            if skipped:
                names = ", ".join(f"{one.name} ({one.reason})" for one in skipped[:5])
                more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
                lines.append(
                    f"left out {counted(len(skipped), 'picture')} of {folder}: {names}{more}"
                )
        if here := domain.learned_here:
            lines.append(
                f"trained on, although held out: {counted(len(here), 'picture')} of "
                f"{domain.folder}; scores will flatter (diptych data check says which)"
            )
        for doubt in doubts(domain):
            lines.append(f"{domain.folder}: {doubt.about}; {doubt.advice}")
    for before in runs_before(config):
        for domain, earlier in ((a, learned_by(before, a, "a")), (b, learned_by(before, b, "b"))):
            if earlier:
                lines.append(
                    f"held out now, but not by {before.path}, which learned from them: "
                    f"{counted(len(earlier), 'picture')} of {domain.folder}; scores will flatter "
                    "(the same data.holdout and pictures, or test folders, would hold out others)"
                )
    if both := len(contents(a.cache) & contents(b.cache)):
        lines.append(f"in both A and B: {counted(both, 'picture')} (diptych data check says which)")
    if are_grey(a) and are_grey(b):
        lines.append("all pictures are grey, and colours are learned: --channels 1 keeps them grey")
    data = config.data
    if data.zoom > 1 and not data.zooms:
        lines.append(f"data.zoom is off: there is none with data.preprocess {data.preprocess}")
    of_preset, loss = read_preset(config.preset), config.loss
    usual = LossConfig.model_validate(section(of_preset, "loss"))
    if config.method != "cyclegan" and (loss.cycle, loss.identity) != (usual.cycle, usual.identity):
        lines.append(
            f"loss.cycle and loss.identity are CycleGAN's: {config.method} has contrast.source and "
            "contrast.target"
        )
    if config.method == "cyclegan" and config.contrast != ContrastConfig():
        lines.append("contrast.* are of CUT: cyclegan has loss.cycle and loss.identity")
    adam = config.optimizer
    if adam.schedule != "step" and adam.decay_steps != OptimizerConfig().decay_steps:
        lines.append(f"optimizer.decay_steps is off: the schedule is {adam.schedule}, not step")
    generator = config.generator
    if generator.architecture == "unet" and generator.dropout and generator.levels < 6:
        lines.append("generator.dropout is off: a U-Net has it from 6 generator.levels on")
    training = config.training
    asked_for = training.judged != section(of_preset, "training").get("judged")
    if asked_for and not training.history and training.more_judged > training.untouched:
        lines.append("training.judged adds no fakes: without training.history there are no older")
    if a.pixel_format.channels != b.pixel_format.channels:
        channels = counted(a.pixel_format.channels, "channel")
        counts = f"A has {channels} and B {b.pixel_format.channels}"
        why = f"{counts}, so a picture of one cannot pass the other's"
        if config.identity_weight > 0:
            lines.append(f"the identity loss is off: {why} generator")
        if config.training.untouched:
            lines.append(f"training.untouched is off: {why} discriminator")
        if config.loss.plain > 0:
            lines.append(f"loss.plain is off: {counts}, so they cannot be compared")
        if config.generator.output == "retouch":
            lines.append(
                f"generator.output is picture, not retouch: {counts}. The preset repaint is made "
                "for that"
            )
    return lines
