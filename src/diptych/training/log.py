"""What a run writes down as it goes: metrics.jsonl, TensorBoard, sample sheets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from diptych.files import write_whole
from diptych.training.checkpoint import step_name
from diptych.training.run_folder import RunFolder


class Log:
    """Opens the run's logs to go on after ``step``; what was written beyond it is dropped.

    (A run that was killed after logging and before saving does those steps again.)
    """

    def __init__(self, run: RunFolder, step: int) -> None:
        self.run = run
        for path, lines in (
            (run.metrics, run.read_metrics()),
            (run.evaluations, run.read_evaluations()),
        ):
            if lines:
                kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= step]
                write_whole(path, "".join(kept))
        self.tensorboard = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One line in metrics.jsonl; the same numbers for TensorBoard."""
        self._write_line(self.run.metrics, step, metrics)

    def write_evaluation(self, step: int, scores: dict[str, float]) -> None:
        """One line in evaluations.jsonl; the same numbers for TensorBoard."""
        self._write_line(self.run.evaluations, step, scores)

    def _write_line(self, path: Path, step: int, values: dict[str, float]) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, step)

    def write_samples(self, step: int, sheet: Image.Image) -> None:
        """``samples/step-*.png``; the same picture for TensorBoard."""
        self.run.samples.mkdir(exist_ok=True)
        sheet.save(self.run.samples / f"{step_name(step)}.png")
        self.tensorboard.add_image("samples", np.asarray(sheet), step, dataformats="HWC")

    def close(self) -> None:
        """Flush TensorBoard's file and close it."""
        self.tensorboard.close()


def _keep_until(step: int, path: Path, lines: list[dict[str, float]]) -> None:
    kept = [line for line in lines if line["step"] <= step]
    if path.is_file():  # (its last line may have been cut short)
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
