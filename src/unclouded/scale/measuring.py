"""How cloudy a product is over a region, and how much of the region it shows: looked at once, coarsely."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from unclouded.clouds.detector import has_data
from unclouded.clouds.map import PAPER, map_clouds
from unclouded.clouds.probability import S2CLOUDLESS
from unclouded.scale.regions import fingerprint
from unclouded.scale.tasks import content_id
from unclouded.scenes.overview import COARSE_M, STEP, read_overview
from unclouded.store import ArrayStore, default_folder

MAP = PAPER.model_copy(update={"sigma_px": PAPER.sigma_px / STEP})
"""The paper's map in pixels of 60 m: the same detector and threshold, and the Gaussian of the same metres."""
LIMIT_BYTES = 64 << 20


def look_at(
    path: Path,
    center: tuple[float, float],
    size_px: tuple[int, int],
    work_folder: Path | None = None,
    tile: str | None = None,
) -> tuple[float | None, float]:
    """Measure the clouds of a Level-1C product over a region, in pixels of 60 m; kept by the content of the product.

    Args:
        path: SAFE folder or zip.
        center: Longitude and latitude of the region's middle.
        size_px: Its rows and columns, in pixels of 10 m.
        work_folder: Where a zip is unpacked; the system's temporary folder if omitted.
        tile: Which granule, where a product of the old format has several.

    Returns:
        The mean of the cloud map m over what the product shows of the region, None where that is nothing; and the
        share of the region that it shows.

    Raises:
        InputError: Another product, or one that is damaged.
    """
    store = ArrayStore(default_folder() / "region-coverage", LIMIT_BYTES)
    which = [] if tile is None else [tile]
    key = content_id("coverage 1", fingerprint(path), center, size_px, COARSE_M, S2CLOUDLESS.version, *which)
    measured = store.get(key)
    if measured is None:
        measured = _measured(path, center, size_px, work_folder, tile)
        store.put(key, measured)
    coverage, shown = measured.tolist()
    return (coverage if shown else None), shown


def _measured(
    path: Path, center: tuple[float, float], size_px: tuple[int, int], work_folder: Path | None, tile: str | None
) -> Float32[np.ndarray, " 2"]:
    bands = S2CLOUDLESS.bands
    reflectance = read_overview(path, bands, center, size_px, work_folder, tile)
    seen = has_data(reflectance)
    clouds = map_clouds(reflectance, bands, MAP)
    coverage = float(clouds[seen].mean(dtype=np.float64)) if seen.any() else 0.0
    return np.array([coverage, seen.mean()], np.float32)
