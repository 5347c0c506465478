"""``diptych train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from diptych.cli.options import BothFolders, FolderA, FolderB


def train(
    a: FolderA = None,
    b: FolderB = None,
    run: Annotated[Path, typer.Option(help="Folder to make for this training.")] = Path("runs/run"),
    data: BothFolders = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run.")] = False,
    resume_if_there: Annotated[
        bool,
        typer.Option(
            "--resume-if-there",
            help="Start, or go on if it has begun: one command for jobs that are queued again.",
        ),
    ] = False,
    preset: Annotated[
        Optional[str],
        typer.Option(
            help="laptop, repaint, paper or classic. Default: paper with a CUDA or ROCm "
            "GPU; else laptop, or repaint for CUT and networks that cannot retouch."
        ),
    ] = None,
    from_: Annotated[
        Optional[Path],
        typer.Option(
            "--from", help="Start from this run or model file (also of `diptych import`)."
        ),
    ] = None,
    config: Annotated[
        Optional[Path], typer.Option(help="YAML file of settings, on top of the preset.")
    ] = None,
    method: Annotated[
        Optional[str],
        typer.Option(help="cyclegan (both ways), or cut, fastcut: from A to B only."),
    ] = None,
    steps: Annotated[Optional[int], typer.Option(help="Length in steps ...")] = None,
    epochs: Annotated[
        Optional[int], typer.Option(help="... in passes over the larger domain ...")
    ] = None,
    minutes: Annotated[Optional[float], typer.Option(help="... or in minutes.")] = None,
    max_minutes: Annotated[
        Optional[float],
        typer.Option(min=0, help="Save and end after this time; go on later with --resume."),
    ] = None,
    size: Annotated[
        Optional[int], typer.Option(help="Pixels a side of the training crops.")
    ] = None,
    preprocess: Annotated[
        Optional[str],
        typer.Option(help="resize-crop, resize, crop, scale-width-crop or none."),
    ] = None,
    batch: Annotated[Optional[int], typer.Option(help="Pictures of each domain per batch.")] = None,
    accumulate: Annotated[Optional[int], typer.Option(help="Batches per step.")] = None,
    seed: Annotated[
        Optional[int],
        typer.Option(help="Same seed, same result: on a CPU, by steps or epochs, as many threads."),
    ] = None,
    device: Annotated[Optional[str], typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    precision: Annotated[Optional[str], typer.Option(help="auto, float32, bf16 or fp16.")] = None,
    channels: Annotated[
        Optional[int], typer.Option(help="Channels to read: 1 for grey, 3 for colour, or N.")
    ] = None,
    depth: Annotated[
        Optional[str], typer.Option(help="8bit, or native: keep 16-bit and float values.")
    ] = None,
    range_a: Annotated[
        Optional[str],
        typer.Option(
            help="low,high: A's values, mapped to -1 .. 1. More such pairs: one for each channel."
        ),
    ] = None,
    range_b: Annotated[Optional[str], typer.Option(help="The same for B.")] = None,
    background: Annotated[
        Optional[str], typer.Option(help="Colour behind transparent pictures.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse damaged pictures instead of leaving them out.")
    ] = False,
    keep_every: Annotated[
        Optional[int], typer.Option(help="Keep the checkpoint of every N-th step for good.")
    ] = None,
    evaluate_every: Annotated[
        Optional[int],
        typer.Option(
            help="Score held-out pictures every N steps, in the training's own time; keep the best "
            "model by KID."
        ),
    ] = None,
    set_: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="Any setting: section.key=value. Can be repeated."),
    ] = None,
) -> None:
    """Learn to translate between two folders of pictures."""
    from diptych.cli.console import say, training_listener
    from diptych.config import LENGTHS
    from diptych.errors import UsageError
    from diptych.settings import given, merge, parse_assignment, section
    from diptych.training.run_folder import RunFolder
    from diptych.training.start import run_training
    from diptych.words import typed

    if resume and resume_if_there:
        raise UsageError("--resume and --resume-if-there disagree: leave one of them out")
    length = given(steps=steps, epochs=epochs, minutes=minutes)
    domain = given(channels=channels, depth=depth)
    settings: dict[str, Any] = {
        **given(method=method),
        "data": given(
            size=size, preprocess=preprocess, background=background, strict=strict or None
        ),
        "training": {
            **length,
            **given(
                batch=batch, accumulate=accumulate, seed=seed, device=device,
                precision=precision, keep_every=keep_every, evaluate_every=evaluate_every,
            ),
        },
        "a": {**domain, **given(range=_ranges("--range-a", range_a))},
        "b": {**domain, **given(range=_ranges("--range-b", range_b))},
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


def _ranges(option: str, text: str | None) -> list[float] | list[list[float]] | None:
    from diptych.errors import UsageError

    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
        pairs = [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
    except ValueError:
        raise UsageError(
            f"{option} {text!r}: write it as low,high, as in 0,4095; a pair for each channel"
        ) from None
    return pairs[0] if len(pairs) == 1 else pairs
