"""A run: the folder that holds everything about one training."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from diptych.config import Config, build_config, read_config_file, to_yaml
from diptych.data.domain import Domain, Folders
from diptych.errors import DiptychError, UsageError
from diptych.files import explain_os_errors, write_whole
from diptych.training import lock
from diptych.training.lock import only_one


@dataclass(frozen=True)
class RunFolder:
    """Names inside a run folder, and reading and writing of its small files."""

    path: Path

    @cached_property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @cached_property
    def samples(self) -> Path:
        return self.path / "samples"

    @cached_property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @cached_property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @cached_property
    def report(self) -> Path:
        return self.path / "report.html"

    @cached_property
    def best_model(self) -> Path:
        return self.path / "model-best.safetensors"

    @cached_property
    def evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @cached_property
    def warnings(self) -> Path:
        return self.path / "warnings.jsonl"

    @cached_property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    def exists(self) -> bool:
        return (self.path / "config.yaml").is_file()

    def check_free(self) -> None:
        """Refuse a folder that holds a run with anything saved, or other files."""
        if self.exists():
            if not self.model.exists() and not any(self.checkpoints.glob("step-*")):
                return  # it stopped before anything was learned
            raise UsageError(
                f"{self.path} already holds a run: continue it with --resume, "
                "or choose another --run"
            )
        if self.path.exists() and (not self.path.is_dir() or self._holds_files()):
            raise UsageError(f"{self.path} is not empty: choose another --run")

    def _holds_files(self) -> bool:
        return any(path.name != lock.NAME for path in self.path.iterdir())

    @contextmanager
    def made(self, config: Config) -> Iterator[None]:
        """Make the folder, lock it for the block, and write down the settings.

        Raises DiptychError if it cannot be written, or another process is in it.
        """
        with explain_os_errors(f"write the run folder {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
        with only_one(self.path):
            self.check_free()
            with explain_os_errors(f"write the run folder {self.path}"):
                self.samples.mkdir(exist_ok=True)
                self.checkpoints.mkdir(exist_ok=True)
                write_whole(self.path / "config.yaml", to_yaml(config, made_with()))
            yield

    def config(self) -> Config:
        """The settings of the run. Raises DiptychError if there is no run here."""
        if not self.exists():
            raise DiptychError(f"there is no run in {self.path}: check the name")
        return build_config(read_config_file(self.path / "config.yaml"))

    def write_data(self, folders: Folders, a: Domain, b: Domain) -> None:
        """Note where the pictures are, how they are stored, and which are held out."""
        data: dict[str, Any] = {
            "folders": {k: str(v.absolute()) if v else None for k, v in vars(folders).items()}
        }
        for name, domain in (("a", a), ("b", b)):
            data[name] = {
                "training_pictures": len(domain.train),
                "fingerprint": domain.fingerprint(),
                "pixel_format": vars(domain.pixel_format),
                "heldout": [str(path.absolute()) for path in domain.heldout],
                "skipped": [vars(one) for one in domain.skipped],
            }
        write_whole(self.path / "data.json", json.dumps(data, indent=1))

    def check_data(self, a: Domain, b: Domain) -> None:
        """Refuse to go on with other training pictures than the run began with."""
        for name, domain in (("a", a), ("b", b)):
            if self.data()[name]["fingerprint"] != domain.fingerprint():
                raise DiptychError(
                    f"the pictures in {domain.folder} have changed since {self.path} began: put "
                    "them back, or start a new run"
                )

    def data(self) -> dict[str, Any]:
        """What ``write_data`` wrote."""
        path = self.path / "data.json"
        try:
            data: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DiptychError(f"cannot read {path}: {error}") from error
        return data

    def folders(self) -> Folders:
        """The picture folders that the run was started with."""
        found = self.data()["folders"]
        tests = [Path(found[key]) if found[key] else None for key in ("test_a", "test_b")]
        return Folders(Path(found["a"]), Path(found["b"]), *tests)

    def sweep(self) -> None:
        """Remove what a process that was killed while writing has left behind."""
        for path in self.path.glob(".*.partial"):
            path.unlink(missing_ok=True)

    def read_metrics(self) -> list[dict[str, float]]:
        """One dictionary per log step."""
        return _read_lines(self.metrics)

    def read_warnings(self) -> list[dict[str, Any]]:
        """Steps and texts of what looked wrong during the training."""
        return _read_lines(self.warnings)

    def read_evaluations(self) -> list[dict[str, float]]:
        """One dictionary per scoring of held-out pictures (``training.evaluate_every``)."""
        return _read_lines(self.evaluations)

    def read_evaluation(self, step: int) -> dict[str, Any] | None:
        """What ``diptych evaluate`` wrote: tables and scores, if of the model of this step."""
        if not self.evaluation.is_file():
            return None
        try:
            found: dict[str, Any] = json.loads(self.evaluation.read_text())
            return found if found["evaluation"]["step"] == step else None
        except (ValueError, KeyError):
            return None  # cut short


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file, or none; a last one that was cut short is left out."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def made_with() -> dict[str, str]:
    """Versions that a result may depend on."""
    found = {
        "diptych": version("diptych"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    here = Path(__file__).parent
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=here, capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
        found["git"] = revision.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass  # installed from a package, not from a checkout
    return found
