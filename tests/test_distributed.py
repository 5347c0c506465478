"""Two processes under torchrun, on the CPU."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import LONGEST
from conftest import TINY, TINY_OPTIONS
from safetensors.torch import load_file

from diptych.data.domain import data_folders, open_domains
from diptych.settings import build_config, merge
from diptych.training.run_folder import RunFolder
from diptych.training.trainer import Trainer

# Without the dashes some versions of Python take the --run behind them for one of torchrun's own.
COMMAND = ["-m", "--", "diptych", "train", "--run"]


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    return subprocess.run(
        [sys.executable, "-m", *launcher, "--rdzv-endpoint", "127.0.0.1:0", *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_two_processes_make_the_step_of_one_with_twice_the_batch(
    towns: Path, tmp_path: Path
) -> None:
    done = torchrun(Path(__file__).with_name("torchrun_step.py"), towns, tmp_path, "1")
    assert done.returncode == 0, done.stderr
    ranks = [load_file(tmp_path / f"rank-{rank}.safetensors") for rank in (0, 1)]
    for name, tensor in ranks[0].items():
        assert torch.equal(tensor, ranks[1][name]), name

    config = build_config(merge(TINY, {"training": {"batch": 2}}))
    a, b = open_domains(data_folders(towns), config)
    single = Trainer(config, RunFolder(tmp_path), a, b, torch.device("cpu"))
    single.step()
    for name, parameter in single.state.model.named_parameters():
        torch.testing.assert_close(
            ranks[0][f"gradient.{name}"], parameter.grad, atol=1e-5, rtol=1e-4, msg=name
        )
    for name, loss in single.state.losses.take_means().items():
        assert float(ranks[0][f"loss.{name}"]) == pytest.approx(loss, rel=1e-3), name


def test_weights_stay_equal_over_many_steps(towns: Path, tmp_path: Path) -> None:
    done = torchrun(Path(__file__).with_name("torchrun_step.py"), towns, tmp_path, "12")
    assert done.returncode == 0, done.stderr
    first, second = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_command_trains_and_resumes_under_torchrun(
    towns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the line that it prints for that."""
    run = tmp_path / "run"
    done = torchrun(*COMMAND, run, "--data", towns, *TINY_OPTIONS, "--steps", "8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: 8 steps") == 1  # one process speaks for both
    assert done.stdout.count("next: ") == 1
    newest = max((run / "checkpoints").iterdir())
    parts = {path.name.removesuffix(".safetensors") for path in newest.iterdir()}
    assert {"model", "networks", "optimizer-G", "process-0", "process-1"} <= parts
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not RunFolder(run).resume_command.startswith("torchrun")  # (it says nothing by itself)
    for name in ("RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "0")
    launcher, processes, two, *typed = shlex.split(RunFolder(run).resume_command)
    assert (launcher, processes, two) == ("torchrun", "--nproc-per-node", "2")
    monkeypatch.undo()
    longer = torchrun(*typed, "--steps", "12")
    assert longer.returncode == 0, longer.stderr
    assert [line["step"] for line in RunFolder(run).read_metrics()] == [3, 6, 8, 9, 12]
    alone = subprocess.run(
        [sys.executable, "-m", "diptych", "train", "--run", run, "--resume", "--steps", "16"],
        capture_output=True, text=True, timeout=LONGEST,
    )  # fmt: skip
    assert alone.returncode == 1
    assert "made with 2 processes" in alone.stderr
