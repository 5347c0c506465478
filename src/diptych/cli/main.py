"""The ``diptych`` command: finds the subcommand, and ends every error in one line."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn, TextIO, cast

import typer

from diptych.cli import (
    compare,
    data,
    demo,
    evaluate,
    export,
    import_,
    report,
    train,
    translate,
    ui,
)
from diptych.errors import DiptychError, DiptychWarning, UsageError, out_of_memory
from diptych.host.interrupt import USUAL, StopNowError
from diptych.words import WHOLE_NUMBER, printable, within

app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Two folders of pictures in, a translator between them out.",
    epilog="Every command: diptych COMMAND --help. With --debug an error shows its traceback.",
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("translate")(translate.translate)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("import")(import_.import_)
app.command("export")(export.export)
app.command("ui")(ui.ui)
app.add_typer(data.app, name="data", help="Public data sets; checking your own.")


def _say_version(wanted: bool) -> None:
    if wanted:
        from diptych.version import __version__

        print(f"diptych {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Only for the help: ``main`` finds --debug wherever it stands; --version has its callback."""


# Click's, which newer versions of Typer bring along: a word on the command line is wrong.
_UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)


def _say_usage(error: typer.BadParameter) -> None:
    """In one line, as all errors. (Typer would draw a box.)"""
    said = " ".join(error.format_message().split()).removesuffix(".")
    said = re.sub(
        r"(?i)input should be a valid integer.*|'.*' is not a valid int.*", WHOLE_NUMBER, said
    )
    command = error.ctx.command_path if error.ctx is not None else "diptych"
    print(f"diptych: {within(said)} (see {command} --help)", file=sys.stderr)


def _stop_now(number: int, frame: FrameType | None) -> None:
    """On its way out, what is half written goes. (Of KeyboardInterrupt Typer would say nothing.)"""
    if _imports(frame):  # (PyTorch imports NumPy from C, which drops our error and goes on)
        _end(number)
    raise StopNowError(number)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported: nothing is half written then."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end(number: int) -> NoReturn:
    print("diptych: interrupted", file=sys.stderr)
    os._exit(128 + number)  # worker threads may be busy with a picture


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Those of diptych in one line: to a person at a terminal no line of code says anything."""
    said = f"note: {printable(str(message))}\n"
    if not issubclass(category, DiptychWarning):
        said = warnings.formatwarning(message, category, filename, lineno, line)
    (sys.stderr if file is None else file).write(said)


def _check_folder() -> None:
    """Raise DiptychError without a current folder: PyTorch's libraries would end the process."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise DiptychError("the current folder has been removed: cd to another") from error


def _with_home(argument: str) -> str:
    """A shell leaves the ``~`` of ``--run=~/runs/h2z`` to us, and that of quoted words."""
    option, equals, value = argument.partition("=") if argument[:2] == "--" else ("", "", argument)
    return option + equals + os.path.expanduser(value)


def _check_words(arguments: Sequence[str]) -> None:
    """Raise UsageError for an empty word, which would be taken for the current folder."""
    for argument in arguments:
        if re.fullmatch(r"(--[\w-]+=)?", argument):
            what = f"{argument[:-1]} has no value" if argument else "a word is empty"
            raise UsageError(f"{what}: is a variable of the shell not set?")


def _prepare_process() -> None:
    """What a person at a terminal expects of output, signals and warnings."""
    for stream in (sys.stdout, sys.stderr):  # (a pipe on Windows may hold few letters)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for number, handler in USUAL.items():  # (a background job may be told to ignore Ctrl-C)
        if signal.getsignal(number) == handler:
            signal.signal(number, _stop_now)
    warnings.showwarning = _say_warning
    warnings.simplefilter("always", DiptychWarning)  # (whatever PYTHONWARNINGS says of others)


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong usage, more than 128 interrupted."""
    _prepare_process()
    debug = "--debug" in sys.argv
    arguments = [_with_home(argument) for argument in sys.argv[1:] if argument != "--debug"]
    if arguments in ([], ["data"]):
        arguments.append("--help")
    try:
        _check_folder()
        _check_words(arguments)
        sys.exit(app(arguments, standalone_mode=False))
    except _UsageError as error:
        _say_usage(error)
        sys.exit(2)
    except DiptychError as error:
        if debug:
            raise
        print(f"diptych: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except StopNowError as stopped:
        _end(stopped.signal_number)
    except OSError as error:
        if debug:
            raise
        what = f"cannot use {error.filename}: " if error.filename is not None else ""
        print(printable(f"diptych: {what}{error.strerror or error}"), file=sys.stderr)
        sys.exit(1)
    except (RuntimeError, MemoryError) as error:
        if debug or not out_of_memory(error):
            raise
        print(
            "diptych: the device ran out of memory: use a smaller --batch or --size",
            file=sys.stderr,
        )
        sys.exit(1)
