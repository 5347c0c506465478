"""``diptych data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """Show the public CycleGAN data sets."""
    from diptych.cli.console import say
    from diptych.data.catalog import AUTHORS, DATA_SETS

    for one in DATA_SETS:
        size = f"{one.size / 1e6:.0f} MB" if one.size is not None else "size unknown"
        say(f"{one.name:22}  {size:>12}  A: {one.a}, B: {one.b}")
    say(f"\nEach is at {AUTHORS}/NAME.zip\n\nWhose pictures they are:")
    for licence in dict.fromkeys(one.licence for one in DATA_SETS):
        say(f"  {licence}")
        say(f"    {', '.join(one.name for one in DATA_SETS if one.licence == licence)}")
    say("\nnext: diptych data get NAME")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="One of those that `diptych data list` shows.")],
    out: Annotated[
        Optional[Path], typer.Option("-o", "--out", help="Folder to make. Default: data/NAME.")
    ] = None,
    mirror: Annotated[
        Optional[str],
        typer.Option(envvar="DIPTYCH_MIRROR", help="Address of a folder with the same zip files."),
    ] = None,
    url: Annotated[
        Optional[str],
        typer.Option(help="Address of any other zip file; NAME may then be a new one."),
    ] = None,
    sha256: Annotated[
        Optional[str], typer.Option(help="With --url: the checksum the file must have.")
    ] = None,
) -> None:
    """Download a data set and unpack it."""
    from rich.filesize import decimal

    from diptych.cli.console import progress_bar, say
    from diptych.data.catalog import AUTHORS, find
    from diptych.data.download import fetch, unpack
    from diptych.errors import UsageError

    folder = out if out is not None else Path("data") / name
    if folder.exists():
        raise UsageError(f"{folder} exists already: use it, remove it, or choose another -o")
    if url is None:
        data_set = find(name)
        url, sha256 = data_set.address(mirror or AUTHORS), data_set.sha256
    archive = folder.with_name(f".{folder.name}.zip")
    with progress_bar() as progress:
        bar = progress.add_task(f"getting {name}", total=None, info="")

        def show(have: int, total: int | None) -> None:
            whole = decimal(total) if total is not None else "?"
            progress.update(bar, completed=have, total=total, info=f"{decimal(have)} of {whole}")

        fetch(url, archive, sha256, show)
        progress.update(bar, info="unpacking")
        files = unpack(archive, folder)
        progress.update(bar, info="")
    archive.unlink()
    say(f"{files} files in {folder}")
    say(f"next: diptych train --data {folder} --run runs/{name}")
