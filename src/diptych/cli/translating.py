"""Pictures and videos translated with a bar and notes: what ``diptych translate`` shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.sides import Side
    from diptych.translation.jobs import Job
    from diptych.translation.translator import Translator


def translate_pictures(
    translator: Translator, jobs: Sequence[Job], out: Path, to: Side, size: int | None, batch: int
) -> list[str]:
    """What was wrong with those that were skipped."""
    from diptych.cli.console import note, progress_bar
    from diptych.host.interrupt import InterruptedRunError, StopNowError
    from diptych.translation.files import Outcome, translate_files
    from diptych.words import counted, printable

    if not jobs:
        return []
    with progress_bar() as progress:
        bar = progress.add_task("translating", total=len(jobs), info="")
        done, shown, before = 0, 0.0, [_stamp(job.target) for job in jobs]
        remarks: Counter[str] = Counter()

        def show_part(pictures: float) -> None:
            nonlocal shown
            shown = max(shown, pictures)  # (one may be written, while the next is translated)
            progress.update(bar, completed=shown)

        def show(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            show_part(done)
            progress.update(bar, info=printable(outcome.job.source.name))
            if outcome.problem is not None:
                note(f"skipped {outcome.job.source}: {outcome.problem}")
            for remark in () if outcome.problem else outcome.remarks:
                remarks[remark.about] += 1
                if remarks[remark.about] == 1:  # (of a folder the others are like it)
                    note(f"{outcome.job.source}: {remark.said}")

        try:
            outcomes = translate_files(translator, jobs, to, size, batch, show, show_part)
        except StopNowError as stopped:
            made = sum(_stamp(job.target) != stamp for job, stamp in zip(jobs, before, strict=True))
            advice = "" if any(before) else "; the same with --skip-existing goes on"
            raise InterruptedRunError(
                f"stopped: {made} of {len(jobs)} pictures are in {out}{advice}",
                stopped.signal_number,
            ) from None
    for about, count in remarks.items():
        if count > 1:
            note(f"the same, about {about}, of {counted(count - 1, 'more picture')}")
    return [f"{outcome.job.source}: {outcome.problem}" for outcome in outcomes if outcome.problem]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Another one once a file has been written; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def translate_clips(
    translator: Translator, jobs: Sequence[Job], to: Side, size: int | None, batch: int,
    smooth: float, alone: bool,
) -> list[str]:  # fmt: skip
    """What was wrong with those that were skipped; of one that is ``alone`` it is raised."""
    from diptych.cli.console import note
    from diptych.errors import DiptychError
    from diptych.host.interrupt import InterruptedRunError

    problems = []
    for job in jobs:
        try:
            _translate_clip(translator, job, to, size, batch, smooth)
        except InterruptedRunError:
            raise
        except DiptychError as error:
            if alone:
                raise
            problems.append(str(error))  # (which names it)
            note(f"skipped a video: {error}")
    return problems


def _translate_clip(
    translator: Translator, job: Job, to: Side, size: int | None, batch: int, smooth: float
) -> None:
    from diptych.cli.console import note, progress_bar
    from diptych.host.interrupt import InterruptedRunError, stop_on_signals
    from diptych.translation.clips import translate_clip
    from diptych.words import counted, duration, printable

    with progress_bar() as progress, stop_on_signals() as request:
        bar = progress.add_task(printable(job.source.name), total=None, info="")

        def show(done: int, expected: int | None) -> None:
            progress.update(bar, completed=done, total=expected, info=f"frame {done}")

        outcome = translate_clip(
            translator, job, to, size, batch, smooth, show, lambda: request.signal_number != 0
        )
        if not outcome.stopped:
            progress.update(bar, total=outcome.frames)
    if outcome.remark is not None:
        note(outcome.remark)
    if outcome.stopped:
        raise InterruptedRunError(
            f"stopped after {counted(outcome.frames, 'frame')}: the first "
            f"{duration(outcome.seconds)} are in {outcome.target}",
            request.signal_number,
        )
