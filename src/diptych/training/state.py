"""All that changes during a training, in one place, and how it is saved and taken back."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diptych.config import LENGTHS, Config
from diptych.cut import CUT
from diptych.cyclegan import CycleGAN
from diptych.errors import DiptychError, out_of_memory
from diptych.host.device import choose_precision
from diptych.model_file import MODEL, GeneratorPair, load_model, save_model
from diptych.networks.fast.casting import lay_out_as_cast
from diptych.settings import Tree, differences, flat
from diptych.training import checkpoint, distributed
from diptych.training.guard import GuardedAdam
from diptych.training.history import History
from diptych.training.loss_sums import LossSums
from diptych.training.schedule import Plateau


def make_model(config: Config, channels_a: int, channels_b: int) -> CycleGAN | CUT:
    """The networks of the method that ``config`` names, with their starting weights."""
    method = CycleGAN if config.method == "cyclegan" else CUT
    return method(config, channels_a, channels_b)


class TrainingState:
    """Networks, their average, optimizers, histories, counters. ``save`` and ``load`` are exact."""

    def __init__(
        self, config: Config, channels_a: int, channels_b: int, device: torch.device
    ) -> None:
        training, adam = config.training, config.optimizer
        torch.manual_seed(training.seed)
        self.config = config
        self.device = device
        self.model = make_model(config, channels_a, channels_b).to(device)
        distributed.share_start(self.model)
        if device.type == "cpu" and choose_precision(training.precision, device) == torch.bfloat16:
            lay_out_as_cast(self.model)
        self.average = copy.deepcopy(self.model.generators) if training.ema_half_life else None
        betas = (adam.beta1, adam.beta2)
        judges = set(self.model.discriminators.parameters())
        makers = [p for p in self.model.parameters() if p not in judges]
        self.optimizer_G = GuardedAdam(makers, adam.rate, betas)
        self.optimizer_D = GuardedAdam(self.model.discriminators.parameters(), adam.rate, betas)
        rank = distributed.rank()
        self.histories = {
            "a": History(training.history, seed=training.seed + 2 * rank),
            "b": History(training.history, seed=training.seed + 2 * rank + 1),
        }
        torch.manual_seed(training.seed + 1000 * rank)  # dropout differs between processes
        self.plateau = Plateau(adam.decay_factor, adam.patience)
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        self.losses = LossSums()  # since the last log step
        self.bad_in_row = torch.zeros((), device=device)  # steps left out: numbers not finite
        self.setbacks = 0  # how often the run went back to a checkpoint because of them
        self.step = 0
        self.seconds = 0.0

    def generators_to_use(self) -> nn.ModuleList:
        """The generators to use and share: the average where one is kept."""
        return self.model.generators if self.average is None else self.average

    def start_from(self, path: Path, networks: dict[str, Tensor]) -> list[str]:
        """Take the weights of a model file for the first ones; optimizers start anew.

        What the file does not hold, often the discriminators, is taken from ``networks``, those of
        a checkpoint, if it fits. Returns the names of those that keep their random start. Raises
        DiptychError if the file cannot be read, or holds other networks.
        """
        pair = load_model(path, self.device)
        try:
            for name, network in pair.networks.items():
                if name in dict(self.model.named_children()):
                    self.model.get_submodule(name).load_state_dict(network.state_dict())
        except RuntimeError as error:
            both = (pair.info.generator, self.config.generator)
            its, asked = ({"generator": one.model_dump()} for one in both)
            usual = "channels of A and B, and discriminators, must be the same"
            reason = next(iter(differences(its, asked, "there")), usual)
            raise DiptychError(
                f"{path} holds other networks than the settings describe: {reason}"
            ) from error
        if self.average is not None:
            self.average.load_state_dict(self.model.generators.state_dict())
        left = dict(self.model.named_children()).keys() - pair.networks.keys()
        return sorted(left - self._take(left, networks))

    def _take(self, names: Iterable[str], stored: dict[str, Tensor]) -> set[str]:
        """Load those networks that are among the stored ones and of the same shape."""
        taken = set()
        for name in names:
            network, weights = self.model.get_submodule(name), _below(name, stored)
            shapes = {key: value.shape for key, value in network.state_dict().items()}
            if weights and shapes == {key: value.shape for key, value in weights.items()}:
                network.load_state_dict(weights)
                taken.add(name)
        return taken

    def save(self, folder: Path, pair: GeneratorPair) -> None:
        """Write a checkpoint. Every process writes its own part; process 0 the common one.

        ``pair``: the generators to use, as ``generators_to_use``. In the checkpoint too they are a
        model file, to translate with.
        """
        aside = checkpoint.stage(folder, self.step)
        own = {f"sums.{name}": value for name, value in self.losses.sums.items()}
        own |= {f"counts.{name}": value for name, value in self.losses.counts.items()}
        own |= {"bad-in-row": self.bad_in_row, "random": torch.get_rng_state()}
        if self.device.type == "cuda":
            own["random-cuda"] = torch.cuda.get_rng_state(self.device)
        for name, history in self.histories.items():
            own.update({f"history-{name}.{k}": v for k, v in history.state().items()})
        checkpoint.write_part(aside, f"process-{distributed.rank()}", own)
        distributed.wait_for_all()
        if distributed.rank() == 0:
            save_model(aside / MODEL, pair)
            networks = self.model.state_dict()
            if self.average is None:  # (then the generators are in the model file)
                networks = {k: v for k, v in networks.items() if not k.startswith("G_")}
            checkpoint.write_part(aside, "networks", networks)
            checkpoint.write_part(aside, "optimizer-G", _moments(self.optimizer_G))
            checkpoint.write_part(aside, "optimizer-D", _moments(self.optimizer_D))
            numbers = {
                "seconds": self.seconds,
                "setbacks": self.setbacks,
                "plateau": vars(self.plateau),
                "scaler": self.scaler.state_dict(),
                "processes": distributed.world_size(),
                "settings": self.config.model_dump(mode="json"),
            }
            checkpoint.finish(folder, self.step, numbers)
        distributed.wait_for_all()

    def load(self, folder: Path, healthy: bool = False) -> list[str]:
        """Take back the newest whole checkpoint; returns a line for each one passed over.

        And one for settings that have been edited in the run's config.yaml since it was written.
        With ``healthy`` also those are passed over that were written while steps were left out.
        """

        def accept(parts: checkpoint.Parts) -> bool:
            return not healthy or float(parts["process-0"]["bad-in-row"]) == 0

        step, numbers, parts, problems = checkpoint.read_newest(folder, accept)
        try:
            if numbers["processes"] != distributed.world_size():
                raise DiptychError(
                    f"the run was made with {numbers['processes']} processes and can only be "
                    f"resumed with as many (now {distributed.world_size()}): for others start a "
                    "new run from it, with --from"
                )
            self.step, self.seconds = step, numbers["seconds"]
            self.setbacks = numbers["setbacks"]
            # (Of generators that are averaged, the model file holds the averages.)
            self.model.load_state_dict({**parts["model"], **parts["networks"]})
            if self.average is not None:
                for name, network in zip(("G_ab", "G_ba"), self.average, strict=False):
                    network.load_state_dict(_below(name, parts["model"]))
            _load_moments(self.optimizer_G, parts["optimizer-G"])
            _load_moments(self.optimizer_D, parts["optimizer-D"])
            seen = {name: numbers["plateau"][name] for name in ("best", "waited", "share")}
            self.plateau = replace(self.plateau, **seen)
            self.scaler.load_state_dict(numbers["scaler"])
            own = parts[f"process-{distributed.rank()}"]
            self.bad_in_row = own["bad-in-row"].to(self.device)
            sums, counts = _below("sums", own), _below("counts", own)
            self.losses.sums = {name: value.to(self.device) for name, value in sums.items()}
            self.losses.counts = {name: value.to(self.device) for name, value in counts.items()}
            for name, history in self.histories.items():
                history.load(_below(f"history-{name}", own), self.device)
                if self.config.data.one_size:
                    history.drop_other_sizes(self.config.data.size)
            torch.set_rng_state(own["random"])
            if "random-cuda" in own:
                torch.cuda.set_rng_state(own["random-cuda"], self.device)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            edited = _edited(numbers.get("settings", {}), self.config)
            differing = " and ".join(edited) or "has config.yaml been edited?"
            raise DiptychError(
                f"the checkpoint of step {step} in {folder} does not fit the settings: {differing}"
                f"{': take that back, or start a new run with --from' if edited else ''}"
            ) from error
        edited = _edited(numbers.get("settings", {}), self.config)
        if edited:
            problems.append(
                f"config.yaml has been edited, and the run goes on as it says: {', '.join(edited)}"
            )
        return problems


def _edited(before: Tree, config: Config) -> list[str]:
    """Those settings that a run keeps (so not its length) and that have changed."""
    known, now = flat(before), flat(config.model_dump(mode="json"))
    return [
        f"{name} was {known[name]} and is {now[name]} now"
        for name in known
        if name in now and now[name] != known[name]
        and name.removeprefix("training.") not in LENGTHS
    ]  # fmt: skip


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts as ``"parameter number.name"``."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, own in state.items() for name, value in own.items()}


def _load_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The reverse. Moments lie as their weights do: a fused kernel pairs what lies at one place."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, name = key.split(".")
        weight = weights[int(number)]
        if value.shape == weight.shape:
            value = torch.empty_like(weight, device=value.device).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
