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
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
