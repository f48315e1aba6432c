"""``unclouded doctor`` and ``unclouded doctor train``."""

from pathlib import Path
from typing import Annotated

import typer

from unclouded.errors import InputError


def doctor(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[train SETTINGS RUN]",
            help="Learn one step's patches by heart, as 'train --overfit-one' does: can this set-up learn at all?",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting of 'doctor train'; may be repeated.")
    ] = None,
) -> None:
    """Say what is installed, what this machine can do, and whether something is wrong; exit status 1 if so."""
    if words or overrides:
        _train(words or [], overrides)
        return
    from unclouded.doctor import examine

    findings = examine()
    for one in findings:
        typer.echo(f"{one.subject:<16} {one.found}")
        if one.remedy:
            typer.secho(f"{'':<16} wrong: {one.remedy}", fg="red")
    raise typer.Exit(1 if any(one.remedy for one in findings) else 0)


def _train(words: list[str], overrides: list[str] | None) -> None:
    if len(words) != 3 or words[0] != "train":
        raise InputError(
            f"expected 'unclouded doctor' alone, or 'unclouded doctor train SETTINGS RUN',"
            f" found {' '.join(words) or 'only --set'}; give all three words"
        )
    from unclouded.cli.train import train

    train(words[1], Path(words[2]), overrides, overfit_one=True)


# ``unclouded models``.


def models(
    places: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PLACE]...", help="Weights files, and folders with some at any depth."),
    ] = None,
) -> None:
    """Say what can remove clouds: rules without weights, or networks, what they learnt from and what they are worth."""
    from unclouded.files import require_there

    require_there(*(places or ()))  # before the imports below, which take seconds
    from unclouded.experiments.removers import find_models, models_text, rules_text

    typer.echo(models_text(find_models(places)) if places else rules_text())


# ``unclouded demo``.


def demo(
    out: Annotated[Path, typer.Argument(help="Folder for pictures, scores and GeoTIFFs.")] = Path("demo"),
) -> None:
    """Simulate a region, train a small network on others, remove the region's clouds, score and show it."""
    import time

    from rich.console import Console

    from unclouded.cli.progress import progress_bar
    from unclouded.demo import show
    from unclouded.evaluation.comparison import scores_table

    started = time.monotonic()
    with progress_bar() as on_progress:
        shown = show(out, on_progress)
    console = Console()
    for area in ("all", "cloudy"):
        console.print(scores_table(shown.scores, area))
    console.print(f"{shown.verdict()}\n")
    for picture in shown.pictures:
        console.print(f"look at   {picture}")
    console.print(
        f"GeoTIFF   {shown.image}\nscores    {out / 'scores.md'}\ntook      {time.monotonic() - started:.0f} s"
    )
