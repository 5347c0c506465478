"""Arguments and options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

FolderA = Annotated[Optional[Path], typer.Argument(help="Folder of domain A.")]
FolderB = Annotated[Optional[Path], typer.Argument(help="Folder of domain B.")]
BothFolders = Annotated[
    Optional[Path], typer.Option(help="Instead of A and B: a folder with trainA, trainB ...")
]
RunOrModel = Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")]
Strength = Annotated[
    float,
    typer.Option(
        help="How much a model that retouches (laptop) changes pictures: 1 as it has learned to, "
        "0.5 half as much, 1.5 half again as much."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
