"""``unclouded view``: look at results in the browser."""

from pathlib import Path
from typing import Annotated

import typer


def view(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Output of predict, batch, series, evaluate, curate or demo, a file of scores, or a folder of "
            "GeoTIFFs of one grid.",
            show_default=False,
        ),
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder with the images that the scenes were made from, matched by name and checksum. Repeatable.",
            show_default="beside the products",
        ),
    ] = None,
    truth: Annotated[
        list[Path] | None,
        typer.Option(metavar="TIF", help="True ground on the grid of a scene. Repeatable.", show_default="none"),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="ROOT", help="Data set of the scored patches. Repeatable.", show_default="beside the scores"
        ),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Predictions NAME.tif of the scored patches. Repeatable.",
            show_default="beside the scores",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 0,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the scenes as a folder for any server of static files, instead of serving them.",
            show_default="serve them",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the default browser.")] = True,
) -> None:
    """Look at results in the browser.

    The page is served on 127.0.0.1, for this machine alone, until Ctrl-C.
    """
    from contextlib import nullcontext

    from unclouded.cli.progress import progress_bar
    from unclouded.progress import no_progress
    from unclouded.viewer.serving import view as serve

    with nullcontext(no_progress) if export is None else progress_bar() as on_progress:
        serve(
            folder,
            inputs=inputs or (),
            truth=truth or (),
            data=data or (),
            predictions=predictions or (),
            port=port,
            open_browser=browser,
            export=export,
            on_progress=on_progress,
        )
