"""``unclouded predict``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unclouded.cli.options import CloudMode
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.models.remover import CloudRemover


class Adapted(StrEnum):
    """What a remover is adapted to; see ``unclouded.prediction.clearing``."""

    SCENE = "scene"
    WINDOW = "window"


class Precision(StrEnum):
    """What a network computes in; see ``unclouded.models.inference``."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


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
    sar: Annotated[Path | None, typer.Option(help="Sentinel-1 IW GRDH product, or GeoTIFF of VV and VH.")] = None,
    align: Annotated[bool, typer.Option("--align", help="Warp a radar GeoTIFF to the optical grid.")] = False,
    units: Annotated[str, typer.Option(help="Of a radar GeoTIFF: dB, linear, or 'dB x 100'.")] = "dB",
    heights: Annotated[Path | None, typer.Option(help="Elevation model to correct a radar product by.")] = None,
    heights_datum: Annotated[float, typer.Option(help="Metres from its zero to the ellipsoid.")] = 0.0,
    patches: Annotated[Path | None, typer.Option(help="Instead of one scene: a data set in either layout.")] = None,
    bands: Annotated[str | None, typer.Option(help="Bands for a baseline, such as B04,B03,B02 or all.")] = None,
    window: Annotated[int, typer.Option(help="Side of a window in pixels, a multiple of 4; more is faster.")] = 1024,
    statistics: Annotated[Adapted, typer.Option(help="Adapt to the scene, or to each window.")] = Adapted.SCENE,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Write the spread of an ensemble, too.")] = False,
    other: Annotated[list[str] | None, typer.Option(help="Other weights for the uncertainty; may be repeated.")] = None,
    engine: Annotated[Engine, typer.Option(help="What runs a network; openvino is an extra.")] = Engine.TORCH,
    precision: Annotated[Precision, typer.Option(help="What a network computes in.")] = Precision.AUTO,
    clouds: Annotated[CloudMode, typer.Option(help="Cloud map.")] = CloudMode.CONTINUOUS,
    detector: Annotated[str, typer.Option(help="Detector; s2cloudless+shadow mends shadow, too.")] = "s2cloudless",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best there is if omitted.")] = None,
) -> None:
    """Remove the clouds of one scene of any size, or of every pair of patches of a data set.

    Pixels that the cloud map calls clear (m = 0) keep their stored numbers. Interrupted work on a scene goes on where
    it was; a folder with a summary.json is done.
    """
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.settings import settings_from

    settings = settings_from(CloudMapSettings, {"mode": clouds.value, "detector": detector}, origin="these options")
    found = [_found(name, bands, device, precision, engine) for name in (remover, *(other or ()))]
    if patches is not None and cloudy is None and sar is None:
        _predict_patches(found[0], patches, out, settings, device)
    elif patches is None and cloudy is not None and sar is not None:
        how = {"window_px": window, "statistics": statistics.value, "uncertainty": uncertainty or len(found) > 1}
        radar = {"align": align, "units": units, "heights": heights, "heights_datum_m": heights_datum}
        _predict_scene(found, cloudy, sar, out, {**how, "clouds": settings.model_dump(), "radar": radar})
    else:
        raise InputError("expected --cloudy and --sar, or --patches alone; give one of the two")


def _found(
    name: str | None, bands: str | None, device: str | None, precision: Precision, engine: Engine
) -> "CloudRemover":
    from dataclasses import replace

    from unclouded.cli.options import chosen_device
    from unclouded.models.catalogue import find_remover
    from unclouded.models.network import NetworkRemover
    from unclouded.prediction.choice import best_of_scene
    from unclouded.sensors import RGB, SENTINEL2

    chosen = None if bands is None else SENTINEL2.named(SENTINEL2.bands if bands == "all" else bands.split(","))
    if name is None:
        return best_of_scene(chosen or RGB)
    remover = find_remover(name, chosen, chosen_device(device))
    if isinstance(remover, NetworkRemover):
        return replace(remover, precision=precision.value, engine=engine.value)
    return remover


def _predict_scene(removers: "list[CloudRemover]", cloudy: Path, sar: Path, out: Path, content: dict[str, Any]) -> None:
    from functools import partial

    from rich.console import Console

    from unclouded.cli.progress import shown_progress
    from unclouded.prediction.scene import SceneSettings, clear
    from unclouded.settings import settings_from

    settings = settings_from(SceneSettings, content, origin="these options")
    say = partial(Console(stderr=True).print, markup=False, highlight=False)
    with shown_progress() as told:
        scene = clear(removers[0], cloudy, sar, out, settings, others=removers[1:], told=told, say=say)
    pixels = scene.summary["pixels"]
    made = sum(pixels[name] for name in ("blended", "synthesised", "near_gap"))
    rest = f"{pixels['observed']:,} as observed, {pixels['no_data']:,} without data"
    Console().print(f"{scene.files['clear']}: {made:,} px made, {rest}")


def _predict_patches(
    remover: "CloudRemover", root: Path, out: Path, settings: "CloudMapSettings", device: str | None
) -> None:
    from rich.console import Console

    from unclouded import __version__
    from unclouded.cli.options import chosen_device, tell_left_out
    from unclouded.cli.progress import counted, shown_progress
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.files import require_writable
    from unclouded.patches.layouts import find_triplets
    from unclouded.prediction.patches import predict_patch, require_apart_from, write_prediction

    inventory = find_triplets(root)
    pairs = inventory.require_observations()
    tell_left_out(inventory.unpredictable)
    for files in pairs:
        require_apart_from(files, out)
    require_writable(out)
    cache, place = ProbabilityCache(), chosen_device(device)
    tags = {
        "UNCLOUDED_VERSION": __version__,
        "UNCLOUDED_REMOVER": remover.name,
        "UNCLOUDED_CLOUDS": settings.model_dump_json(),
    }
    with shown_progress() as told:
        for files in counted(pairs, "predicting", len(pairs), told):
            written = write_prediction(predict_patch(remover, files, settings, cache, place), out, tags)
    Console().print(f"{len(pairs)} images in {out}, the last one {written.name}")
