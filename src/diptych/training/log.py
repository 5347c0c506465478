"""What a run writes down as it goes: metrics.jsonl, TensorBoard, sample sheets."""

from __future__ import annotations

import json

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
        lines = [line for line in run.read_metrics() if line["step"] <= step]
        write_whole(run.metrics, "".join(json.dumps(line) + "\n" for line in lines))
        self.metrics = open(run.metrics, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.tensorboard = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """One line in metrics.jsonl; the same numbers for TensorBoard."""
        self.metrics.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self.tensorboard.add_scalar(name, value, step)

    def write_samples(self, step: int, sheet: Image.Image) -> None:
        """``samples/step-*.png``; the same picture for TensorBoard."""
        self.run.samples.mkdir(exist_ok=True)
        sheet.save(self.run.samples / f"{step_name(step)}.png")
        self.tensorboard.add_image("samples", np.asarray(sheet), step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close everything."""
        self.metrics.close()
        self.tensorboard.close()
