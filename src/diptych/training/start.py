"""From two folders and settings to a trained run: what the command and the Python API share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from diptych.config import Config
from diptych.data.domain import (
    DIM_ADVICE,
    Domain,
    Folders,
    check_shapes,
    data_folders,
    nearly_black,
    open_domains,
)
from diptych.device import choose_device
from diptych.errors import DiptychError, UsageError
from diptych.evaluation.features import make_feature_net
from diptych.evaluation.scores import Yardstick, make_yardstick, read_heldout
from diptych.files import lies_in, write_whole
from diptych.model_file import load_model
from diptych.settings import (
    LENGTHS,
    Tree,
    build_config,
    merge,
    read_config_file,
    read_preset,
    to_yaml,
)
from diptych.surroundings import quickest_convolutions, usual_torch
from diptych.training import checkpoint, distributed
from diptych.training.disk import check_disk
from diptych.training.lock import only_one
from diptych.training.run_folder import RunFolder, made_with
from diptych.training.trainer import Trainer, Watch


@dataclass(frozen=True)
class Listener:
    """Functions to call while a training is prepared and runs; all may stay None."""

    decoding: Callable[[str, int, int], None] | None = None  # domain, done, total
    ready: Callable[[Config, Trainer], None] | None = None
    warning: Callable[[str], None] | None = None
    watch: Watch | None = None

    def warn(self, line: str) -> None:
        """Pass a warning on, if anybody listens."""
        if self.warning is not None:
            self.warning(line)


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
    return agreed and used["data"].get("preprocess") != "none"  # (D sees pictures of one size)


def settings_of(model: Path) -> Tree:
    """The settings for a training that goes on from a model file or a run, with its networks.

    Raises DiptychError if it is neither.
    """
    file = RunFolder(model).saved_model() if model.is_dir() else model
    info = load_model(file, torch.device("cpu")).info
    settings: Tree = {
        "generator": info.generator.model_dump(mode="json"),
        "training": {"start_from": str(file.absolute())},
    }
    if info.discriminator is not None:
        settings["discriminator"] = info.discriminator.model_dump(mode="json")
    return settings


def pick_folders(a: str | Path | None, b: str | Path | None, data: str | Path | None) -> Folders:
    """Two folders, or one that holds trainA and trainB. Raises UsageError for anything else."""
    if data is not None and a is None and b is None:
        return data_folders(Path(data))
    if data is None and a is not None and b is not None:
        return Folders(Path(a), Path(b))
    raise UsageError("give two folders of pictures, A and B, or --data DIR with trainA and trainB")


def start_run(
    folders: Folders,
    run: RunFolder,
    config: Config,
    listener: Listener = Listener(),
    max_minutes: float | None = None,
) -> bool:
    """Make the run folder and train to the end, or for ``max_minutes``; returns whether to the end.

    Raises DiptychError with one line.
    """
    for pictures in filter(None, (folders.a, folders.b, folders.test_a, folders.test_b)):
        if lies_in(run.path, pictures):
            raise UsageError(
                f"the run {run.path} would lie among the pictures of {pictures}, and its samples "
                "with them: choose another --run"
            )
    run.check_free()
    return _train(run, folders, config, listener, max_minutes, resume=False)


NO_LOCKS = (
    "this file system has no locks: see to it yourself that no second training uses the run folder"
)
ONLY_LENGTH = (
    "--resume goes on with the run's own settings: only --run, a new --steps, --epochs or "
    "--minutes, --max-minutes, and folders that have moved may be given with it"
)


def resume_run(
    run: RunFolder,
    settings: Tree | None = None,
    listener: Listener = Listener(),
    max_minutes: float | None = None,
    moved: Folders | None = None,
) -> bool:
    """Go on with a run where it stopped; returns as ``start_run``.

    ``settings`` may hold a new length, ``{"training": {"steps": N}}``; UsageError for any other.
    ``moved``: where its pictures are now, if not where they were.
    """
    settings = settings or {}
    length = settings.get("training") or {}
    only_length = isinstance(length, dict) and set(length) <= set(LENGTHS)
    if set(settings) - {"training"} or not only_length:
        raise UsageError(ONLY_LENGTH)
    config = run.config()
    if settings:
        config = build_config(merge(config.model_dump(), settings))
    folders = moved or run.folders()
    if moved is not None and moved.test_a is None and run.folders().test_a is not None:
        raise UsageError(f"{run.path} has test folders too: give --data DIR, which holds all four")
    if moved is None:
        for folder in (folders.a, folders.b):
            if not folder.is_dir():
                raise DiptychError(
                    f"the pictures of {run.path} were in {folder}, which is not there: put them "
                    f"back, or say where they are now: {run.moved_command}"
                )
    return _train(run, folders, config, listener, max_minutes, resume=True, moved=moved is not None)


def _train(
    run: RunFolder,
    folders: Folders,
    config: Config,
    listener: Listener,
    max_minutes: float | None,
    resume: bool,
    moved: bool = False,
) -> bool:
    if not config.training.length_in:
        raise UsageError("how long? give --steps, --epochs or --minutes")
    device = choose_device(config.training.device)
    with usual_torch(device), distributed.process_group(device), ExitStack() as held:
        held.enter_context(quickest_convolutions())
        leader = distributed.rank() == 0
        if not leader:
            distributed.wait_for_all()  # process 0 decodes the pictures and makes the folder
        elif resume and not held.enter_context(only_one(run.path)):
            listener.warn(NO_LOCKS)
        a, b = open_domains(folders, config, listener.decoding if leader else None)
        check_shapes(config, a, b)
        for domain in (a, b):
            if leader and (about := nearly_black(domain)):
                listener.warn(f"{domain.folder}: {about}; {DIM_ADVICE}")
        if resume:
            run.check_data(a, b)
            if not moved:  # the test folders may have got more pictures since
                a, b = run.with_heldout(a, "a"), run.with_heldout(b, "b")
        yardstick = _yardstick(config, a, b, device) if leader else None
        if yardstick is not None:  # resuming scores by the same features
            features = {"training": {"features": yardstick.net.name}}
            config = build_config(merge(config.model_dump(), features))
        if leader:
            if resume:
                run.sweep()
                checkpoint.sweep(run.checkpoints)
                run.make_folders()  # (somebody may have made room)
                if moved:
                    run.write_data(folders, a, b)
            else:
                if not held.enter_context(run.made(config)):
                    listener.warn(NO_LOCKS)
                run.write_data(folders, a, b)
            for line in _remarks(config, a, b):
                listener.warn(line)
            distributed.wait_for_all()
        trainer = Trainer(config, run, a, b, device, yardstick, listener.warning)
        if leader:
            check_disk(trainer)
        has_begun = resume and bool(checkpoint.checkpoints(run.checkpoints))
        if config.training.start_from is not None and not has_begun:
            trainer.state.start_from(Path(config.training.start_from))
        if resume:
            for problem in trainer.resume():
                if leader:
                    listener.warn(f"{problem}; going on from step {trainer.state.step}")
            if leader:  # the length may be new
                write_whole(run.path / "config.yaml", to_yaml(config, made_with()))
        if leader and listener.ready is not None:
            listener.ready(config, trainer)
        return trainer.train(listener.watch, max_minutes)


def _yardstick(config: Config, a: Domain, b: Domain, device: torch.device) -> Yardstick | None:
    """What held-out pictures will be scored by. Raises DiptychError if they cannot be."""
    if not config.training.evaluate_every:
        return None
    held_a, held_b = (
        read_heldout(domain.heldout, reading, domain.pixel_format, config)
        for domain, reading in ((a, config.a), (b, config.b))
    )
    return make_yardstick(held_a, held_b, make_feature_net(config.training.features, device))


def _remarks(config: Config, a: Domain, b: Domain) -> list[str]:
    """What a person should know before the training starts."""
    lines = []
    for domain in (a, b):
        if domain.skipped:
            names = ", ".join(f"{one.name} ({one.reason})" for one in domain.skipped[:5])
            more = f" and {len(domain.skipped) - 5} more" if len(domain.skipped) > 5 else ""
            lines.append(
                f"left out {len(domain.skipped)} damaged pictures of {domain.folder}: {names}{more}"
            )
    data = config.data
    if data.zoom > 1 and not data.zooms:
        lines.append(f"data.zoom is off: there is none with data.preprocess {data.preprocess}")
    if not config.training.history and config.training.more_judged > config.training.untouched:
        lines.append("training.judged adds no fakes: without training.history there are no older")
    if a.pixel_format.channels != b.pixel_format.channels:
        counts = f"A has {a.pixel_format.channels} channels and B {b.pixel_format.channels}"
        why = f"{counts}, so a picture of one cannot pass the other's"
        if config.holds_identity > 0:
            lines.append(f"the identity loss is off: {why} generator")
        if config.training.untouched:
            lines.append(f"training.untouched is off: {why} discriminator")
        if config.loss.plain > 0:
            lines.append(f"loss.plain is off: {counts}, so they cannot be compared")
        if config.generator.output == "retouch":
            lines.append(f"generator.output is picture, not retouch: {counts}")
    return lines
