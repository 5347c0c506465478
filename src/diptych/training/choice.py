"""Which settings a training gets: a preset, what is given, and the model that it goes on from."""

from __future__ import annotations

from pathlib import Path

import torch

from diptych.config import Config
from diptych.data.decode import reading_of
from diptych.data.pixels import RGB, PixelFormat
from diptych.device import choose_device
from diptych.errors import UsageError
from diptych.model_file import load_model
from diptych.settings import Tree, build_config, merge, read_config_file, read_preset
from diptych.training.run_folder import RunFolder


def make_config(
    preset: str | None = None, config_file: Path | None = None, settings: Tree | None = None
) -> Config:
    """A preset, a file on top, then settings.

    By default the preset is ``paper`` with a GPU. Without one it is ``laptop``, or ``repaint`` for
    what cannot be retouched that way. Raises UsageError for what no training can be made with.
    """
    settings = settings or {}
    from_file = read_config_file(config_file) if config_file is not None else {}
    if "method" in from_file and settings.get("method", from_file["method"]) != from_file["method"]:
        from_file = {**from_file, "contrast": {}}  # (it was another method's)
    chosen = preset or settings.get("preset")
    of_file = from_file.get("preset")
    if chosen and of_file and chosen != of_file:  # (a run's config.yaml would hide the preset)
        raise UsageError(
            f"{config_file} is for the preset {of_file}: leave the preset {chosen} out, or that "
            "line of the file"
        )
    chosen = chosen or of_file
    usual = "laptop" if _can_retouch(merge(from_file, settings)) else "repaint"
    name = str(chosen or usual)
    base = merge(read_preset(name), from_file)
    try:
        config = build_config({**merge(base, settings), "preset": name})
    except UsageError as error:
        if config_file is not None and _refusal(base) == str(error):
            raise UsageError(f"{config_file}: {error}") from error
        raise
    if chosen is None and choose_device(config.training.device).type == "cuda":
        return make_config("paper", config_file, settings)
    return config


def _refusal(tree: Tree) -> str | None:
    """Why no training can be made with these settings."""
    try:
        build_config(tree)
    except UsageError as error:
        return str(error)
    return None


def _can_retouch(given: Tree) -> bool:
    """Whether settings leave method, networks and pictures as ``laptop`` needs them."""
    needed: Tree = {
        "method": "cyclegan",
        "data": {},
        "generator": {"architecture": "resnet", "output": "retouch"},
        "discriminator": {"architecture": "patch"},
    }
    used = merge(needed, given)
    agreed = used == merge(given, needed)  # nothing that is given says otherwise
    one_size = used["data"].get("preprocess") != "none"  # (as D sees them)
    return agreed and one_size and _channels(given, "a") == _channels(given, "b")


def _channels(given: Tree, domain: str) -> object:
    """What is said of a domain's channels: native pictures may have any number."""
    section = given.get(domain) or {}
    return section.get("channels") or ("any" if section.get("depth") == "native" else 3)


def settings_of(model: Path) -> Tree:
    """The settings for a training that goes on from a model file or a run, with its networks.

    Pictures are read as they were: the same value stands for the same, as far as the new ones go.
    Raises DiptychError if it is neither.
    """
    file = model_in(model)
    info = load_model(file, torch.device("cpu")).info
    settings: Tree = {
        "a": _unusual(info.a),
        "b": _unusual(info.b),
        "generator": info.generator.model_dump(mode="json"),
        "training": {"start_from": str(file.absolute())},
    }
    if info.discriminator is not None:
        settings["discriminator"] = info.discriminator.model_dump(mode="json")
    return settings


def model_in(place: Path) -> Path:
    """A model file, or that of a run folder."""
    return RunFolder(place).saved_model() if place.is_dir() else place


def _unusual(stored: PixelFormat) -> Tree:
    """How pictures are read that come out so; nothing for the usual 8-bit colours."""
    return {} if stored == RGB else reading_of(stored).model_dump(mode="json", exclude_none=True)
