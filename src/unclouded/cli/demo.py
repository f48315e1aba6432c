"""``unclouded demo``."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Argument(help="Folder for pictures, scores and GeoTIFFs.")] = Path("demo"),
) -> None:
    """Invent a region, train a small network on others, remove the region's clouds, score and show it."""
    import time

    from rich.console import Console

    from unclouded.cli.progress import shown_progress
    from unclouded.demo import show
    from unclouded.evaluation.table import scores_table

    started = time.monotonic()
    with shown_progress() as told:
        shown = show(out, told)
    console = Console()
    for area in ("all", "cloudy"):
        console.print(scores_table(shown.scores, area))
    console.print(f"{shown.verdict()}\n")
    for picture in shown.pictures:
        console.print(f"look at   {picture}")
    console.print(
        f"GeoTIFF   {shown.image}\nscores    {out / 'scores.md'}\ntook      {time.monotonic() - started:.0f} s"
    )
