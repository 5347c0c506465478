"""``diptych train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from diptych.cli import options

if TYPE_CHECKING:
    from diptych.settings import Tree


def train(
    a: options.FolderA = None,
    b: options.FolderB = None,
    run: Annotated[Path, typer.Option(help="Folder to make for this training.")] = Path("runs/run"),
    data: options.BothFolders = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run.")] = False,
    resume_if_there: Annotated[
        bool,
        typer.Option(
            "--resume-if-there",
            help="Start, or go on if it has begun: one command for jobs that are queued again.",
        ),
    ] = False,
    preset: options.Preset = None,
    from_: options.From = None,
    config: options.ConfigFile = None,
    method: options.Method = None,
    steps: Annotated[Optional[int], typer.Option(help="Length in steps ...")] = None,
    epochs: Annotated[
        Optional[int], typer.Option(help="... in passes over the larger domain ...")
    ] = None,
    minutes: Annotated[Optional[float], typer.Option(help="... or in minutes.")] = None,
    max_minutes: Annotated[
        Optional[float],
        typer.Option(min=0, help="Save and end after this time; go on later with --resume."),
    ] = None,
    size: options.Size = None,
    preprocess: options.Preprocess = None,
    batch: options.Batch = None,
    accumulate: Annotated[Optional[int], typer.Option(help="Batches per step.")] = None,
    seed: Annotated[
        Optional[int],
        typer.Option(
            help="Of all random numbers. On a CPU, by steps or epochs and with as many threads, "
            "the same seed gives the same result."
        ),
    ] = None,
    device: Annotated[Optional[str], typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    precision: Annotated[Optional[str], typer.Option(help="auto, float32, bf16 or fp16.")] = None,
    channels: options.Channels = None,
    depth: options.Depth = None,
    range_a: options.RangeA = None,
    range_b: options.RangeB = None,
    background: options.Background = None,
    strict: options.Strict = False,
    keep_every: Annotated[
        Optional[int], typer.Option(help="Keep the checkpoint of every N-th step for good.")
    ] = None,
    evaluate_every: Annotated[
        Optional[int],
        typer.Option(
            help="Score held-out pictures every N steps and keep the best model by KID; scoring "
            "counts towards the minutes."
        ),
    ] = None,
    set_: options.Set = None,
) -> None:
    """Learn to translate between two folders of pictures."""
    from diptych.cli.console import say, training_listener
    from diptych.cli.log import output_is_a_log
    from diptych.config import LENGTHS
    from diptych.errors import UsageError
    from diptych.settings import given, merge, parse_assignment, section
    from diptych.training.run_folder import RunFolder
    from diptych.training.start import run_training
    from diptych.words import typed

    output_is_a_log()
    if resume and resume_if_there:
        raise UsageError("--resume and --resume-if-there disagree: leave one of them out")
    length = given(steps=steps, epochs=epochs, minutes=minutes)
    settings: Tree = {
        **given(method=method),
        **options.settings_of_pictures(
            size, preprocess, channels, depth, range_a, range_b, background, strict
        ),
        "training": {
            **length,
            **given(
                batch=batch, accumulate=accumulate, seed=seed, device=device,
                precision=precision, keep_every=keep_every, evaluate_every=evaluate_every,
            ),
        },
    }  # fmt: skip
    for assignment in set_ or []:
        change = parse_assignment(assignment)
        if length and set(LENGTHS) & given(**section(change, "training")).keys():
            raise UsageError(f"--{next(iter(length))} and --set {assignment}: give one length")
        settings = merge(settings, change)
    settings = {section: values for section, values in settings.items() if values != {}}

    folder = RunFolder(run)
    with training_listener(folder) as listener:
        finished = run_training(
            folder, a, b, data, preset=preset, config=config, start_from=from_,
            resume="if-there" if resume_if_there else resume,
            settings=settings, listener=listener, max_minutes=max_minutes,
        )  # fmt: skip
    if not finished:
        say(f"next: {folder.resume_command}   (the training is not at its end yet)")
        return
    say(f"next: diptych translate {typed(run)} PICTURE -o out/")
    say(f"      diptych report {typed(run)}")
