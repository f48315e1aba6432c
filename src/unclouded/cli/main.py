"""The command line: a command reads, calls, writes. Heavy imports stand inside the commands."""

import sys
from typing import Annotated, NoReturn

import typer

from unclouded.cli import clouds, curate, data, evaluate, predict, reproduce, train
from unclouded.cli import info as demo
from unclouded.cli import info as doctor
from unclouded.cli import info as models
from unclouded.cli import reproduce as figure
from unclouded.cli import reproduce as leaderboard
from unclouded.cli.streams import guard_streams
from unclouded.errors import BusyError, InputError, InterruptedRunError, MachineError, OutOfMemoryError, StoppedError
from unclouded.files import machine_fault, path_fault

app = typer.Typer(
    name="unclouded",
    help="Remove clouds from Sentinel-2 images with the help of Sentinel-1 radar.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(predict.predict)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(evaluate.compare)
app.command()(figure.figure)
app.command()(reproduce.reproduce)
app.command()(leaderboard.leaderboard)
app.command()(models.models)
app.command()(curate.curate)
app.command()(doctor.doctor)
app.add_typer(clouds.app, name="clouds")
app.add_typer(data.app, name="data")


def _version(wanted: bool | None) -> None:
    if wanted:
        from unclouded import __version__

        typer.echo(f"unclouded {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = None,
) -> None:
    pass


def run() -> NoReturn:
    """Run the command line; the exit status is 0 done, 2 bad input, 3 locked, 1 a finding, a stop or a bug.

    A full or read-only disk gives 2, too; a run that a signal ended gives 128 and its number: 143 for SIGTERM, 130 for
    Ctrl-C.
    """
    guard_streams()
    try:
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()  # while an error can still be reported
    except (InputError, MachineError) as error:
        _end(error, 2)
    except BusyError as error:
        _end(error, 3)
    except StoppedError as error:
        _end(error, 1)
    except InterruptedRunError as error:
        _end(error, 128 + error.signal)
    except Exception as error:
        if (fault := machine_fault(error) or path_fault(error)) is None:
            raise
        _end(fault, 2)
    sys.exit(0)


_LESS_MEMORY = {
    "train": "lower schedule.batch, crop_px, network.width or device.workers; what was saved goes on with --resume",
    "predict": "lower --window or --processes, or choose another --device",
    "evaluate": "choose another --device, or leave --precision-recall and --extra out",
    "reproduce": "choose a smaller --size",
    "curate": "lower --processes",
    "data": "lower --processes",
}
"""How a command needs less memory."""


def _end(error: Exception, status: int) -> NoReturn:
    if isinstance(error, OutOfMemoryError):
        ways = [_LESS_MEMORY[one] for one in sys.argv[1:2] if one in _LESS_MEMORY]
        error = OutOfMemoryError("; ".join([str(error), *ways, "or close other programs, or raise 'ulimit -v'"]))
    line = " ".join(str(error).split())
    typer.echo(f"unclouded: {line if line.isprintable() else _escaped(line)}", err=True)
    sys.exit(status)


def _escaped(line: str) -> str:
    """Escape what names of files may hold and no terminal should interpret."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)
