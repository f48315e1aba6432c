"""``unclouded series``: remove the clouds of every date of a place with the help of the others."""

from pathlib import Path
from typing import Annotated

import typer

from unclouded.cli import options
from unclouded.cli.batch import predict_scenes
from unclouded.cli.execution import ExecutionOptions
from unclouded.cli.scene_options import NetworkOptions, SceneOptions


@options.expand_options
def series(
    stack: Annotated[
        Path,
        typer.Argument(
            metavar="STACK",
            help="Folder of Sentinel-2 and Sentinel-1 images of one place, or a table as for 'unclouded batch'.",
            show_default=False,
        ),
    ],
    *,
    references: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="Number of other dates that help each date: the nearest ones, half of them before it.",
            rich_help_panel=options.REFERENCES,
        ),
    ] = 4,
    scene: SceneOptions,
    remover: Annotated[
        str | None,
        typer.Option(
            help="Weights file or name of a remover; only reference-adapted uses other dates.",
            show_default="the best remover without weights, chosen per date",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    network: NetworkOptions,
    out: Annotated[
        Path,
        typer.Option(help="Output folder, with one folder per date.", rich_help_panel=options.OUTPUT),
    ],
    execution: ExecutionOptions,
) -> None:
    """Remove the clouds of every date of a place with the help of the others.

    Each date is a scene of a batch, so that it runs in processes, as a job array or on dask, and resumes when the
    command is repeated. 'unclouded.predict_series' opens the products as an xarray data set.

    The exit status is 1 if a date failed.
    """
    from unclouded.files import require_there

    require_there(stack)
    scene.require_files()
    specs = scene.specs(remover, network)
    from unclouded.batch.series import series_scenes
    from unclouded.files import resolved

    scenes, _ = series_scenes(stack, references)
    raise typer.Exit(predict_scenes(specs, scenes, resolved(stack), out, scene.read(), execution))
