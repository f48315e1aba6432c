"""``unclouded predict``: remove the clouds of one scene."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unclouded.cli import options
from unclouded.cli.scene_options import NetworkOptions, SceneOptions

if TYPE_CHECKING:
    from unclouded.prediction.scene import PredictedScene


@options.expand_options
def predict(
    remover: Annotated[
        str | None,
        typer.Argument(
            metavar="REMOVER",
            help=options.REMOVER,
            show_default="the best remover without weights",
        ),
    ] = None,
    *,
    cloudy: Annotated[
        Path,
        typer.Option(
            help="Cloudy Sentinel-2 L1C or L2A product, or GeoTIFF of its bands.", rich_help_panel=options.INPUT
        ),
    ],
    sar: Annotated[
        Path | None,
        typer.Option(
            help="Sentinel-1 IW GRDH product, folder with the slices of one pass, or GeoTIFF of VV and VH. Without it, "
            "clouds are removed from the optical image alone, with larger errors.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    references: options.References = None,
    reference_radars: options.ReferenceRadars = None,
    scene: SceneOptions,
    cloud_map: options.UserMask = None,
    network: NetworkOptions,
    out: Annotated[
        Path,
        typer.Option(help="Output folder for GeoTIFFs, report and STAC item.", rich_help_panel=options.OUTPUT),
    ],
) -> None:
    """Remove the clouds of one scene of any size.

    Pixels that the cloud map marks as clear (m = 0) keep their stored values. An interrupted run resumes when the
    command is repeated; a folder that holds summary.json is complete.

    See also 'unclouded batch' for many scenes and 'unclouded predict-patches' for a data set.
    """
    from unclouded.files import require_file, require_there

    require_there(*filter(None, (cloudy, sar)), *(references or ()), *(reference_radars or ()))
    paired = options.paired(references, reference_radars)
    scene.require_files()
    if cloud_map is not None:
        require_file(cloud_map)
    specs = scene.specs(remover, network)
    from unclouded.cli.progress import progress_bar
    from unclouded.prediction.scene import predict_scene

    settings = scene.read(cloud_map)
    first, *others = (spec.find() for spec in specs)
    with progress_bar() as on_progress:
        predicted = predict_scene(
            first,
            cloudy,
            sar,
            out,
            settings,
            others=others,
            references=paired,
            on_progress=on_progress,
            estimate=True,
        )
    typer.echo(scene_summary(predicted))


def scene_summary(scene: "PredictedScene") -> str:
    """Three or four lines: numbers and shares of predicted pixels, remover, expected error and path of the report."""
    from unclouded.prediction.products import PREDICTED

    pixels, used = scene.summary["pixels"], scene.summary["used"]
    predicted = sum(pixels[name] for name in (*PREDICTED, "unknown_cloud"))
    counts = (
        f"{predicted:,} px predicted by {used}, {pixels['observed']:,} as observed, {pixels['no_data']:,} without data"
        if predicted
        else f"nothing to predict, {pixels['observed']:,} px as observed, {pixels['no_data']:,} without data"
    )
    expected = (scene.summary["expected_error"] or {"rows": {}})["rows"].get(used)
    error = (
        f"expected error of predicted pixels {expected['mae']:.3f} in reflectance; " if expected and predicted else ""
    )
    choice = f"{reason}\n" if (reason := scene.summary.get("choice")) and predicted else ""
    return f"{scene.files['clear']}: {counts}\n{_shares(pixels)}\n{choice}{error}look at {scene.files['report']}"


def _shares(pixels: Mapping[str, Any]) -> str:
    """Shares of the whole scene, and the causes of pixels without data."""
    from unclouded.prediction.products import Provenance, causes, in_percent, shares

    share, total = shares(pixels), sum(pixels[code.name.lower()] for code in Provenance)
    labels = {
        "observed": "as observed",
        "predicted": "cloudy and predicted",
        "unknown_cloud": "of unknown cloud cover and predicted",
        "no_data": "no data",
    }
    rounded = in_percent(share)
    parts = [f"{rounded[name]} {label}" for name, label in labels.items() if share[name]]
    why = causes(pixels, total)
    return f"of the scene: {', '.join(parts)}" + (f" ({why})" if why else "")
