"""``diptych translate``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from diptych.cli.options import Device, RunOrModel, Strength, TranslatePrecision

if TYPE_CHECKING:
    from diptych.errors import DiptychError
    from diptych.sides import Side
    from diptych.translation.jobs import Existing, Job
    from diptych.translation.translator import Translator


def translate(
    run: RunOrModel,
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, videos, and folders of them.")],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Folder for the translations; for one input also a file."),
    ],
    to: Annotated[str, typer.Option(help="Domain to translate to: a or b.")] = "b",
    size: Annotated[
        Optional[int], typer.Option(help="First scale the shorter side to this many pixels.")
    ] = None,
    format_: Annotated[
        Optional[str],
        typer.Option("--format", help="png, jpg, webp, tif, bmp or npy. Default: png or tif."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once, where sizes agree.")] = 8,
    strength: Strength = 1.0,
    see: Annotated[
        str,
        typer.Option(
            help="What the network sees of larger pictures: pixels of the shorter side. What it "
            "changes is enlarged and added to the picture, which keeps its size. own: all of them. "
            "auto: four times what it was trained on, for models that retouch (laptop, best); for "
            "others own."
        ),
    ] = "auto",
    tile: Annotated[
        str,
        typer.Option(
            help="Large pictures in strips: auto (those that do not fit into memory), off, or so "
            "many rows at a time. The result is the same."
        ),
    ] = "auto",
    smooth: Annotated[
        float,
        typer.Option(
            min=0, help="Videos: against flicker, normalise frames by statistics with this half "
            "life in seconds.",
        ),
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in OUT (but never an input).")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave those that are in OUT: go on where a "
        "translation was stopped.")
    ] = False,
    device: Device = "auto",
    precision: TranslatePrecision = "float32",
) -> None:  # fmt: skip
    """Translate pictures and videos with a trained model."""
    from diptych.cli.console import note, say
    from diptych.cli.log import output_is_a_log
    from diptych.cli.translating import translate_clips, translate_pictures
    from diptych.errors import UsageError, one_of
    from diptych.sides import SIDES
    from diptych.translation.afar import parse_see
    from diptych.translation.clip_names import is_clip
    from diptych.translation.jobs import left_to_do, plan
    from diptych.translation.large import parse_tile
    from diptych.translation.smooth import measures_frames
    from diptych.translation.translator import PRECISIONS, load
    from diptych.translation.writing import sweep
    from diptych.words import counted

    output_is_a_log()
    _check_request(run, inputs, out, size)
    side, computed = one_of("--to", to, SIDES), one_of("--precision", precision, PRECISIONS)
    translator = load(run, device, parse_tile(tile), computed, parse_see(see), strength)
    translator.pair.towards(side)  # (a model of one way says so before it looks for pictures)
    _, target = translator.formats(side)
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing disagree: leave one of them out")
    existing: Existing = "replace" if overwrite else "skip" if skip_existing else "refuse"
    _check_is_free(out, run)
    planned = plan(inputs, out, format_, target)
    _say_of_folders(inputs, side)
    jobs = left_to_do(planned, existing)
    there = len(planned) - len(jobs)
    if not jobs:
        say(f"nothing to do: for each of {len(planned)} there is a file of its name in {out}")
        return
    sweep({job.target.parent for job in jobs})
    clips = [job for job in jobs if is_clip(job.target)]
    pictures = [job for job in jobs if not is_clip(job.target)]
    unplayed = _why_unplayed(translator, side, smooth) if clips else None
    if unplayed is not None and not pictures:
        raise unplayed
    if clips and unplayed is None:
        if smooth and not measures_frames(translator.pair.towards(side)):
            note("--smooth changes nothing: the norms of this model look at no whole frame")
        if format_:
            note("--format is for pictures: videos keep their own, or become .mkv")
    bad_pictures = translate_pictures(translator, pictures, out, side, size, batch)
    if unplayed is None:
        alone = len(planned) == 1
        bad_clips = translate_clips(translator, clips, side, size, batch, smooth, alone)
    else:
        bad_clips = [f"{job.source}: {unplayed}" for job in clips]
        note(f"skipped {counted(len(clips), 'video')}: {unplayed}")
    _say_result([("picture", pictures, bad_pictures), ("video", clips, bad_clips)], there, out)


def _say_result(
    results: Sequence[tuple[str, Sequence[Job], Sequence[str]]], there: int, out: Path
) -> None:
    """``results``: of each kind its jobs, and what was wrong with some; ``there`` before: others.

    Raises DiptychError if there is nothing to show.
    """
    from diptych.cli.console import say
    from diptych.errors import DiptychError
    from diptych.words import counted

    tried = {name: len(jobs) for name, jobs, _ in results if jobs}
    bad = [problem for _, _, problems in results for problem in problems]
    if not there and len(bad) == sum(tried.values()):
        what = " and ".join(counted(number, name) for name, number in tried.items())
        if len(bad) == 1:
            raise DiptychError(f"{what} could not be translated: {bad[0]}")
        raise DiptychError(f"none of the {what} could be translated; the first: {bad[0]}")
    written = " and ".join(
        counted(len(jobs) - len(problems), name) for name, jobs, problems in results if jobs
    )
    notes = [f"{n} {what}" for n, what in ((len(bad), "skipped"), (there, "there before")) if n]
    say(f"{written} written to {out}" + (f" ({', '.join(notes)})" if notes else ""))


def _check_request(run: Path, inputs: Sequence[Path], out: Path, size: int | None) -> None:
    """Raise UsageError for what was mixed up."""
    from diptych.data.decode import SUFFIXES
    from diptych.errors import UsageError

    if "-" in (str(out), *map(str, inputs)):
        raise UsageError("translate reads and writes files, not pipes: name them")
    if run.is_file() and run.suffix.lower() in SUFFIXES:
        raise UsageError(f"{run} is a picture: the run comes first, then pictures, then -o OUT")
    if not _is_model(run):
        for place in filter(_is_model, inputs):
            raise UsageError(f"{place} is a run or model: it comes first, then pictures")
    if size is not None and size < 1:
        raise UsageError(f"--size {size}: give a number of pixels, 1 or more")


def _is_model(place: Path) -> bool:
    from diptych.model_file import MODEL

    return place.suffix == ".safetensors" or os.path.isfile(place / MODEL)


def _say_of_folders(inputs: Sequence[Path], to: Side) -> None:
    """Pictures of both domains that all go one way; others that are passed over."""
    from diptych.cli.console import note
    from diptych.data.folder import OTHER_PICTURES, kinds_in_words, passed_over

    for place in filter(Path.is_dir, inputs):
        kinds = {kind: n for kind, n in passed_over(place).items() if kind in OTHER_PICTURES}
        if kinds:
            note(f"passed over in {place}: {kinds_in_words(kinds)}: save them as PNG, TIFF or JPEG")
        if (place / "trainA").is_dir() and (place / "trainB").is_dir():
            note(f"{place} holds both domains, and all goes to {to}: give {place}/testA or another")


def _check_is_free(out: Path, run: Path) -> None:
    """Raise UsageError where translations would be taken for a run's own files, or learned from."""
    from diptych.errors import UsageError
    from diptych.host.files import lies_in

    if os.path.realpath(out) == os.path.realpath(run) or lies_in(out, run / "samples"):
        raise UsageError(f"{out} is where {run} keeps its own files: choose another output folder")
    for learned in _folders_of(run):
        if lies_in(out, learned):
            raise UsageError(
                f"{out} lies in {learned}, whose pictures {run} was trained on: choose another "
                "output folder"
            )


def _why_unplayed(translator: Translator, to: Side, smooth: float) -> DiptychError | None:
    """Why no video can be translated here, if none can."""
    from diptych.errors import DiptychError
    from diptych.translation.clip_reader import load_av
    from diptych.translation.clips import check_clip_model

    try:
        load_av()
        check_clip_model(translator, to, smooth)
    except DiptychError as error:
        return error
    return None


def _folders_of(run: Path) -> tuple[Path, ...]:
    """Those that a run learned from; none for a model file, or a folder that does not say."""
    from diptych.errors import DiptychError
    from diptych.training.run_folder import RunFolder

    try:
        return RunFolder(run).folders().all
    except DiptychError:
        return ()
