"""How a training looks in a terminal: a live line, or plain lines when nobody watches."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from diptych.words import counted, duration, printable

if TYPE_CHECKING:
    from diptych.training.run_folder import RunFolder
    from diptych.training.session import Listener
    from diptych.training.trainer import Trainer
    from diptych.training.watch import Status

# Under torchrun process 0 speaks for all. (Clusters set RANK alone too: see distributed.py.)
console = Console(quiet="MASTER_ADDR" in os.environ and os.environ.get("RANK", "0") != "0")
WIDE = 110  # letters in a line, from which on there is room for a bar
BESIDE = 16  # letters before the text of a line without a bar
PLAIN_EVERY = 30.0  # seconds between lines when the output is a file


def say(line: str = "", style: str | None = None) -> None:
    """Print a line as it is: unbroken, brackets in paths left alone; above a running bar.

    Names of files may hold anything: what does not print is escaped, except for line ends.
    """
    line = "\n".join(printable(part) for part in line.split("\n"))
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def note(line: str) -> None:
    """Print something that a person should know but need not act on."""
    say(f"note: {printable(line)}", style="yellow")


def progress_bar() -> Progress:
    """A line with a text at its end, and a bar and the time gone by where there is room.

    Give it names by ``printable``.
    """
    wide = console.width >= WIDE
    return Progress(
        # (Else rich would take as much from these as from the text, where that is long.)
        TextColumn("{task.description}", markup=False, table_column=Column(min_width=9)),
        *([BarColumn(bar_width=30)] if wide else []),
        TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
        *([TimeElapsedColumn()] if wide else []),
        TextColumn("{task.fields[info]}", markup=False),
        console=console,
        transient=False,
    )


@contextmanager
def one_bar(name: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A bar to be shown with what is done, the total and a text.

    It begins with the first of these: an error before that stands alone.
    """
    progress = progress_bar()
    bar = progress.add_task(name, total=None, info="")

    def show(done: int, total: int | None, info: str) -> None:
        progress.start()
        progress.update(bar, completed=done, total=total, info=info)

    try:
        yield show
    finally:
        if progress.live.is_started:
            progress.stop()


def show_table(title: str, columns: list[str], rows: list[list[str]], note: str = "") -> None:
    """A table under its title, with a remark."""
    say(f"\n{title}", style="bold")
    if rows:
        table, width = _table([columns, *rows])
        page = console
        if width > console.width and console.is_terminal:
            turned, wide = _table(list(zip(*[columns, *rows], strict=True)))  # a column a row
            table = turned if wide < width else table
        elif width > console.width:  # a file or another program takes lines of any length
            page = Console(width=width, quiet=console.quiet)
        page.print(table)
    if note:
        whole = not console.is_terminal  # (lines that other programs search)
        console.print(printable(note), style="dim", markup=False, highlight=False, soft_wrap=whole)


