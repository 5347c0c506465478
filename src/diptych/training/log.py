"""What a run writes down as it goes: lines of JSON, TensorBoard, sample sheets."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.host.files import flush_to_disk, write_whole
from diptych.training.checkpoint import step_name, step_of
from diptych.training.records import append_line
from diptych.training.run_folder import RunFolder
from diptych.training.summary import SummaryWriter


class Log:
    """Opens the run's logs to go on after ``step``; what was written beyond it is dropped.

    (A run that was killed after logging and before saving does those steps again.)
    """

    def __init__(self, run: RunFolder, step: int) -> None:
        self.run = run
        self._drop_beyond(step)
        self.tensorboard = self._opened(step)

    def _opened(self, step: int) -> SummaryWriter:
        return SummaryWriter(str(self.run.tensorboard), purge_step=step + 1)

    def go_back(self, step: int) -> None:
        """Drop what was written beyond ``step``, for TensorBoard too."""
        self._drop_beyond(step)
        self.tensorboard.close()
        self.tensorboard = self._opened(step)

    def _drop_beyond(self, step: int) -> None:
        scores = self.run.read_evaluations()
        for path, lines in (
            (self.run.metrics, self.run.read_metrics()),
            (self.run.evaluations, scores),
            (self.run.warnings, self.run.read_warnings()),
        ):
            if path.exists():
                kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= step]
                write_whole(path, "".join(kept))
        for sheet in self.run.samples.glob("step-*.png"):
            if (step_of(sheet.stem) or 0) > step:
                sheet.unlink()
        self.scored = {line["step"] for line in scores if line["step"] <= step}

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One line in metrics.jsonl; the same numbers for TensorBoard."""
        append_line(self.run.metrics, step, metrics)
        self._show(step, metrics)

    def write_scores(self, step: int, scores: dict[str, float]) -> None:
        """One line in evaluations.jsonl; the same numbers for TensorBoard."""
        append_line(self.run.evaluations, step, scores)
        self._show(step, scores)
        self.scored.add(step)

    def has_scores(self, step: int) -> bool:
        """Whether ``write_scores`` was called for this step, in this session or before."""
        return step in self.scored

    def write_warning(self, step: int, text: str) -> None:
        """One line in warnings.jsonl, which the report shows."""
        append_line(self.run.warnings, step, {"text": text})

    def write_samples(self, step: int, sheet: Image.Image) -> None:
        """``samples/step-*.png``; the same picture for TensorBoard."""
        self.run.samples.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        write_whole(self._sheet(step), buffer.getvalue())
        self.tensorboard.add_image("samples", np.asarray(sheet), step, dataformats="HWC")

    def has_samples(self, step: int) -> bool:
        """Whether there is a sample sheet of this step."""
        return self._sheet(step).exists()

    def sync(self) -> None:
        """Flush all lines to the disk, to outlive a power cut."""
        for path in (self.run.metrics, self.run.evaluations, self.run.warnings):
            if path.exists():
                with open(path, "r+b") as file:  # (Windows flushes only what may be written)
                    flush_to_disk(file.fileno())

    def close(self) -> None:
        """Flush TensorBoard's file and close it."""
        self.tensorboard.close()

    def _sheet(self, step: int) -> Path:
        return self.run.samples / f"{step_name(step)}.png"

    def _show(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, step)
