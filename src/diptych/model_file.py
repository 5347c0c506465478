"""``model.safetensors``: a generator pair and, in the file's metadata, all that using it needs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import nn

from diptych.config import GeneratorConfig, Preprocess
from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError
from diptych.files import write_whole
from diptych.networks import make_generator

FORMAT = 1


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


@dataclass(frozen=True)
class GeneratorPair:
    """``G_ab`` and ``G_ba``, ready to use."""

    G_ab: nn.Module
    G_ba: nn.Module
    info: ModelInfo


def save_model(path: Path, pair: GeneratorPair) -> None:
    """Write the pair as float32 safetensors, aside and renamed."""
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in (("G_ab", pair.G_ab), ("G_ba", pair.G_ba))
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
        fields["generator"] = GeneratorConfig.model_validate(fields["generator"])
        fields["a"], fields["b"] = PixelFormat(**fields["a"]), PixelFormat(**fields["b"])
        info = ModelInfo(**fields)
        networks = []
        for name, before, after in (("G_ab", info.a, info.b), ("G_ba", info.b, info.a)):
            with torch.device("meta"):
                network = make_generator(info.generator, before.channels, after.channels)
            own = {
                key.removeprefix(f"{name}."): value
                for key, value in tensors.items()
                if key.startswith(f"{name}.")
            }
            network.load_state_dict(own, assign=True)
            networks.append(network.to(device).eval())
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError) as error:
        first_line = (str(error).splitlines() or ["unreadable"])[0]
        raise DiptychError(f"{path} is damaged: {first_line}") from error
    return GeneratorPair(networks[0], networks[1], info)
