"""``unclouded demo`` and ``unclouded doctor``: what this installation can do."""

from pathlib import Path
from typing import Annotated, no_type_check

import typer

from unclouded.cli import train as training


def demo(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder for pictures, scores and GeoTIFFs.")] = Path(
        "demo"
    ),
) -> None:
    """Run the whole workflow on simulated data.

    A small network is trained on simulated regions and removes the clouds of another one; the result is scored and
    drawn.
    """
    import time

    from rich.console import Console

    from unclouded.cli.progress import progress_bar
    from unclouded.files import require_writable

    require_writable(out)  # before the imports below, which take seconds
    from unclouded.demo import run_demo
    from unclouded.evaluation.comparison import scores_table

    started = time.monotonic()
    with progress_bar() as on_progress:
        result = run_demo(out, on_progress)
    console = Console()
    for area in ("all", "cloudy"):
        console.print(scores_table(result.scores, area))
    console.print(f"{result.conclusion()}\n")
    for picture in (*result.pictures, result.report):
        console.print(f"look at   {picture}")
    console.print(
        f"GeoTIFF   {result.image}\nscores    {out / 'scores.md'}\ntook      {time.monotonic() - started:.0f} s"
    )


doctor_app = typer.Typer(
    help="Check the installation and the machine.\n\nThe exit status is 1 if something is wrong.",
    short_help="Check the installation and the machine.",
    invoke_without_command=True,
)


@doctor_app.callback()
@no_type_check  # typer passes a base class of its Context, which the checks of shapes and types in tests would refuse
def doctor(context: typer.Context) -> None:
    """Print the findings, unless a command of the group follows."""
    if context.invoked_subcommand is not None:
        return
    from unclouded.doctor import examine

    findings = examine()
    for one in findings:
        typer.echo(f"{one.subject:<16} {one.found}")
        if one.remedy:
            typer.secho(f"{'':<16} wrong: {one.remedy}", fg="red")
    raise typer.Exit(1 if any(one.remedy for one in findings) else 0)


@doctor_app.command("train")
def doctor_train(settings: training.Source, run: training.Run, overrides: training.Overrides = None) -> None:
    """Test whether a training setup can learn, as 'unclouded train --overfit-one' does.

    The exit status is 1 if it cannot.
    """
    training.train(settings, run, overrides, overfit_one=True)
