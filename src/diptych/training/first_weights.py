"""What a session of a training begins with: another model's weights, or its own last checkpoint."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from torch import Tensor

from diptych.errors import DiptychError, UsageError
from diptych.training import checkpoint
from diptych.training.choice import model_in
from diptych.training.provenance import rounding
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer
from diptych.words import counted, duration

# What people call those that a model to start from may lack.
NETWORKS = {
    "D_a": "discriminator of A",
    "D_b": "discriminator of B",
    "G_ab": "generator to B",
    "G_ba": "generator to A",
    "H": "networks that compare patches",
}


def take_first(trainer: Trainer) -> list[str]:
    """The weights of ``start_from``, if that is given; returns what a person should know."""
    if trainer.config.training.start_from is None:
        return []
    place = Path(trainer.config.training.start_from)
    left = trainer.state.start_from(model_in(place), _networks_beside(place))
    missing = " and no ".join(NETWORKS[name] for name in left)
    return [f"{place} has no {missing}: learned from the start"] if left else []


def _networks_beside(place: Path) -> dict[str, Tensor]:
    """What a checkpoint, or the newest one of a run, holds: discriminators too. None for a file."""
    if place.is_dir():
        with suppress(DiptychError):  # (the run may be without them)
            if checkpoint.is_checkpoint(place):
                return checkpoint.read(place).parts["networks"]
            return checkpoint.read_newest(RunFolder(place).checkpoints).parts["networks"]
    return {}


def take_back(trainer: Trainer) -> list[str]:
    """The newest checkpoint; returns what a person should know.

    Raises UsageError for a new length that the run has reached.
    """
    run, state, said = trainer.run, trainer.state, []
    noted = run.made_with()
    repeats = trainer.device.type == "cpu" and trainer.steps is not None and trainer.tuner is None
    for name, now in rounding(trainer.config).items():
        then = noted.get(name)
        if repeats and then not in (None, now):
            said.append(
                f"the run went with {name} {then} and goes on with {now}, which rounds otherwise: "
                "not to the same bytes as a run that was never stopped"
            )
    said += [f"{problem}; going on from step {state.step}" for problem in trainer.keeper.resume()]
    given, before = trainer.config.training.length, run.config().training.length
    if given == before:
        return said
    if trainer.progress() >= 1:
        raise UsageError(
            f"{run.path} has made {counted(state.step, 'step')} in {duration(state.seconds)}: the "
            "length is that of the whole run, give a larger one"
        )
    if trainer.config.optimizer.schedule != "constant":
        said.append(
            "the run is longer now, and its learning rate follows the whole of it: it goes on at "
            f"{trainer.rate():.3g}"
        )
    return said
