"""``unclouded demo``."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Argument(help="Folder for pictures, scores and GeoTIFFs.")] = Path("demo"),
) -> None:
    """Invent a region, train a small network on others, remove the region's clouds, score and show it."""
