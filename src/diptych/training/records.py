"""The small files of a run as they are trusted: read, checked field by field, or refused.

A run folder may come from a stranger, or have been edited, or cut short by a full disk.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from diptych.data.domain import Folders
from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError
from diptych.evaluation.results import Evaluation
from diptych.evaluation.table import ScoreTable
from diptych.words import first_line

T = TypeVar("T")
Number = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]  # that can be drawn


class SkippedRecord(TypedDict):
    """A picture that was left out."""

    name: str
    reason: str


class DomainRecord(TypedDict):
    """What ``data.json`` says about one domain."""

    training_pictures: int
    fingerprint: str
    heldout_fingerprint: str
    pixel_format: PixelFormat
    heldout: list[str]
    learned_from: list[str]  # those of them by which scores flatter
    skipped: list[SkippedRecord]


class PicturesRecord(TypedDict):
    """What ``pictures.json`` says about one domain: the sha256 of each file in it, by its name."""

    trained: dict[str, str]
    heldout: dict[str, str]


class DataRecord(TypedDict):
    """``data.json``."""

    folders: Folders
    a: DomainRecord
    b: DomainRecord


def flattering(data: DataRecord) -> int:
    """How many held-out pictures had been learned from."""
    return len(data["a"]["learned_from"]) + len(data["b"]["learned_from"])


@dataclass(frozen=True)
class StoredEvaluation:
    """``evaluation.json``."""

    tables: list[ScoreTable]
    evaluation: Evaluation


@dataclass(frozen=True)
class StoredTable(ScoreTable):
    """``scores.json`` of the demo: a table, and the step of the model that it is about."""

    step: int


def read_record(path: Path, kind: type[T]) -> T:
    """The content of a JSON file of this kind. Raises DiptychError if it is anything else."""
    if path.exists() and not path.is_file():  # (a pipe would be waited for)
        raise DiptychError(f"cannot read {path}: it is no file")
    try:
        return TypeAdapter(kind).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise DiptychError(f"cannot read {path}: {first_line(error)}") from error


def readable(path: Path, kind: type[T]) -> T | None:
    """As ``read_record``; None for what is absent, cut short, or of another version of diptych."""
    try:
        return read_record(path, kind)
    except DiptychError:
        return None


def append_line(path: Path, step: int, values: dict[str, Any]) -> None:
    """One line more in a JSON-lines file, whose last one may have been cut short."""
    line = json.dumps({"step": step, **values}) + "\n"
    with open(path, "a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(line.encode())


def read_lines(path: Path, values: type[T]) -> list[dict[str, T]]:
    """The lines of a JSON-lines file, each with a ``step`` and other values; none if it is missing.

    What is not such a line is passed over: the last one may have been cut short.
    """
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    reading = TypeAdapter(dict[str, values])  # type: ignore[valid-type]
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            step = line.pop("step")
            lines.append({"step": int(step), **reading.validate_python(line)})
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return lines
