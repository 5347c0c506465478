"""A generator as a PyTorch program that needs none of our code."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch._inductor import aoti_compile_and_package

from diptych.errors import DiptychError
from diptych.interchange.program import ExportedWay, trace
from diptych.words import first_line


def write_program(way: ExportedWay, path: Path, facts: Mapping[str, str], uint8: bool) -> None:
    """Write the program of ``trace`` for ``torch.export.load``.

    ``facts`` go with it, as JSON in the extra file ``diptych.json``.
    """
    extra = {"diptych.json": json.dumps(dict(facts))}
    content = io.BytesIO()
    torch.export.save(trace(way, uint8), content, extra_files=extra)
    path.write_bytes(content.getvalue())


def write_compiled(way: ExportedWay, path: Path, facts: Mapping[str, str], uint8: bool) -> None:
    """Write the program compiled for this kind of processor, as an AOTInductor package.

    Takes minutes. Raises DiptychError where there is no C++ compiler, or it fails.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "cl")):
        raise DiptychError(
            "--format aotinductor needs a C++ compiler, and there is none here: install g++, or "
            "use --format torch, which needs none"
        )
    program = trace(way, uint8)
    try:
        aoti_compile_and_package(
            program, package_path=str(path), inductor_configs={"aot_inductor.metadata": dict(facts)}
        )
    except Exception as error:  # (of whatever kind the compiler's driver raises)
        raise DiptychError(
            f"the compiler failed: {first_line(error)} (--debug shows all it said)"
        ) from error