def _table(cells: Sequence[Sequence[str]]) -> tuple[Table, int]:
    """A table whose first row is its head, and how wide it is with nothing wrapped."""
    head, *rows = ([Text(printable(cell)) for cell in row] for row in cells)  # (no markup)
    table = Table()
    for cell in head:
        table.add_column(cell, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table, Measurement.get(console, console.options.update(max_width=10_000), table).maximum


@contextmanager
def training_listener(run: RunFolder) -> Iterator[Listener]:
    """Within the block a training shows itself on the console."""
    from diptych.training.session import Listener

    progress = progress_bar()
    view = _TrainingView(run, progress)
    try:
        yield Listener(view.decoding, view.ready, note, view.watch)
    finally:
        if view.training is not None and view.status is None:  # (it was finished already)
            progress.update(view.training, visible=False)
        if progress.live.is_started:  # (else it would write an empty line before an error)
            progress.stop()
    view.finish()


class _TrainingView:
    def __init__(self, run: RunFolder, progress: Progress) -> None:
        self.run = run
        self.progress = progress
        self.reading: dict[str, TaskID] = {}
        self.reading_plainly: set[str] = set()
        self.training: TaskID | None = None
        self.last_line = time.monotonic()
        self.status: Status | None = None
        self.length, self.length_made = "steps", ""  # what the run's is given in, and how far it is

    def decoding(self, name: str, done: int, total: int) -> None:
        if not console.is_terminal:
            self._decoding_plainly(name, done, total)
            return
        self.progress.start()
        if name not in self.reading:
            self.reading[name] = self.progress.add_task(f"reading {name}", total=total, info="")
        self.progress.update(self.reading[name], completed=done, info=f"{total} pictures")

    def _decoding_plainly(self, name: str, done: int, total: int) -> None:
        """A line at the start, and now and then."""
        now = time.monotonic()
        if name not in self.reading_plainly or now - self.last_line > PLAIN_EVERY:
            begun = name in self.reading_plainly
            say(f"reading {name}: {f'{done} of ' if begun else ''}{total} pictures")
            self.reading_plainly.add(name)
            self.last_line = now

    def ready(self, trainer: Trainer) -> None:
        from diptych.training.room import bytes_needed

        config, state = trainer.config, trainer.state
        (self.length,) = config.training.length
        self.length_made = f"after {state.step} steps in {duration(state.seconds)}"
        megabytes = bytes_needed(trainer) / 1e6
        precision = str(trainer.stepper.precision).removeprefix("torch.")
        say(
            f"{self.run.path}: preset {config.preset}, {config.data.size} px, "
            f"{trainer.device.type} in {precision}, about {megabytes:,.0f} MB of disk"
        )
        for name, domain in (("A", trainer.a), ("B", trainer.b)):
            say(
                f"  {name}: {len(domain.train)} pictures of {domain.folder}, "
                f"{len(domain.heldout)} held out ({domain.pixel_format.describe()})"
            )
        for read in self.reading.values():  # (below, the losses need the room)
            self.progress.update(read, visible=console.width >= WIDE)
        self.training = self.progress.add_task("training", total=1.0, info="")

    def watch(self, status: Status) -> None:
        self.status = status
        self.progress.start()
        info = describe(status)
        if self.training is not None:
            shown = fitting(info, console.width - BESIDE) if console.width < WIDE else info
            self.progress.update(self.training, completed=status.progress, info=shown)
        now = time.monotonic()
        if not console.is_terminal and now - self.last_line > PLAIN_EVERY:
            print(f"{100 * status.progress:5.1f} %  {info}", flush=True)
            self.last_line = now

    def finish(self) -> None:
        if self.status is None:
            say(
                f"{self.run.path} is finished already, {self.length_made}: to go on give a larger "
                f"--{self.length}"
            )
            return
        what = "done" if self.status.progress >= 1 else "saved"
        say(
            f"{what}: {counted(self.status.step, 'step')} in {duration(self.status.seconds)}; "
            f"model in {self.run.model}"
        )


def describe(status: Status) -> str:
    """``step 1200, 8.1/s, 3 min left, cycle 0.12, G 0.31, D 0.24``."""
    if status.steps is not None:  # (sessions may have been on other machines)
        left = (status.steps - status.step) / max(status.steps_per_second, 1e-9)
    else:
        left = status.seconds / max(status.progress, 1e-9) - status.seconds
    text = f"step {status.step}, {status.steps_per_second:.2g}/s, {duration(left)} left"
    for name, start, digits in (
        ("cycle", "cycle", 3), ("contrast", "contrast", 3), ("G", "G_", 2), ("D", "D_", 2)
    ):  # fmt: skip
        values = [value for key, value in status.losses.items() if key.startswith(start)]
        if values:
            text += f", {name} {sum(values) / len(values):.{digits}f}"
    return text


def fitting(info: str, letters: int) -> str:
    """``info`` without the last ones of its parts that do not fit: half a number says another."""
    while len(info) > letters and ", " in info:
        info = info.rpartition(", ")[0]
    return info
