"""Do disk and memory hold the run that is about to start?"""

from __future__ import annotations

import shutil

from diptych.errors import DiptychError
from diptych.memory import memory_at_hand
from diptych.training.checkpoint import KEEP_LAST
from diptych.training.trainer import Trainer

FLOAT = 4  # bytes
HALF = 2  # of 16 bits: what features take at least


def bytes_needed(trainer: Trainer) -> int:
    """About how much a run writes, in bytes: checkpoints, models and sample sheets.

    Counted from above: a checkpoint holds each weight with Adam's two moments and each picture of
    the histories as float32; a sheet, six pictures a row, is taken to be uncompressed.
    """
    config, state, steps = trainer.config, trainer.state, trainer.steps
    training, pixels = config.training, config.data.size**2
    if config.data.preprocess == "none":
        entries = (*trainer.a.cache.entries, *trainer.b.cache.entries)
        pixels = max(entry.shape[0] * entry.shape[1] for entry in entries)
    channels = trainer.a.pixel_format.channels + trainer.b.pixel_format.channels
    weights = sum(p.numel() for p in state.model.parameters())
    generators = sum(p.numel() for p in state.model.generators.parameters())
    averages = generators if state.average is not None else 0
    checkpoint = FLOAT * (3 * weights + averages + training.history * channels * pixels)
    model = FLOAT * generators
    sheet = training.samples * 6 * pixels * 3

    kept = KEEP_LAST + 1  # one more while the oldest is still there
    sheets = 0
    if steps is not None:
        kept += steps // training.keep_every if training.keep_every else 0
        sheets = 2 * (steps // training.sample_every + 1)  # one more for TensorBoard
    return kept * checkpoint + 3 * model + sheets * sheet


def check_disk(trainer: Trainer) -> None:
    """Raise DiptychError if what the run has still to write does not fit on its disk."""
    folder = trainer.run.path
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    need, free = bytes_needed(trainer) - there, shutil.disk_usage(folder).free
    if need > free:
        raise DiptychError(
            f"the run needs about {need / 1e6:,.0f} MB, and the disk of {folder} has "
            f"{free / 1e6:,.0f} MB free: make room, choose another --run, or keep fewer "
            "checkpoints and samples (training.keep_every, training.sample_every)"
        )


def memory_needed(trainer: Trainer) -> int:
    """What a step takes at the very least, in bytes: pictures, and features of one layer.

    Of all layers, and of their gradients, it is many times as much.
    """
    config = trainer.config
    training, pixels = config.training, config.data.size**2
    if config.data.preprocess == "none":
        pixels = config.smallest_size() ** 2
    channels = trainer.a.pixel_format.channels + trainer.b.pixel_format.channels
    pictures = FLOAT * training.batch * training.accumulate * channels * pixels
    ways = len(trainer.state.model.generators)
    resnet = config.generator.architecture == "resnet"
    features = HALF * ways * training.batch * config.generator.width * pixels
    return 2 * pictures + (features if resnet else 0)  # (the translations are as large)


def check_memory(trainer: Trainer) -> None:
    """Raise DiptychError if a step cannot fit: the system would end the process without a word."""
    need, free = memory_needed(trainer), memory_at_hand(trainer.device)
    if need > free:
        raise DiptychError(
            f"a step needs more than {need / 1e9:,.0f} GB of memory, and {trainer.device} has "
            f"{free / 1e9:,.1f}: use a smaller --batch or --size"
        )
