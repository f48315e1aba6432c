"""``unclouded doctor`` and ``unclouded doctor train``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True)


@app.callback()
def doctor(context: typer.Context) -> None:
    """Say what is installed, what this machine can do, and whether something is wrong; exit status 1 if so."""
    if context.invoked_subcommand is not None:
        return
    from unclouded.doctor import examine

    findings = examine()
    for one in findings:
        typer.echo(f"{one.subject:<16} {one.found}")
        if one.remedy:
            typer.secho(f"{'':<16} wrong: {one.remedy}", fg="red")
    raise typer.Exit(1 if any(one.remedy for one in findings) else 0)


@app.command("train")
def doctor_train(
    settings: Annotated[str, typer.Argument(help="TOML file, or a preset.")],
    run: Annotated[Path, typer.Argument(help="Folder for the log and the pictures of this trial.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting, such as loss.cycle=5.0; may be repeated.")
    ] = None,
) -> None:
    """Learn one step's patches by heart: can this set-up learn at all? The same as 'train --overfit-one'."""
    from unclouded.cli.train import train

    train(settings, run, overrides, overfit_one=True)
