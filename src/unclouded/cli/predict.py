"""``unclouded predict``: remove the clouds of one scene; the settings that ``predict-patches`` and ``batch`` share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unclouded.cli import options
from unclouded.cli.options import given

if TYPE_CHECKING:
    from unclouded.prediction.auto_remover import RemoverSpec
    from unclouded.prediction.scene import PredictedScene, SceneSettings

SettingsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="Settings of the prediction, see docs/scenes.md. Options on the command line take precedence.",
        rich_help_panel=options.INPUT,
    ),
]


def predict(
    remover: Annotated[
        str | None,
        typer.Argument(
            metavar="REMOVER",
            help="Weights file, scene-adapted or a baseline.",
            show_default="the best remover without weights",
        ),
    ] = None,
    *,
    cloudy: Annotated[
        Path,
        typer.Option(help="Cloudy Sentinel-2 L1C product, or GeoTIFF of 13 bands.", rich_help_panel=options.INPUT),
    ],
    sar: Annotated[
        Path,
        typer.Option(
            help="Sentinel-1 IW GRDH product, folder with the slices of one pass, or GeoTIFF of VV and VH.",
            rich_help_panel=options.INPUT,
        ),
    ],
    settings: SettingsFile = None,
    offset: options.Offset = None,
    resampling: options.Resampling = None,
    tile: options.Tile = None,
    align: options.Align = None,
    units: options.Units = None,
    heights: options.Heights = None,
    heights_datum: options.HeightsDatum = None,
    clouds: options.Clouds = None,
    detector: options.DetectorName = None,
    cloud_map: options.UserMask = None,
    other: options.Other = None,
    bands: options.Bands = None,
    window: options.Window = None,
    statistics: options.Statistics = None,
    uncertainty: options.Uncertainty = None,
    engine: options.Engine = "torch",
    precision: options.Precision = "auto",
    device: options.Device = None,
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
    from unclouded.models.known import require_remover

    require_there(cloudy, sar)
    for path in filter(None, (heights, cloud_map, settings)):
        require_file(path)
    names = (remover, *(other or ()))
    for name in filter(None, names):
        require_remover(name)
    specs = [remover_spec(name, bands, device, precision, engine) for name in names]
    from unclouded.cli.progress import progress_bar
    from unclouded.prediction.scene import predict_scene

    content = scene_options(
        clouds=clouds,
        detector=detector,
        cloud_map=cloud_map,
        offset=offset,
        resampling=resampling,
        tile=tile,
        align=align,
        units=units,
        heights=heights,
        heights_datum=heights_datum,
        window=window,
        statistics=statistics,
        uncertainty=uncertainty,
    )
    resolved = read_scene_settings(settings, content, ensemble=len(specs) > 1)
    first, *others = (spec.find() for spec in specs)
    with progress_bar() as on_progress:
        scene = predict_scene(first, cloudy, sar, out, resolved, others=others, on_progress=on_progress, estimate=True)
    typer.echo(scene_summary(scene))


def remover_spec(
    name: str | None,
    bands: str | None,
    device: str | None,
    precision: options.PrecisionName,
    engine: options.EngineName,
) -> "RemoverSpec":
    """Specification of a remover from the options of a command.

    Raises:
        InputError: Unknown band or device.
    """
    from unclouded.prediction.auto_remover import RemoverSpec
    from unclouded.sensors import SENTINEL2

    selected = None if bands is None else SENTINEL2.named(SENTINEL2.bands if bands == "all" else bands.split(","))
    return RemoverSpec(name, selected, options.resolve_device(device), precision, engine)


def scene_options(
    *,
    clouds: str | None = None,
    detector: str | None = None,
    cloud_map: Path | None = None,
    offset: int | None = None,
    resampling: str | None = None,
    tile: str | None = None,
    align: bool | None = None,
    units: str | None = None,
    heights: Path | None = None,
    heights_datum: float | None = None,
    window: int | None = None,
    statistics: str | None = None,
    uncertainty: bool | None = None,
) -> dict[str, Any]:
    """Options that were given, by group and key of ``SceneSettings``."""
    return given(window_px=window, statistics=statistics, uncertainty=uncertainty, cloud_map=cloud_map) | {
        "clouds": given(mode=clouds, detector=detector),
        "optical": given(offset=offset, resampling=resampling, tile=tile),
        "radar": given(align=align, units=units, heights=heights, heights_datum_m=heights_datum),
    }


def read_scene_settings(path: Path | None, content: Mapping[str, Any], *, ensemble: bool = False) -> "SceneSettings":
    """Settings of a prediction.

    Args:
        path: TOML file of ``SceneSettings``, if any.
        content: Options of the command line, see :func:`scene_options`; they take precedence over the file.
        ensemble: Whether there are several removers, whose spread is then always written.

    Raises:
        InputError: The file is not TOML, or a setting is unknown or out of range.
    """
    from unclouded.prediction.scene import SceneSettings
    from unclouded.settings import read_toml, settings_from

    merged = _merged(read_toml(path) if path else {}, content)
    if ensemble:
        merged["uncertainty"] = True
    return settings_from(SceneSettings, merged, origin=path.name if path else "these options")


def _merged(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mapping with the values of both; ``update`` takes precedence."""
    merged = dict(base)
    for key, value in update.items():
        if isinstance(value, Mapping):
            inner = base.get(key, {})
            if value or key not in base:  # a mistake in the base stays visible where nothing replaces it
                merged[key] = _merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


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
