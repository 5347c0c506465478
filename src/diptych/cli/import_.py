"""``diptych import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer


def import_(
    weights: Annotated[
        list[Path],
        typer.Argument(
            help="latest_net_G_A.pth, and if you have them G_B, D_A, D_B, in order; or the folder "
            "that holds latest_net_*.pth."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file to write.")],
    norm: Annotated[
        Optional[str],
        typer.Option(help="instance, batch or none, if the files do not tell right."),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Pixels a side that it was trained on.")] = 256,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it is there.")
    ] = False,
) -> None:
    """Make a model of weights from the CycleGAN, CUT and GAN Compression repositories."""
    from diptych.cli.console import say
    from diptych.errors import UsageError, one_of
    from diptych.host.files import explain_os_errors
    from diptych.interchange.model import NORMS, import_model, latest
    from diptych.model_file import is_model, save_model
    from diptych.networks.blocks import count_parameters
    from diptych.words import typed

    files = [file for given in weights for file in (latest(given) if given.is_dir() else [given])]
    if out.exists() and any(file.exists() and file.samefile(out) for file in files):
        raise UsageError(f"the model would be written over {out}: choose another -o")
    if out.suffix in (".pth", ".pt", ".ckpt"):
        name = out.with_suffix(".safetensors")
        raise UsageError(f"{out} would be no file of PyTorch, but of diptych: name {name}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists: choose another -o, or --overwrite")
    for file in files:
        if is_model(file):
            raise UsageError(f"{file} is a model of diptych already: use it as it is")
    pair = import_model(files, one_of("--norm", norm, NORMS), size)
    with explain_os_errors(f"write {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
        save_model(out, pair)
    config = pair.info.generator
    both = "both ways" if pair.G_ba is not None else "from A to B only"
    judges = " with discriminators" if pair.D_a is not None or pair.D_b is not None else ""
    say(
        f"{config.architecture} generator, norm {config.norm}, "
        f"{count_parameters(pair.G_ab):,} parameters, {both}{judges}: {out}"
    )
    say(f"next: diptych translate {typed(out)} PICTURE -o out/")
    say(f"      diptych train A/ B/ --from {typed(out)} --run runs/mine")
