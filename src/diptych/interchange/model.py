"""Model files from the field's weight files, and back."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from diptych.data.pixels import PixelFormat
from diptych.errors import DiptychError, UsageError
from diptych.host.files import explain_os_errors, write_whole
from diptych.interchange.official import (
    ForeignDiscriminator,
    ForeignGenerator,
    official_tensors,
    rebuild,
)
from diptych.model_file import GeneratorPair, ModelInfo
from diptych.network_config import Norm
from diptych.sides import Side

NORMS: tuple[Norm, ...] = ("instance", "batch", "none")  # of the field's networks


def latest(folder: Path) -> list[Path]:
    """The newest weights in a folder of the field's code, as ``import_model`` takes them.

    Raises DiptychError if there is no generator from A to B.
    """
    names = ("G_A", "G_B", "D_A", "D_B", "G")  # (CUT's one generator is G)
    paths = {name: folder / f"latest_net_{name}.pth" for name in names}
    found = [name for name in names if paths[name].exists()]
    if not {"G_A", "G"} & set(found):
        but = "; to use G_B from A to B give that file" if "G_B" in found else ""
        raise DiptychError(f"there is no latest_net_G_A.pth or latest_net_G.pth in {folder}{but}")
    if "D_A" not in found:  # (D_B alone would stand in its place)
        found = [name for name in found if name != "D_B"]
    return [paths[name] for name in found]


def import_model(files: Sequence[Path], norm: Norm | None = None, size: int = 256) -> GeneratorPair:
    """A model of one or two generators and their discriminators, in the field's order.

    The first generator translates from A to B (``G_A`` there), the second back. Of the
    discriminators the first judges B, since ``D_A`` there stands beside ``G_A``. Raises
    DiptychError for files that are not such weights or do not belong together.
    """
    _check_names(files)
    found = [rebuild(path, norm) for path in files]
    generators = [one for one in found if isinstance(one, ForeignGenerator)]
    judges = [one for one in found if isinstance(one, ForeignDiscriminator)]
    if not generators:
        raise UsageError(f"{files[0]} is a discriminator: give a generator first (G_A)")
    if len(generators) > 2 or len(judges) > 2:
        raise UsageError("give at most two generators (G_A, G_B) and two discriminators (D_A, D_B)")
    there, *back = generators
    if back and (
        back[0].config != there.config
        or (back[0].channels_in, back[0].channels_out) != (there.channels_out, there.channels_in)
    ):
        raise UsageError("the two generators differ in architecture: import them one by one")
    if len({judge.config for judge in judges}) > 1:
        raise UsageError("the two discriminators differ in architecture")
    seen = [judge.channels for judge in judges]
    if seen != [there.channels_out, there.channels_in][: len(seen)]:
        raise UsageError(
            "the discriminators do not fit the generators: D_A must take pictures of B and D_B "
            "those of A (give them in the order D_A, D_B)"
        )
    info = ModelInfo(
        generator=there.config,
        a=PixelFormat(there.channels_in, "uint8", 0, 255),
        b=PixelFormat(there.channels_out, "uint8", 0, 255),
        size=size,
        preprocess="resize-crop",
        background="white",
        step=0,
        discriminator=judges[0].config if judges else None,
    )
    return GeneratorPair(
        there.network,
        back[0].network if back else None,
        info,
        D_b=judges[0].network if judges else None,
        D_a=judges[1].network if len(judges) > 1 else None,
    )


def _check_names(files: Sequence[Path]) -> None:
    """Raise UsageError where names such as G_B say that files stand in each other's place."""
    roles = [m[1] for path in files if (m := re.search(r"([GD]_[AB])\.pth$", path.name))]
    for first, second in (("G_A", "G_B"), ("D_A", "D_B")):
        if first in roles and second in roles and roles.index(second) < roles.index(first):
            raise UsageError(f"give {first} before {second}: the order says what they are")
    if "D_B" in roles and "D_A" not in roles and "G_A" in roles:
        raise UsageError("D_B without D_A would judge the wrong domain: give both, or neither")


def export_official(
    pair: GeneratorPair, ways: Sequence[Side], out: Path, overwrite: bool = False
) -> list[Path]:
    """Write ``latest_net_G_A.pth`` (to B) and ``latest_net_G_B.pth`` (to A); returns the paths.

    Raises DiptychError if the field's code has no such generator, or they cannot be written.
    """
    paths = {to: out / f"latest_net_{'G_A' if to == 'b' else 'G_B'}.pth" for to in ways}
    taken = [path for path in paths.values() if path.exists()]
    if taken and not overwrite:
        raise DiptychError(f"{taken[0]} exists: choose another -o, or --overwrite")
    generator = pair.info.generator
    weights = [official_tensors(pair.towards(to), generator) for to in paths]
    for path, tensors in zip(paths.values(), weights, strict=True):
        content = io.BytesIO()
        torch.save(tensors, content)
        with explain_os_errors(f"write {path}"):
            out.mkdir(parents=True, exist_ok=True)
            write_whole(path, content.getvalue())
    return list(paths.values())
