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
