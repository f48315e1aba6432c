"""Cloud removal for patches; outputs keep grid, type, bands and clear pixels of the input."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Integer

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import PRODUCT, CloudMapSettings, cloud_map
from unclouded.files import require_apart
from unclouded.io.geotiff import StoredImage, file_of, read_stored, write_geotiff
from unclouded.io.raster import to_stored
from unclouded.models.network import require_level
from unclouded.models.remover import RIM, CloudRemover, keep_clear_pixels
from unclouded.models.weights import choose_map
from unclouded.patches.layouts import TripletFiles
from unclouded.patches.reading import Damaged, DamagedTriplet, PatchRasters, each_readable, read_triplet
from unclouded.prediction.auto_remover import AutoRemover
from unclouded.sensors import SENTINEL2
from unclouded.tensors.dataset import observe, patch_season
from unclouded.tensors.observation import Observation, Season
from unclouded.tensors.predictions import require_prediction

REMOVER_TAG = "UNCLOUDED_REMOVER"
"""Tag with the name of the remover that was used, such as the one selected by ``auto``."""


@dataclass(frozen=True, eq=False)
class PredictedPatch:
    """Patch after cloud removal.

    Attributes:
        name: Patch name.
        observation: Input of the remover.
        stored: Stored integers of ``bands``, in the data type of the input; pixels with m = 0 equal the input.
        bands: Bands of the remover.
        source: Cloudy file: grid, nodata tag and band names.
        used: Name of the remover that was used.
    """

    name: str
    observation: Observation
    stored: Integer[np.ndarray, "band y x"]
    bands: tuple[str, ...]
    source: StoredImage
    used: str

    @property
    def cloud_map(self) -> Float32[np.ndarray, "1 y x"]:
        """The map m."""
        return self.observation.cloud_map[0].numpy()

    @property
    def reflectance(self) -> torch.Tensor:
        """TOA reflectance of the stored integers, with a batch of one."""
        return torch.from_numpy(self.stored.astype(np.float32))[None] / SENTINEL2.stored_per_unit


def predict_patch(
    remover: CloudRemover,
    files: TripletFiles,
    clouds: CloudMapSettings | None = None,
    cache: ProbabilityCache | None = None,
    device: str = "cpu",
) -> PredictedPatch:
    """Remove the clouds of one patch.

    Args:
        remover: Network or baseline.
        files: Radar and cloudy image; the clear one is not read.
        clouds: Settings of the map m; fields that are not set are taken from the training of the weights.
        cache: Cache of cloud probabilities.
        device: Device of the remover.

    Raises:
        InputError: The files do not fit together, are damaged, or have pixels without data; the remover is for L2A,
            while patches are L1C; or it returned no valid image.
    """
    (predicted,) = predict_patches(remover, [files], clouds, cache, device)
    return predicted


def predict_patches(
    remover: CloudRemover,
    files: Sequence[TripletFiles],
    clouds: CloudMapSettings | None = None,
    cache: ProbabilityCache | None = None,
    device: str = "cpu",
    *,
    damaged: Damaged = "refuse",
    skipped: list[DamagedTriplet] | None = None,
) -> Iterator[PredictedPatch]:
    """Remove the clouds of patches, one after the other; see :func:`predict_patch`.

    Args:
        remover: Network or baseline.
        files: Radar and cloudy images.
        clouds: Settings of the map m; fields that are not set are taken from the training of the weights.
        cache: Cache of cloud probabilities.
        device: Device of the remover.
        damaged: Handling of damaged patches.
        skipped: Damaged patches that were skipped are added to this list.

    Raises:
        InputError: As for :func:`predict_patch`, but for damaged patches that are skipped; or all are damaged.
    """
    require_level(remover, "L1C")
    trained = choose_map([remover], clouds, without_weights=PRODUCT).used
    names, regions = [one.name for one in files], {one.name: one.roi for one in files}
    for patch, source in each_readable(names, lambda i: _read(files[i]), damaged, [] if skipped is None else skipped):
        season = patch_season(regions[patch.name], patch.cloudy.geobox)
        yield _predicted(remover, patch, source, season, trained, cache, device)


def _read(files: TripletFiles) -> tuple[PatchRasters, StoredImage]:
    return read_triplet(replace(files, clear=None)), read_stored(files.cloudy)


def _predicted(
    remover: CloudRemover,
    patch: PatchRasters,
    source: StoredImage,
    season: Season | None,
    clouds: CloudMapSettings,
    cache: ProbabilityCache | None,
    device: str,
) -> PredictedPatch:
    m = cloud_map(patch.cloudy.values, patch.cloudy.bands, clouds, cache=cache, sar=patch.sar.values)
    observation = observe(patch.sar.values, patch.cloudy.values, m, remover.bands, season)
    on_device = observation.to(device)
    # the selected remover has a name of its own, which is written to the file
    used = remover.adapt([on_device]) if isinstance(remover, AutoRemover) else remover
    prediction = require_prediction(used(on_device), on_device, used.name, patch.name)
    prediction = keep_clear_pixels(prediction, on_device, RIM)
    reflectance = prediction[0].detach().float().cpu().numpy()
    stored = compose(reflectance, source.values[SENTINEL2.indices(*remover.bands)], m)
    return PredictedPatch(patch.name, observation, stored, remover.bands, source, used.name)


def compose(
    reflectance: Float32[np.ndarray, "band y x"],
    observed: Integer[np.ndarray, "band y x"],
    cloud_map: Float32[np.ndarray, "y x"],
) -> Integer[np.ndarray, "band y x"]:
    """Store the prediction where m > 0 and keep the observed integers, bit for bit, where m = 0."""
    predicted = to_stored(reflectance, SENTINEL2, observed.dtype)
    return np.where(cloud_map > 0, predicted, observed)


def require_apart_from(files: TripletFiles, folder: Path) -> None:
    """Refuse an output folder where the prediction of a patch would overwrite its input.

    Raises:
        InputError: One of the output files is an input file.
    """
    for written in _written(files.name, folder):
        for source in (files.sar, files.cloudy, files.clear):
            if source is not None:
                require_apart(written, file_of(source))


def _written(name: str, folder: Path) -> tuple[Path, Path]:
    """Return the output paths of image and cloud map."""
    return folder / f"{name}.tif", folder / f"{name}_cloud_map.tif"


def write_prediction(predicted: PredictedPatch, folder: Path, tags: Mapping[str, str]) -> Path:
    """Write ``NAME.tif`` and ``NAME_cloud_map.tif`` into a folder, each whole or not at all; return the first.

    The image has the grid, data type, nodata tag and band names of the input; band names of the sensor are used if the
    input has none.
    """
    source = predicted.source
    names = [source.descriptions[i] or SENTINEL2.bands[i] for i in SENTINEL2.indices(*predicted.bands)]
    image, cloud_map = _written(predicted.name, folder)
    tags = {REMOVER_TAG: predicted.used, **tags}
    write_geotiff(image, predicted.stored, tuple(names), source.geobox, nodata=source.nodata, tags=tags)
    write_geotiff(cloud_map, predicted.cloud_map, ("cloud map m",), source.geobox)
    return image
