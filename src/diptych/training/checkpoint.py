"""Checkpoints: folders that are either whole or absent.

``checkpoints/step-00001000/`` holds one safetensors file per part and ``manifest.json`` with the
sha256 of each, and its own. A checkpoint is written under another name, flushed to the
disk, and renamed; reading checks every byte.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from diptych.errors import DiptychError
from diptych.host.files import file_sha256, replace, sync_folder, write_whole

FORMAT = 5
MANIFEST = "manifest.json"
KEEP_LAST = 3  # checkpoints of a run
Parts = dict[str, dict[str, Tensor]]


class NewerCheckpointError(DiptychError):
    """It was written by a diptych that knows more than this one."""


def step_name(step: int) -> str:
    """The folder name of a step: up to eight digits sorts by number."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step in a name as ``step_name`` makes them; None in any other."""
    number = name.removeprefix("step-")
    return int(number) if number != name and number.isdecimal() else None


def is_checkpoint(place: Path) -> bool:
    """Whether a folder is one."""
    return (place / MANIFEST).is_file()


def stage(folder: Path, step: int) -> Path:
    """The folder, made if need be, where the parts of a coming checkpoint are written.

    ``folder`` itself must be there: a run that was removed is not begun again by halves.
    """
    aside = folder / f".{step_name(step)}.partial"
    aside.mkdir(exist_ok=True)
    return aside


def write_part(aside: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Write one part into a staged checkpoint."""
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    write_whole(aside / f"{name}.safetensors", save_tensors(whole))


def finish(folder: Path, step: int, numbers: dict[str, Any]) -> None:
    """Describe the staged parts in a manifest, and rename the folder to its name."""
    aside, final = stage(folder, step), folder / step_name(step)
    files = {}
    for path in sorted(aside.glob("*.safetensors")):
        files[path.name] = {"sha256": file_sha256(path)}
    manifest = {"format": FORMAT, "step": step, "numbers": numbers, "files": files}
    manifest["sha256"] = digest(manifest)
    write_whole(aside / MANIFEST, json.dumps(manifest, indent=1))
    if final.exists():  # damaged, or the steps to it would not have been made again
        damaged = folder / f".{final.name}.old.partial"
        shutil.rmtree(damaged, ignore_errors=True)
        replace(final, damaged)
    replace(aside, final)
    sync_folder(folder)


class Checkpoint(NamedTuple):
    """What one holds, as it was given to ``write_part`` and ``finish``."""

    step: int
    numbers: dict[str, Any]
    parts: Parts
    problems: list[str]  # a line for each newer one that was passed over


def read(checkpoint: Path) -> Checkpoint:
    """All that a checkpoint holds. Raises DiptychError if it is not whole."""
    try:
        manifest = json.loads(_content(checkpoint, MANIFEST))
        if manifest["format"] > FORMAT:
            raise NewerCheckpointError(
                f"the checkpoint {checkpoint} was written by a newer diptych: update yours"
            )
        if manifest["format"] < FORMAT:
            raise DiptychError(f"the checkpoint {checkpoint} is of before the first version")
        changed = manifest.pop("sha256") != digest(manifest)
        if changed or step_of(checkpoint.name) not in (None, manifest["step"]):  # (None: a copy)
            raise DiptychError(f"the checkpoint {checkpoint} is damaged: its manifest has changed")
        parts = {}
        for name, expected in manifest["files"].items():
            if Path(name).name != name:
                raise DiptychError(f"the checkpoint {checkpoint} names a file outside: {name!r}")
            data = _content(checkpoint, name)
            if hashlib.sha256(data).hexdigest() != expected["sha256"]:
                raise DiptychError(f"the checkpoint {checkpoint} is damaged: {name} has changed")
            parts[name.removesuffix(".safetensors")] = load_tensors(data)
        return Checkpoint(int(manifest["step"]), manifest["numbers"], parts, [])
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError
    ) as error:  # fmt: skip
        raise DiptychError(f"the checkpoint {checkpoint} is not whole: {error}") from error


def _content(checkpoint: Path, name: str) -> bytes:
    if not (checkpoint / name).is_file():  # (a pipe would be waited for)
        raise DiptychError(f"the checkpoint {checkpoint} is not whole: {name} is missing")
    return (checkpoint / name).read_bytes()


def digest(manifest: dict[str, Any]) -> str:
    """The sha256 that a manifest carries of the rest of it."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints, oldest first."""
    return [path for _, path in _by_step(folder)]


def _by_step(folder: Path) -> list[tuple[int, Path]]:
    """Steps and checkpoints, oldest first; folders of other names are somebody's copies."""
    found = ((step_of(path.name), path) for path in folder.glob("step-*"))
    return sorted((step, path) for step, path in found if step is not None)


def read_newest(folder: Path, accept: Callable[[Parts], bool] = lambda parts: True) -> Checkpoint:
    """The newest whole checkpoint that ``accept`` takes. Raises DiptychError if there is none."""
    problems: list[str] = []
    for checkpoint in reversed(checkpoints(folder)):
        try:
            found = read(checkpoint)
            if accept(found.parts):
                return found._replace(problems=problems)
            problems.append(f"the checkpoint {checkpoint} is of a training that was failing")
        except NewerCheckpointError:
            raise
        except DiptychError as error:
            problems.append(str(error))
    reasons = f" ({problems[0]})" if problems else ""
    raise DiptychError(f"there is no checkpoint to resume from in {folder}{reasons}")


def sweep(folder: Path) -> None:
    """Remove what a process that was killed while writing has left behind.

    Where one was to be replaced, and the new one had not its name yet, it gets that now.
    """
    for path in folder.glob(".step-*.old.partial"):
        final = folder / path.name.removeprefix(".").removesuffix(".old.partial")
        new = folder / f".{final.name}.partial"
        if not final.exists():
            replace(new if is_checkpoint(new) else path, final)
    for path in folder.glob(".step-*.partial"):
        if path.is_symlink():  # (of somebody's: the next checkpoint would be written elsewhere)
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)


def prune(folder: Path, step: int, keep_last: int, keep_every: int) -> None:
    """Remove leftovers, and all but the ``keep_last`` newest and every ``keep_every``-th step.

    What is of a later step than the present one, and so was found damaged, is not counted.
    """
    sweep(folder)
    made = [(its, path) for its, path in _by_step(folder) if its <= step]
    for its, path in made[:-keep_last]:
        if not keep_every or its % keep_every:
            shutil.rmtree(path, ignore_errors=True)


def drop_after(folder: Path, step: int) -> None:
    """Remove those of later steps: a run that went back must not be resumed from them."""
    for its, path in _by_step(folder):
        if its > step:
            shutil.rmtree(path, ignore_errors=True)
