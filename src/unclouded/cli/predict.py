"""``unclouded predict``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unclouded.cli.options import CloudMode
from unclouded.errors import InputError

if TYPE_CHECKING:
    from unclouded.patches.layouts import TripletFiles


def predict(
    remover: Annotated[str, typer.Argument(help="Weights file, scene-adapted, or a baseline: clear-mean, ...")],
    out: Annotated[Path, typer.Option(help="Folder for GeoTIFFs and pictures.")],
    cloudy: Annotated[Path | None, typer.Option(help="Cloudy Sentinel-2 GeoTIFF, 13 bands.")] = None,
    sar: Annotated[Path | None, typer.Option(help="Sentinel-1 GeoTIFF on the same grid, VV and VH in dB.")] = None,
    patches: Annotated[Path | None, typer.Option(help="Instead of one pair: a data set in either layout.")] = None,
    bands: Annotated[str | None, typer.Option(help="Bands for a baseline, such as B04,B03,B02 or all.")] = None,
    clouds: Annotated[CloudMode, typer.Option(help="Cloud map.")] = CloudMode.CONTINUOUS,
    detector: Annotated[str, typer.Option(help="Detector; s2cloudless+shadow mends shadow, too.")] = "s2cloudless",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best there is if omitted.")] = None,
) -> None:
    """Remove the clouds of one pair of images, or of every pair of a data set.

    Pixels that the cloud map calls clear (m = 0) keep their stored numbers.
    """
    from rich.console import Console

    from unclouded import __version__
    from unclouded.cli.options import chosen_device
    from unclouded.cli.progress import shown_progress
    from unclouded.clouds.cache import ProbabilityCache
    from unclouded.clouds.map import CloudMapSettings
    from unclouded.files import require_writable
    from unclouded.models.catalogue import find_remover
    from unclouded.prediction.patches import predict_patch, require_apart_from, write_prediction
    from unclouded.sensors import SENTINEL2
    from unclouded.settings import settings_from

    pairs = _pairs(cloudy, sar, patches)
    for files in pairs:
        require_apart_from(files, out)
    require_writable(out)
    chosen = None if bands is None else SENTINEL2.named(SENTINEL2.bands if bands == "all" else bands.split(","))
    place = chosen_device(device)
    found = find_remover(remover, chosen, place)
    settings = settings_from(CloudMapSettings, {"mode": clouds.value, "detector": detector}, origin="these options")
    cache = ProbabilityCache()
    tags = {
        "UNCLOUDED_VERSION": __version__,
        "UNCLOUDED_REMOVER": found.name,
        "UNCLOUDED_CLOUDS": settings.model_dump_json(),
    }
    with shown_progress() as told:
        for done, files in enumerate(pairs, start=1):
            predicted = predict_patch(found, files, settings, cache, place)
            written = write_prediction(predicted, out, tags)
            told("predicting", done, len(pairs))
    Console().print(f"{len(pairs)} images in {out}, the last one {written.name}")


def _pairs(cloudy: Path | None, sar: Path | None, patches: Path | None) -> "tuple[TripletFiles, ...]":
    """The pairs that the options name: one, or all of a data set."""
    from unclouded.cli.options import tell_left_out
    from unclouded.patches.layouts import TripletFiles, find_triplets

    if patches is not None and cloudy is None and sar is None:
        inventory = find_triplets(patches)
        found = inventory.require_observations()
        tell_left_out(inventory.unpredictable)
        return found
    if patches is None and cloudy is not None and sar is not None:
        return (TripletFiles(cloudy.stem, None, sar, cloudy, None),)
    raise InputError("expected --cloudy and --sar, or --patches alone; give one of the two")
