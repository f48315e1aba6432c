"""``unclouded data``: look at a data set."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at a data set.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    names_only: Annotated[bool, typer.Option("--names-only", help="List names, open no file.")] = False,
) -> None:
    """Name every incomplete and every damaged triplet in one report; exit status 1 if there is one."""
    from unclouded.cli.progress import shown_progress
    from unclouded.patches.layouts import find_triplets
    from unclouded.patches.reading import check_triplets

    inventory = find_triplets(root)
    if names_only:
        typer.echo(inventory.report())
        raise typer.Exit(1 if inventory.incomplete else 0)
    with shown_progress() as told:
        inspection = check_triplets(inventory, lambda done, total: told("reading", done, total))
    typer.echo(inspection.report())
    raise typer.Exit(0 if inspection.is_clean else 1)
