"""What each process of test_distributed.py does: train, then write what came of it to a file."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from conftest import TINY
from safetensors.torch import save_file

from diptych.data.domain import data_folders, open_domains
from diptych.settings import build_config, merge
from diptych.training import distributed
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer

towns, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = build_config(merge(TINY, {"training": {"batch": 1}}))
cpu = torch.device("cpu")
with distributed.process_group(cpu):
    a, b = open_domains(data_folders(towns), config)
    trainer = Trainer(config, RunFolder(out), a, b, cpu)
    for _ in range(steps):
        trainer.step()
    losses = trainer.state.losses.take_means()  # (of which all processes know)
    tensors = {f"loss.{name}": torch.tensor(value) for name, value in losses.items()}
    for name, parameter in trainer.state.model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach()
        assert parameter.grad is not None
        tensors[f"gradient.{name}"] = parameter.grad
    save_file(tensors, out / f"rank-{distributed.rank()}.safetensors")
