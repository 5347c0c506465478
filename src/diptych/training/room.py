"""Do disk and memory hold the run that is about to start?"""

from __future__ import annotations

import copy
import math
import shutil
import statistics

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from diptych.cut import CUT
from diptych.errors import DiptychError
from diptych.host.memory import memory_at_hand
from diptych.networks.blocks import count_parameters
from diptych.training import distributed
from diptych.training.checkpoint import KEEP_LAST
from diptych.training.schedule import weights_at
from diptych.training.step import detached
from diptych.training.trainer import Trainer

FLOAT = 4  # bytes
SURE_OF_16_BITS = 0.5  # a share of what is foreseen that a step takes in any case
LARGEST_TRIED = 256  # pixels a side


def bytes_needed(trainer: Trainer) -> int:
    """About how much a run writes, in bytes: checkpoints, models and sample sheets.

    Counted from above: a checkpoint holds each weight with Adam's two moments and each picture of
    each process's histories as float32; a sheet, six pictures a row, is taken to be uncompressed.
    (Where only the minutes are given, sheets and what ``keep_every`` keeps are left out.)
    """
    config, state, steps = trainer.config, trainer.state, trainer.steps
    training, pixels = config.training, config.data.size**2
    if not config.data.one_size:
        entries = (*trainer.a.cache.entries, *trainer.b.cache.entries)
        pixels = max(entry.pixels for entry in entries)
    channels = trainer.a.pixel_format.channels + trainer.b.pixel_format.channels
    weights = count_parameters(state.model)
    generators = count_parameters(state.model.generators)
    averages = generators if state.average is not None else 0
    histories = distributed.world_size() * training.history * channels * pixels
    checkpoint = FLOAT * (3 * weights + averages + histories)
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


def memory_needed(trainer: Trainer) -> float:
    """About what a step takes, in bytes.

    Weights with their gradients and moments, and all that the larger of its passes, for G or for D,
    keeps for its way back, in float32 and by the plain layers. Nine kinds of training (64 to
    256 px, all presets' networks, U-Net, CUT) were found to take 0.6 to 1.4 of that on a CPU in
    bf16, 1.05 to 1.6 in float32.
    """
    state, config = trainer.state, trainer.config
    weights = count_parameters(state.model)
    averages = count_parameters(state.average) if state.average else 0
    pixels = float(config.data.size**2)
    if not config.data.one_size:  # (each domain's largest picture, at worst in one step)
        pixels = statistics.mean(
            max(of.cache.entries[i].pixels for i in of.train) for of in (trainer.a, trainer.b)
        )
    for_G, for_D = kept_for_the_way_back(trainer, pixels)
    batch, judged = config.training.batch, config.training.batch + config.training.more_judged
    return FLOAT * (4 * weights + averages) + max(batch * for_G, judged * for_D)


def kept_for_the_way_back(trainer: Trainer, pixels: float) -> tuple[float, float]:
    """Bytes of features for a picture of each domain, of the passes for G and for D.

    Small ones are tried, for which it is less: it grows with the number of pixels. 0 where networks
    take no small ones (a D that looks from very far, a U-Net of many levels).
    """
    config = trainer.config
    multiple = config.generator.size_multiple
    side = math.ceil(config.smallest_size() / multiple) * multiple
    if side > LARGEST_TRIED:
        return 0.0, 0.0
    model = copy.deepcopy(trainer.state.model).to("cpu")
    times = pixels / side**2
    if isinstance(model, CUT):  # (which compares so many patches of a picture of any size)
        patches = max(1, round(config.contrast.patches / times))
        model.contrast = config.contrast.model_copy(update={"patches": patches})
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage().data_ptr()
        if storage not in weights:
            kept[storage] = x
        return x

    with torch.random.fork_rng(devices=[]), saved_tensors_hooks(keep, lambda x: x):
        a = torch.rand(1, trainer.a.pixel_format.channels, side, side)
        b = torch.rand(1, trainer.b.pixel_format.channels, side, side)
        model.discriminators.requires_grad_(False)
        _, _, fakes = model.generator_loss(a, b, weights_at(0, 0, config))
        for_G = times * _bytes(kept)
        kept.clear()
        model.discriminators.requires_grad_(True)
        model.discriminator_loss(a, b, detached(fakes), weights_at(0, 0, config))
    return for_G, times * _bytes(kept)


def _bytes(tensors: dict[int, Tensor]) -> int:
    return sum(x.untyped_storage().nbytes() for x in tensors.values())


def check_memory(trainer: Trainer) -> None:
    """Raise DiptychError if a step cannot fit: the system would end the process without a word.

    (That of a CPU; a GPU says so itself.)
    """
    if trainer.device.type != "cpu":
        return
    need, free = memory_needed(trainer), memory_at_hand(trainer.device)
    if need * (1 if trainer.stepper.precision == torch.float32 else SURE_OF_16_BITS) > free:
        raise DiptychError(
            f"a step takes about {need / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are "
            "free: use a smaller --batch or --size, or training.judged"
        )
