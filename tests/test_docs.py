"""The documentation's links lead somewhere, and its code runs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.model_file import load_model, save_model

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def test_links_to_lines_are_right() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "link_lines.py", "--check"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_code_about_exports_runs(trained: Path, towns: Path, tmp_path: Path) -> None:
    """All blocks of docs/deploy.md in their order; LiteRT's own package is tested elsewhere."""
    pytest.importorskip("tensorflow")
    pair = load_model(trained / "model.safetensors", torch.device("cpu"))
    run = tmp_path / "runs" / "h2z"
    run.mkdir(parents=True)
    save_model(run / "model.safetensors", replace(pair, G_ba=None))  # (one way is enough)
    photo = next(towns.glob("testA/*"))
    Image.open(photo).convert("RGB").resize((50, 37)).save(tmp_path / "photo.jpg")
    command = [sys.executable, "-m", "diptych"]
    lines: list[list[str]] = []
    for language, code in BLOCK.findall((ROOT / "docs" / "deploy.md").read_text("utf-8")):
        if language == "python" and "ai_edge_litert" not in code:
            lines.append([sys.executable, "-c", code])
        elif not language:
            lines += [[*command, *line.split()[1:]] for line in code.splitlines()]
    assert len(lines) == 8
    for line in lines:
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    expected = np.array(diptych.load(run).to_b(tmp_path / "photo.jpg"), int)
    for name in ("onnx", "tensorflow", "torch"):
        assert np.abs(expected - np.array(Image.open(tmp_path / f"{name}.png"))).max() <= 1
