"""``model.safetensors``: a generator pair and, in the file's metadata, all that using it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import nn

from diptych.config import Preprocess
from diptych.data.alpha import parse_background
from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError, UsageError, out_of_memory
from diptych.host.files import explain_os_errors, is_text, write_whole
from diptych.network_config import DiscriminatorConfig, GeneratorConfig
from diptych.networks import Discriminator, make_generator
from diptych.section import CountOrZero
from diptych.sides import Side
from diptych.words import first_line

FORMAT = 1
LARGEST = 2**16  # pixels a side, that a model can have been trained on
MODEL = "model.safetensors"  # in a run folder, and in each of its checkpoints
IMPORT_ADVICE = "weights of the CycleGAN and CUT code become one by diptych import"


@dataclass(frozen=True)
class ModelInfo:
    """What the file says about its networks."""

    generator: GeneratorConfig
    a: PixelFormat
    b: PixelFormat
    size: Annotated[int, Field(ge=1, le=LARGEST)]  # pixels a side of the crops trained on
    preprocess: Preprocess
    background: str
    step: CountOrZero
    discriminator: DiscriminatorConfig | None = None  # of D_a and D_b, if they are there too
    kid: float | None = None  # of a run's best model, on its held-out pictures

    @property
    def retouches(self) -> bool:
        """Whether the generators paint changes to their input, not pictures anew."""
        return self.generator.output == "retouch" and self.a.channels == self.b.channels

    def formats(self, to: Side) -> tuple[PixelFormat, PixelFormat]:
        """The pixel formats of the source and the target when translating to domain ``to``."""
        return (self.a, self.b) if to == "b" else (self.b, self.a)


@dataclass(frozen=True)
class GeneratorPair:
    """``G_ab`` and ``G_ba``, ready to use. A model made by CUT has no way back: G_ba is None.

    An imported model may have discriminators too, for a training to start from.
    """

    G_ab: nn.Module
    G_ba: nn.Module | None
    info: ModelInfo
    D_a: nn.Module | None = None
    D_b: nn.Module | None = None

    @property
    def generators(self) -> tuple[nn.Module, ...]:
        """The generators that there are."""
        return (self.G_ab,) if self.G_ba is None else (self.G_ab, self.G_ba)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All networks that there are, discriminators too, by their names."""
        named = {"G_ab": self.G_ab, "G_ba": self.G_ba, "D_a": self.D_a, "D_b": self.D_b}
        return {name: network for name, network in named.items() if network is not None}

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
                "this model translates from A to B only: for the other way train one with the "
                "folders exchanged, or give both generators, G_A and G_B, to diptych import"
            )
        return self.G_ba

    def back_from(self, to: Side) -> nn.Module | None:
        """The generator that reconstructs what ``towards(to)`` has translated, if there is one."""
        return self.G_ba if to == "b" else self.G_ab


def holds_foreign_weights(folder: Path) -> bool:
    """Whether a folder is one of the CycleGAN or CUT code, for which ``IMPORT_ADVICE`` is."""
    return any(folder.glob("*_net_G*.pth"))


def save_model(path: Path, pair: GeneratorPair) -> None:
    """Write the pair as safetensors, aside and renamed."""
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in pair.networks.items()
        for key, value in network.state_dict().items()
    }
    info = TypeAdapter(ModelInfo).dump_python(pair.info)
    metadata = {"diptych": json.dumps({"format": FORMAT, **info})}
    write_whole(path, save_tensors(tensors, metadata))


def read_info(path: Path) -> ModelInfo:
    """What a file that ``save_model`` wrote says about its networks, which are not read.

    Raises DiptychError with one line if it is missing, damaged, or something else.
    """
    with _opened(path) as file:
        return _info(path, file.metadata() or {})


def is_model(path: Path) -> bool:
    """Whether a file is one that ``save_model`` wrote, as far as can be told."""
    try:
        read_info(path)
    except DiptychError:
        return False
    return True


def _info(path: Path, metadata: dict[str, str]) -> ModelInfo:
    if "diptych" not in metadata:
        raise DiptychError(f"{path} is a safetensors file, but not a diptych model")
    try:
        fields = json.loads(metadata["diptych"])
        if fields.pop("format") > FORMAT:
            raise DiptychError(f"{path} was written by a newer diptych: update yours")
        info = TypeAdapter(ModelInfo).validate_python(fields)
        parse_background(info.background)
        return info
    except (
        AttributeError, KeyError, TypeError, ValueError, RecursionError, UsageError,
    ) as error:  # fmt: skip
        raise DiptychError(f"{path} is damaged: {first_line(error)}") from error


def load_model(path: Path, device: torch.device) -> GeneratorPair:
    """Read a file that ``save_model`` wrote; the networks come in evaluation mode.

    Raises DiptychError as ``read_info`` does.
    """
    with _opened(path) as file:
        info = _info(path, file.metadata() or {})
        # (clone: what get_tensor returns lies in the mapped file, and changes with that)
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    try:
        for key, value in tensors.items():
            if value.is_complex() or not bool(value.float().isfinite().all()):
                raise DiptychError(
                    f"{path} holds NaN, infinity or no numbers ({key}): its training had failed by "
                    "then"
                )
        networks: dict[str, nn.Module] = {}
        for name in ("G_ab", "G_ba", "D_a", "D_b"):
            own = {
                key.removeprefix(f"{name}."): value
                for key, value in tensors.items()
                if key.startswith(f"{name}.")
            }
            if not own and name != "G_ab":
                continue
            with torch.device("meta"):  # takes no memory, whatever the file says about sizes
                network = _make(name, info)
            network.load_state_dict(own, assign=True)
            networks[name] = network.float().to(device).eval()  # (the file may be float16)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        raise DiptychError(f"{path} is damaged: {first_line(error)}") from error
    return GeneratorPair(
        networks["G_ab"], networks.get("G_ba"), info, networks.get("D_a"), networks.get("D_b")
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with explain_os_errors(f"read {path}"):
        there = path.is_file()
    if not there:
        raise DiptychError(f"there is no model {path}: give a run folder or its model.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        if path.suffix in (".pth", ".pt"):
            raise DiptychError(f"{path} is no model of diptych: {IMPORT_ADVICE}") from error
        if not is_text(path):
            raise DiptychError(f"cannot read {path}: its name is no text: rename it") from error
        raise DiptychError(
            f"{path} is not a model file, or is damaged: give a run folder or its "
            f"model.safetensors ({first_line(error)})"
        ) from error


def _make(name: str, info: ModelInfo) -> nn.Module:
    """The network called ``name``, without weights."""
    a, b = info.a.channels, info.b.channels
    if name.startswith("G"):
        return make_generator(info.generator, *((a, b) if name == "G_ab" else (b, a)))
    if info.discriminator is None:
        raise KeyError("it does not describe its discriminators")
    return Discriminator(info.discriminator, a if name == "D_a" else b)
