"""Which settings a training gets: a preset, what is given, and the model that it goes on from."""

from __future__ import annotations

from pathlib import Path

from diptych.config import Config
from diptych.data.decode import reading_of
from diptych.data.pixels import RGB, PixelFormat
from diptych.errors import UsageError
from diptych.host.device import choose_device
from diptych.model_file import MODEL, read_info
from diptych.settings import Tree, build_config, merge, read_config_file, read_preset, section
from diptych.training.checkpoint import is_checkpoint
from diptych.training.run_folder import RunFolder, run_at


def make_config(
    preset: str | None = None,
    config_file: Path | None = None,
    settings: Tree | None = None,
    start_from: Path | None = None,
) -> Config:
    """A preset, what is known of the model to start from, a file on top, then settings.

    By default the preset is that of the run to start from; or else ``paper`` with a GPU, and
    without one ``laptop``, or ``repaint`` for what cannot be retouched that way. Raises UsageError
    for what no training can be made with.
    """
    settings = settings or {}
    from_file, chosen = _file_and_preset(preset, config_file, settings)
    if start_from is not None:
        before = settings_of(start_from)
        if chosen not in (None, before.get("preset")):
            before = settings_of(start_from, networks_only=True)
        before = _suiting(before, settings.get("method", from_file.get("method")))
        from_file = merge(merge(before, from_file), _started_from(start_from))
        chosen = before.get("preset") if chosen is None else chosen
    blamed = config_file if start_from is None else None
    if chosen is not None:
        return _on_preset(str(chosen), from_file, settings, blamed)
    given = merge(from_file, settings)
    usual = "laptop" if _can_retouch(given) else "repaint"
    device = section(given, "training").get("device", "auto")
    if isinstance(device, str) and choose_device(device).type == "cuda":
        usual = "paper"
    return _on_preset(usual, from_file, settings, blamed)


def settings_given(
    preset: str | None, config_file: Path | None, settings: Tree, start_from: Path | None
) -> Tree:
    """What ``make_config`` is told of a training, without what it finds out by itself.

    Raises as ``make_config``.
    """
    given, chosen = _file_and_preset(preset, config_file, settings)
    if start_from is not None:
        given = merge(given, _started_from(start_from))
    given = merge(given, settings)
    return given if chosen is None else {**given, "preset": chosen}


def _file_and_preset(
    preset: str | None, config_file: Path | None, settings: Tree
) -> tuple[Tree, str | None]:
    from_file = read_config_file(config_file) if config_file is not None else {}
    from_file = _suiting(from_file, settings.get("method"))
    of_file = from_file.get("preset")
    return from_file, _given_preset(preset, settings.get("preset"), of_file, config_file)


def _started_from(model: Path) -> Tree:
    return {"training": {"start_from": str(model.absolute())}}


def _on_preset(name: str, from_file: Tree, settings: Tree, blamed: Path | None) -> Config:
    """A preset, with two trees on top; ``blamed`` if the first alone is refused already."""
    base = merge(read_preset(name), from_file)
    try:
        return build_config({**merge(base, settings), "preset": name})
    except UsageError as error:
        if blamed is not None and _refusal(base) == str(error):
            raise UsageError(f"{blamed}: {error}") from error
        raise


def _given_preset(
    preset: str | None, of_settings: str | None, of_file: str | None, config_file: Path | None
) -> str | None:
    """The preset that is asked for, if one is. Raises UsageError for two that disagree."""
    if preset is not None and of_settings not in (None, preset):
        raise UsageError(f"the presets {preset} and {of_settings} are both given: leave one out")
    chosen = preset if preset is not None else of_settings
    if chosen and of_file and chosen != of_file:  # (a run's config.yaml would hide the preset)
        raise UsageError(
            f"{config_file} is for the preset {of_file}: leave the preset {chosen} out, or that "
            "line of the file"
        )
    return of_file if chosen is None else chosen


def _suiting(tree: Tree, method: str | None) -> Tree:
    """Settings for a training with another method, if there is one: without their own's."""
    if method is None or tree.get("method", method) == method:
        return tree
    training = {name: x for name, x in section(tree, "training").items() if name != "history"}
    return {**tree, "method": method, "contrast": {}, "training": training}


def _refusal(tree: Tree) -> str | None:
    """Why no training can be made with these settings."""
    try:
        build_config(tree)
    except UsageError as error:
        return str(error)
    return None


def _can_retouch(given: Tree) -> bool:
    """Whether settings leave method, networks and pictures as ``laptop`` needs them."""
    G, D, data = (section(given, name) for name in ("generator", "discriminator", "data"))
    return (
        given.get("method", "cyclegan") == "cyclegan"
        and G.get("architecture", "resnet") == "resnet"
        and G.get("output", "retouch") == "retouch"
        and D.get("architecture", "patch") == "patch"
        and data.get("preprocess") != "none"
        and _channels(given, "a") == _channels(given, "b")
    )


def _channels(given: Tree, domain: str) -> object:
    """What is said of a domain's channels: native pictures may have any number."""
    reading = section(given, domain)
    return reading.get("channels") or ("any" if reading.get("depth") == "native" else 3)


def settings_of(model: Path, networks_only: bool = False) -> Tree:
    """The settings for a training that goes on from a model file or a run, with its networks.

    Pictures are read as they were: the same value stands for the same, as far as the new ones go.
    With ``networks_only`` that is all; else a run gives all of its settings, a file its pictures'
    size. Raises DiptychError if it is neither.
    """
    info = read_info(model_in(model))
    own: Tree = {}
    run = run_at(model)
    if run.exists():  # (not that of a checkpoint that somebody has copied)
        own = run.config().model_dump(mode="json")
        kept = ("method", "contrast", "discriminator") if networks_only else own
        own = {name: own[name] for name in kept}
    elif not networks_only:
        data = {"size": info.size, "preprocess": info.preprocess, "background": info.background}
        own = {"data": data}
    settings: Tree = {
        "a": _unusual(info.a),
        "b": _unusual(info.b),
        "generator": info.generator.model_dump(mode="json"),
        "training": {"device": "auto", **_started_from(model)["training"]},
    }
    if info.discriminator is not None:
        settings["discriminator"] = info.discriminator.model_dump(mode="json")
    return merge(own, settings)


def model_in(place: Path) -> Path:
    """A model file, or that of a run folder, or of a checkpoint."""
    if is_checkpoint(place):
        return place / MODEL
    return RunFolder(place).saved_model() if place.is_dir() else place


def _unusual(stored: PixelFormat) -> Tree:
    """How pictures are read that come out so; nothing for the usual 8-bit colours."""
    return {} if stored == RGB else reading_of(stored).model_dump(mode="json", exclude_none=True)
