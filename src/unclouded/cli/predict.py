"""``unclouded predict``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.batch import Attempts, Dask, ExecutionOptions, Processes, Retry, Shards, UploadTo
from unclouded.cli.options import (
    Clouds,
    Damaged,
    DamagedOption,
    DetectorName,
    Offset,
    Resampling,
    ResamplingOption,
    Tile,
    given_clouds,
)
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.prediction.auto_remover import RemoverSpec


class Adapted(StrEnum):
    """What a remover is adapted to; see ``unclouded.prediction.clearing``."""

    SCENE = "scene"
    WINDOW = "window"


class Precision(StrEnum):
    """What a network computes in; see ``unclouded.models.inference``."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


class Engine(StrEnum):
    """What runs a network; see ``unclouded.models.inference``."""

    TORCH = "torch"
    OPENVINO = "openvino"


def predict(
    out: Annotated[Path, typer.Option(help="Folder for GeoTIFFs, page and STAC item.")],
    remover: Annotated[
        str | None,
        typer.Argument(help="Weights file, scene-adapted, or a baseline; the best one without weights if omitted."),
    ] = None,
    cloudy: Annotated[Path | None, typer.Option(help="Cloudy Sentinel-2 L1C product, or GeoTIFF of 13 bands.")] = None,
    offset: Offset = None,
    resampling: ResamplingOption = Resampling.NEAREST,
    tile: Tile = None,
    sar: Annotated[
        Path | None,
        typer.Option(help="Sentinel-1 IW GRDH product, folder of slices of one pass, or GeoTIFF of VV and VH."),
    ] = None,
    align: Annotated[bool, typer.Option("--align", help="Warp a radar GeoTIFF to the optical grid.")] = False,
    units: Annotated[str, typer.Option(help="Of a radar GeoTIFF: dB, linear, or 'dB x 100'.")] = "dB",
    heights: Annotated[Path | None, typer.Option(help="Elevation model to correct a radar product by.")] = None,
    heights_datum: Annotated[float, typer.Option(help="Metres from its zero to the ellipsoid.")] = 0.0,
    patches: Annotated[Path | None, typer.Option(help="Instead of one scene: a data set in either layout.")] = None,
    damaged: DamagedOption = Damaged.REFUSE,
    bands: Annotated[str | None, typer.Option(help="Bands for a baseline, such as B04,B03,B02 or all.")] = None,
    window: Annotated[int, typer.Option(help="Side of a window in pixels, a multiple of 4; more is faster.")] = 1024,
    statistics: Annotated[Adapted, typer.Option(help="Adapt to the scene, or to each window.")] = Adapted.SCENE,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Write the spread of an ensemble, too.")] = False,
    other: Annotated[list[str] | None, typer.Option(help="Other weights for the uncertainty; may be repeated.")] = None,
    engine: Annotated[Engine, typer.Option(help="What runs a network; openvino is an extra.")] = Engine.TORCH,
    precision: Annotated[
        Precision, typer.Option(help="What a network computes in; int8 by openvino only.")
    ] = Precision.AUTO,
    clouds: Clouds = None,
    detector: DetectorName = None,
    cloud_map: Annotated[
        Path | None, typer.Option(help="Map of your own instead: GeoTIFF on the optical grid, 0 clear to 1 cloudy.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best there is if omitted.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Instead: CSV of many scenes; name, cloudy, sar.")] = None,
    shard: Shards = "1/1",
    processes: Processes = 1,
    dask: Dask = None,
    attempts: Attempts = 3,
    retry: Retry = False,
    deliver: UploadTo = None,
) -> None:
    """Remove the clouds of one scene of any size, of many scenes, or of every pair of patches of a data set.

    Pixels that the cloud map calls clear (m = 0) keep their stored numbers. Interrupted work on a scene goes on where
    it was; a folder with a summary.json is done. Of many scenes the last shard to end writes the table.
    """
    from unclouded.files import require_file, require_folder, require_there
    from unclouded.models.known import require_remover

    require_there(cloudy, sar)
    for path in filter(None, (heights, cloud_map, manifest)):
        require_file(path)
    if patches is not None:
        require_folder(patches)
    for one in filter(None, (remover, *(other or ()))):
        require_remover(one)
    from unclouded.cli.predicting import predict_patches, predict_scene, predict_scenes

    wanted = [_wanted(name, bands, device, precision, engine) for name in (remover, *(other or ()))]
    how = {"window_px": window, "statistics": statistics.value, "uncertainty": uncertainty or len(wanted) > 1}
    optical = {"offset": offset, "resampling": resampling.value, "tile": tile}
    radar = {"align": align, "units": units, "heights": heights, "heights_datum_m": heights_datum}
    content = {
        **how,
        "clouds": given_clouds(clouds, detector),
        "cloud_map": cloud_map,
        "optical": optical,
        "radar": radar,
    }
    execution = ExecutionOptions(shard, processes, dask, retry)
    if manifest is None and (execution != ExecutionOptions() or deliver):
        raise InputError("--shard, --processes, --dask, --retry and --deliver are for many scenes; add --manifest")
    if patches is None and damaged is not Damaged.REFUSE:
        raise InputError("--damaged is for the patches of a data set; add --patches")
    match (cloudy, sar, patches, manifest):
        case (None, None, Path(), None):
            predict_patches(wanted, patches, out, content, damaged.value)
        case (Path(), Path(), None, None):
            predict_scene(wanted, cloudy, sar, out, content)
        case (None, None, None, Path()):
            raise typer.Exit(predict_scenes(wanted, manifest, out, content, execution, attempts, deliver))
        case _:
            given = {"--cloudy": cloudy, "--sar": sar, "--patches": patches, "--manifest": manifest}
            found = " ".join(option for option, path in given.items() if path is not None) or "none of them"
            lacking = (
                f"add {'--sar' if sar is None else '--cloudy'}" if found in ("--cloudy", "--sar") else "choose one way"
            )
            raise InputError(f"predict needs --cloudy with --sar, or --patches, or --manifest; got {found}: {lacking}")


def _wanted(
    name: str | None, bands: str | None, device: str | None, precision: Precision, engine: Engine
) -> "RemoverSpec":
    from unclouded.cli.options import chosen_device
    from unclouded.prediction.auto_remover import RemoverSpec
    from unclouded.sensors import SENTINEL2

    chosen = None if bands is None else SENTINEL2.named(SENTINEL2.bands if bands == "all" else bands.split(","))
    return RemoverSpec(name, chosen, chosen_device(device), precision.value, engine.value)
