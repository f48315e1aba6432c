"""``unclouded reproduce``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unclouded.cli.options import Damaged, DamagedOption
from unclouded.errors import InputError


class Size(StrEnum):
    """How much work a reproduction is; see ``experiments/sizes``."""

    SMOKE = "smoke"
    SAMPLE = "sample"
    PAPER = "paper"


def reproduce(
    table: Annotated[str, typer.Argument(help="table-2, table-3 or table-4; figures are drawn by 'unclouded figure'.")],
    runs: Annotated[Path, typer.Argument(help="Folder of runs; each size has a folder in it.")],
    size: Annotated[Size, typer.Option(help="smoke: seconds; sample: real samples; paper: the protocol.")] = Size.PAPER,
    train: Annotated[
        bool, typer.Option("--train", help="Train and judge what is missing; go on where it stopped.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Data set, to train from; smoke invents its own.")] = None,
    experiments: Annotated[
        Path | None, typer.Option(help="Folder of the rows. If omitted, ./experiments, or that of the package.")
    ] = None,
    vgg: Annotated[str, typer.Option(help="Weights of VGG16 for precision and recall: a file, or auto.")] = "auto",
    damaged: DamagedOption = Damaged.REFUSE,
) -> None:
    """Make a table of the paper from a folder of runs, as Markdown, CSV, LaTeX and HTML; cells link to scores."""
    if table.startswith("figure-"):
        raise InputError(
            f"{table} is drawn from a data set: unclouded figure {table.removeprefix('figure-')} ROOT --out PNG"
        )
    from unclouded.cli.progress import shown_progress
    from unclouded.experiments.reproduce import Reproduction
    from unclouded.experiments.rows import find_experiments
    from unclouded.experiments.tables import to_markdown
    from unclouded.files import require_writable

    wanted = Reproduction(
        find_experiments(experiments), table.replace("-", "_"), size.value, runs, root, vgg, damaged.value
    )
    require_writable(wanted.folder)
    if train:
        with shown_progress() as told:
            wanted.complete(told)
    made, _ = wanted.read()
    typer.echo(to_markdown(made, links=False))
    typer.echo("\n".join(f"wrote {path}" for path in wanted.write(made)))
