"""``unclouded mosaic``: join predicted scenes of an area into one image."""

from pathlib import Path
from typing import Annotated

import typer

from unclouded.cli import options


def mosaic(
    scenes: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCENE...",
            help="Output folders of predictions, or folders of such folders, as 'unclouded batch' writes them.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Output folder.", rich_help_panel=options.OUTPUT)],
    match_levels: Annotated[
        bool,
        typer.Option(
            "--match-levels/--keep-levels",
            help="Match the levels of the scenes where several observed the same ground.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = True,
    crs: Annotated[
        str | None,
        typer.Option(
            help="CRS of the mosaic, that of one of the scenes.",
            show_default="that of most scenes",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    area: options.Area = None,
    compression: options.Compression = None,
) -> None:
    """Join predicted scenes of several tiles and dates into one image without seams.

    Each pixel comes from the scene that observed its surroundings, or predicted them with the highest confidence.
    """
    from unclouded.cli.progress import progress_bar
    from unclouded.files import require_there
    from unclouded.prediction.mosaic import SUMMARY, MosaicSettings, make_mosaic
    from unclouded.settings import settings_from_options

    require_there(*scenes, area)
    folders = [
        folder
        for given in scenes
        for folder in (
            [given] if (given / SUMMARY).is_file() else sorted(path.parent for path in given.glob(f"*/{SUMMARY}"))
        )
    ] or scenes
    settings = settings_from_options(
        MosaicSettings,
        {
            "match_levels": ("--keep-levels", match_levels),
            "crs": ("--crs", crs),
            "area": ("--area", area),
            "compression": ("--compression", compression),
        },
    )
    with progress_bar() as on_progress:
        summary = make_mosaic(folders, out, settings, on_progress)
    pixels = summary["pixels"]
    shares = ", ".join(f"{count:,} px of {name}" for name, count in pixels["by_scene"].items() if count)
    typer.echo(f"{out / 'clear.tif'}: {shares}; {pixels['no_data']:,} px without data")
