"""``unclouded figure``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.patches.layouts import TripletFiles


def figure(
    number: Annotated[int, typer.Argument(help="6: clouds real and painted; 7: cloudy images and their maps.")],
    root: Annotated[Path, typer.Argument(help="Data set in either layout of SEN12MS-CR.")],
    out: Annotated[Path, typer.Option(help="PNG file.")],
    patch: Annotated[
        list[str] | None, typer.Option(help="Name of a patch; may be repeated. The first ones if omitted.")
    ] = None,
) -> None:
    """Draw a figure of the paper from a data set."""
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.experiments.figures import figure_6, figure_7
    from unclouded.patches.layouts import find_triplets

    inventory = find_triplets(root)
    if number == 6:
        figure_6(out, _chosen(inventory.require_triplets(), patch, 3), ProbabilityCache())
    elif number == 7:
        chosen = _chosen(inventory.require_observations(), patch, 12)
        figure_7(out, [files.cloudy for files in chosen], ProbabilityCache())
    else:
        raise InputError(f"figure {number} cannot be drawn yet; choose 6 or 7")
    typer.echo(f"look at {out}")


def _chosen(files: "tuple[TripletFiles, ...]", names: list[str] | None, most: int) -> "tuple[TripletFiles, ...]":
    if not names:
        return files[:most]
    known = {one.name: one for one in files}
    if absent := [name for name in names if name not in known]:
        raise InputError(f"{', '.join(absent)} is no patch of this data set; its first one is {files[0].name}")
    return tuple(known[name] for name in names)
