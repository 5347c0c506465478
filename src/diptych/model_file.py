"""``model.safetensors``: a generator pair and, in the file's metadata, all that using it needs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import nn

from diptych.config import GeneratorConfig, Preprocess
from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError, UsageError
from diptych.files import write_whole
from diptych.networks import make_generator

FORMAT = 1
Side = Literal["a", "b"]


@dataclass(frozen=True)
class ModelInfo:
    """What the file says about its networks."""

    generator: GeneratorConfig
    a: PixelFormat
    b: PixelFormat
    size: int  # pixels a side of the crops trained on
    preprocess: Preprocess
    background: str
    step: int

    def formats(self, to: Side) -> tuple[PixelFormat, PixelFormat]:
        """The pixel formats of the source and the target when translating to domain ``to``."""
        return (self.a, self.b) if to == "b" else (self.b, self.a)


@dataclass(frozen=True)
class GeneratorPair:
    """``G_ab`` and ``G_ba``, ready to use. A model made by CUT has no way back: G_ba is None."""

    G_ab: nn.Module
    G_ba: nn.Module | None
    info: ModelInfo

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The generators that there are."""
        return (self.G_ab,) if self.G_ba is None else (self.G_ab, self.G_ba)

    @property
    def ways(self) -> tuple[Side, ...]:
        """The domains that it can translate to."""
        return ("b",) if self.G_ba is None else ("b", "a")

    def towards(self, to: Side) -> nn.Module:
        """The generator that translates to domain ``to``. Raises UsageError if there is none."""
        if to == "b":
            return self.G_ab
        if self.G_ba is None:
            raise UsageError(
                "this model translates from A to B only (it was trained with the method cut or "
                "fastcut): for the other way train one with the folders exchanged"
            )
        return self.G_ba

    def back_from(self, to: Side) -> nn.Module | None:
        """The generator that reconstructs what ``towards(to)`` has translated, if there is one."""
        return self.G_ba if to == "b" else self.G_ab


def save_model(path: Path, pair: GeneratorPair) -> None:
    """Write the pair as float32 safetensors, aside and renamed."""
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in (("G_ab", pair.G_ab), ("G_ba", pair.G_ba))
        if network is not None
        for key, value in network.state_dict().items()
    }
    info: dict[str, Any] = asdict(pair.info)
    info["generator"] = pair.info.generator.model_dump()
    metadata = {"diptych": json.dumps({"format": FORMAT, **info})}
    write_whole(path, save_tensors(tensors, metadata))


def load_model(path: Path, device: torch.device) -> GeneratorPair:
    """Read a file that ``save_model`` wrote; the networks come in evaluation mode.

    Raises DiptychError with one line if it is missing, damaged, or something else.
    """
    if not path.is_file():
        raise DiptychError(f"there is no model {path}: give a run folder or its model.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DiptychError(f"{path} is not a model file, or is damaged: {error}") from error
    if "diptych" not in metadata:
        raise DiptychError(f"{path} is a safetensors file, but not a diptych model")
    try:
        fields = json.loads(metadata["diptych"])
        if fields.pop("format") > FORMAT:
            raise DiptychError(
                f"{path} was written by a newer diptych: update with pip install --upgrade diptych"
            )
        info = TypeAdapter(ModelInfo).validate_python(fields)
        networks: dict[str, nn.Module] = {}
        for name, before, after in (("G_ab", info.a, info.b), ("G_ba", info.b, info.a)):
            own = {
                key.removeprefix(f"{name}."): value
                for key, value in tensors.items()
                if key.startswith(f"{name}.")
            }
            if not own and name == "G_ba":
                continue
            with torch.device("meta"):  # takes no memory, whatever the file says about sizes
                network = make_generator(info.generator, before.channels, after.channels)
            network.load_state_dict(own, assign=True)
            networks[name] = network.to(device).eval()
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError) as error:
        first_line = (str(error).splitlines() or ["unreadable"])[0]
        raise DiptychError(f"{path} is damaged: {first_line}") from error
    return GeneratorPair(networks["G_ab"], networks.get("G_ba"), info)
