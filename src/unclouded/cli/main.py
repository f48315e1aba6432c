"""Entry point of the command line. Heavy imports stand inside the commands, so that help and refusals are immediate."""

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from unclouded.cli import (
    batch,
    clouds,
    curate,
    data,
    evaluate,
    export,
    get,
    info,
    models,
    mosaic,
    patches,
    predict,
    reproduce,
    series,
    train,
    view,
)
from unclouded.cli.logging import command_logging, configure_logging, log_failure, printable
from unclouded.cli.options import ForwardingCommand
from unclouded.cli.streams import guard_streams
from unclouded.errors import BusyError, InputError, InterruptedRunError, MachineError, OutOfMemoryError, StoppedError
from unclouded.files import machine_fault, path_fault

app = typer.Typer(
    name="unclouded",
    help="Remove clouds from Sentinel-2 images with the help of Sentinel-1 radar.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

_PREDICT, _TRAIN, _DATA, _ABOUT = "Remove clouds", "Train and evaluate", "Prepare data", "About this installation"

app.command("predict", cls=ForwardingCommand, rich_help_panel=_PREDICT)(predict.predict)
app.command("predict-patches", cls=ForwardingCommand, rich_help_panel=_PREDICT)(patches.predict_patches)
app.command("batch", cls=ForwardingCommand, rich_help_panel=_PREDICT)(batch.batch)
app.command("series", cls=ForwardingCommand, rich_help_panel=_PREDICT)(series.series)
app.command("get", cls=get.PlaceFirst, rich_help_panel=_PREDICT)(get.get)
app.command("mosaic", rich_help_panel=_PREDICT)(mosaic.mosaic)
app.add_typer(clouds.app, name="clouds", rich_help_panel=_PREDICT)
app.command("view", rich_help_panel=_PREDICT)(view.view)
app.command("train", rich_help_panel=_TRAIN)(train.train)
app.command("evaluate", rich_help_panel=_TRAIN)(evaluate.evaluate)
app.command("compare", rich_help_panel=_TRAIN)(evaluate.compare)
app.command("leaderboard", rich_help_panel=_TRAIN)(reproduce.leaderboard)
app.command("reproduce", rich_help_panel=_TRAIN)(reproduce.reproduce)
app.command("figure", rich_help_panel=_TRAIN)(reproduce.figure)
app.command("curate", cls=ForwardingCommand, rich_help_panel=_DATA)(curate.curate)
app.add_typer(data.app, name="data", rich_help_panel=_DATA)
app.command("demo", rich_help_panel=_ABOUT)(info.demo)
app.add_typer(info.doctor_app, name="doctor", rich_help_panel=_ABOUT)
app.add_typer(models.app, name="models", rich_help_panel=_TRAIN)
app.command("export", rich_help_panel=_TRAIN)(export.export)


def _version(requested: bool | None) -> None:
    if requested:
        from unclouded import __version__

        typer.echo(f"unclouded {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also show debug messages.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show warnings and errors only, and no progress bars.")
    ] = False,
    log_file: Annotated[Path | None, typer.Option(help="File to append all messages to.")] = None,
) -> None:
    configure_logging(verbose=verbose, quiet=quiet, log_file=log_file)


def run() -> NoReturn:
    """Run the command line and exit.

    The exit status is 0 for success, 2 for bad input, a full or read-only disk or too little memory, 3 for a folder
    that another process is writing, and 1 for a check that found something, an early stop or a bug. A run that a
    signal interrupted exits with 128 plus the signal number: 143 for SIGTERM, 130 for Ctrl-C.
    """
    guard_streams()
    with command_logging():
        _run()


def _run() -> NoReturn:
    try:
        try:
            status = app(standalone_mode=False)  # usage errors are raised, to be reported in one line as all others
        finally:
            sys.stdout.flush()  # while an error can still be reported
    except _UsageError as error:
        _fail_usage(error)
    except typer.Abort:
        _fail(StoppedError("aborted"), 1)
    except (InputError, MachineError) as error:
        _fail(error, 2)
    except BusyError as error:
        _fail(error, 3)
    except StoppedError as error:
        _fail(error, 1)
    except InterruptedRunError as error:
        _fail(error, 128 + error.signal)
    except ModuleNotFoundError as error:
        if error.name not in _TORCH:
            raise
        _fail(InputError(f"this needs PyTorch, which is not installed; run {_INSTALL_TORCH}"), 2)
    except Exception as error:
        if (fault := machine_fault(error) or path_fault(error)) is None:
            raise
        _fail(fault, 2)
    sys.exit(status or 0)


def _fail_usage(error: Any) -> NoReturn:
    """End with a usage error such as a missing argument, in one line that names the help page of the command."""
    message = " ".join(error.format_message().split()).rstrip(".")
    for theirs, ours in _WORDING.items():
        message = message.replace(theirs, ours)
    if not message:  # the help page was printed in its place
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else " ".join(["unclouded", *sys.argv[1:2]])
    _fail(InputError(f"{message[0].lower()}{message[1:]}; see '{command} --help'"), error.exit_code)


_UsageError: type[Exception] = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException")
"""Base class of usage errors; typer has its own copy of click since 0.20."""

_WORDING = {"Value error, ": "", ": Input should": ": expected it to", "(Possible options:": "(possible options:"}
"""Parts of the usage errors of typer, and their counterparts in the messages of this program."""

_TORCH = ("torch", "torchvision", "lightning_fabric")
"""Packages of the extra ``torch``; commands that need no network and no tensor work without them."""
_INSTALL_TORCH = "pip install 'unclouded[torch]'; docs/install.md names the smaller wheels without CUDA"

_LESS_MEMORY = {
    "train": "lower schedule.batch, crop_px, network.width or device.workers, then continue with --resume",
    "predict": "lower --window, or choose another --device",
    "predict-patches": "choose another --device",
    "batch": "lower --window or --processes, or choose another --device",
    "series": "lower --window, --references or --processes",
    "evaluate": "choose another --device, or leave --precision-recall and --extra out",
    "reproduce": "choose a smaller --size",
    "curate": "lower --processes",
    "data": "lower --processes",
}
"""Remedy for too little memory, by command."""


def _fail(error: Exception, status: int) -> NoReturn:
    if isinstance(error, OutOfMemoryError):
        remedies = [_LESS_MEMORY[word] for word in sys.argv[1:] if word in _LESS_MEMORY][:1]
        error = OutOfMemoryError("; ".join([str(error), *remedies, "or close other programs, or raise 'ulimit -v'"]))
    line = printable(" ".join(str(error).split()))
    typer.echo(f"unclouded: {line}", err=True)
    log_failure(line)
    sys.exit(status)
