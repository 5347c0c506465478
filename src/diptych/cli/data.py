"""``diptych data``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from diptych.cli import options

if TYPE_CHECKING:
    from diptych.data.check import Check, Part
    from diptych.settings import Tree

SHOWN = 5  # files of each finding; --json has all

app = typer.Typer()


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
    sha256: Annotated[Optional[str], typer.Option(help="The checksum the file must have.")] = None,
) -> None:
    """Download a data set and unpack it."""
    from rich.filesize import decimal

    from diptych.cli.console import one_bar, say
    from diptych.data.catalog import AUTHORS, data_set_named
    from diptych.data.download import BrokenArchiveError, fetch, unpack
    from diptych.errors import DiptychError, UsageError
    from diptych.host.files import explain_os_errors
    from diptych.host.lock import only_one
    from diptych.words import typed

    folder = out if out is not None else Path("data") / name
    if folder.exists():
        raise UsageError(f"{folder} exists already: use it, remove it, or choose another -o")
    if url is None:
        data_set = data_set_named(name)
        url, sha256 = data_set.address(mirror or AUTHORS), sha256 or data_set.sha256
    archive = folder.with_name(f".{folder.name}.zip")
    with explain_os_errors(f"write the folder {folder.parent}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
    lock = only_one(folder.parent, f".{folder.name}.lock", "-o")
    with lock, one_bar(f"getting {name}") as show:

        def arrived(have: int, total: int | None) -> None:
            whole = decimal(total) if total is not None else "?"
            show(have, total, f"{decimal(have)} of {whole}")

        fetch(url, archive, sha256, arrived)
        show(1, 1, "unpacking")
        try:
            files = unpack(archive, folder)
        except BrokenArchiveError as error:
            archive.unlink()
            raise DiptychError(f"{error} (it was removed: this command brings it anew)") from error
        except DiptychError as error:
            if sha256 is None:  # (nothing would tell that it is the same)
                archive.unlink()
                raise
            raise DiptychError(f"{error} (it is kept: mend that, and try again)") from error
        archive.unlink()
        show(1, 1, "")
    say(f"{files} files in {folder}")
    say(f"next: diptych train --data {typed(folder)} --run runs/{typed(name)}")


@app.command()
def check(
    a: options.FolderA = None,
    b: options.FolderB = None,
    data: options.BothFolders = None,
    preset: options.Preset = None,
    from_: options.From = None,
    config: options.ConfigFile = None,
    method: options.Method = None,
    size: options.Size = None,
    preprocess: options.Preprocess = None,
    batch: options.Batch = None,
    channels: options.Channels = None,
    depth: options.Depth = None,
    range_a: options.RangeA = None,
    range_b: options.RangeB = None,
    background: options.Background = None,
    strict: options.Strict = False,
    set_: options.Set = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with every file.")] = False,
) -> None:
    """Say what is wrong with the pictures, and what training would do with them.

    Give it the same options as your training, as far as it has them. Exit code 1 if training
    would refuse the pictures.
    """
    import json
    from dataclasses import asdict

    from diptych.cli.console import one_bar
    from diptych.data.check import check
    from diptych.settings import given, merge, parse_assignment
    from diptych.training.choice import make_config
    from diptych.training.start import pick_folders
    from diptych.words import typed

    settings: Tree = {
        **given(method=method),
        **options.settings_of_pictures(
            size, preprocess, channels, depth, range_a, range_b, background, strict
        ),
        "training": given(batch=batch),
    }
    for assignment in set_ or []:
        settings = merge(settings, parse_assignment(assignment))
    folders = pick_folders(a, b, data)
    used = make_config(preset, config, settings, from_)
    if json_:
        found = check(folders, used)
        print(json.dumps({"usable": found.usable, **asdict(found)}, indent=1))
    else:
        with one_bar("reading") as show:
            found = check(folders, used, lambda done, total: show(done, total, f"{total} pictures"))
        chosen = {
            "--data": data, "--preset": preset, "--from": from_, "--config": config,
            "--method": method, "--size": size, "--preprocess": preprocess,
            "--batch": batch, "--channels": channels, "--depth": depth,
            "--range-a": range_a, "--range-b": range_b, "--background": background,
        }  # fmt: skip
        words = [str(folder) for folder in (a, b) if folder is not None]
        for option, value in given(**chosen).items():
            words += [option, str(value)]
        words += ["--strict"] if strict else []
        words += [word for assignment in set_ or [] for word in ("--set", assignment)]
        _print(found, " ".join(map(typed, words)))
    raise typer.Exit(0 if found.usable else 1)


def _print(found: Check, request: str) -> None:
    from diptych.cli.console import say
    from diptych.words import printable

    for part in found.parts:
        say(printable(_about(part)))
    for finding in found.findings:
        say(f"\n{finding.kind} ({len(finding.cases)}): {finding.advice}", style="yellow")
        for case in finding.cases[:SHOWN]:
            files = " = ".join(case.files[:SHOWN])
            if len(case.files) > SHOWN:
                files += f" = {len(case.files) - SHOWN} more"
            say(printable(f"  {files}  ({case.about})"))
        if len(finding.cases) > SHOWN:
            say(f"  and {len(finding.cases) - SHOWN} more; --json lists all")
    say(f"\ntraining with preset {found.preset}: {found.crops}")
    for plan in found.plans:
        say(
            f"  {plan.name}: {plan.train} to learn from, {plan.held_out} held out, "
            f"{plan.left_out} left out ({plan.values})"
        )
    if found.refused is None:
        say(f"\nusable; next: diptych train {printable(request)} --run runs/NAME")
    else:
        say(f"\ntraining would refuse this: {found.refused}", style="red")


def _about(part: Part) -> str:
    """``A: 120 pictures in horses: 119 JPEG, 1 PNG; RGB; 256 x 256``."""
    from diptych.data.folder import kinds_in_words

    def counts(of: dict[str, int], most: int = 4) -> str:
        if len(of) == 1:
            return next(iter(of))
        shown = ", ".join(f"{count} {what}" for what, count in list(of.items())[:most])
        return shown + (f", {len(of) - most} others" if len(of) > most else "")

    text = f"{part.name}: {part.readable} pictures in {part.folder}"
    if part.readable:
        text += f": {counts(part.formats)}; {counts(part.modes)}; {counts(part.sizes)}"
    if part.passed_over:
        text += f" (passed over: {kinds_in_words(part.passed_over)})"
    return text
