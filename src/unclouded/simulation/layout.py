"""Output of simulated regions in the layout of SEN12MS-CR."""

from pathlib import Path

import numpy as np
import rasterio
from jaxtyping import Real
from odc.geo.geobox import GeoBox

from unclouded.files import whole_file
from unclouded.io.raster import to_stored
from unclouded.patches.roi import PatchId, Roi
from unclouded.sensors import SENTINEL2
from unclouded.simulation.fields import SEASONS
from unclouded.simulation.region import SimulatedRegion, simulate_region

PATCH_PX = 256
"""Side of a patch."""


def write_region(region: SimulatedRegion, root: Path, stride_px: int = 128) -> list[PatchId]:
    """Cut a region into patches and write three files per patch, named as in SEN12MS-CR.

    As in SEN12MS-CR, radar is float32 dB clipped at 0, optical images are uint16 reflectance x 10 000, and files have
    no band names, no nodata tag and no compression. Patches extending beyond the region are omitted.

    Args:
        region: Region to write.
        root: Root folder of the data set.
        stride_px: Distance between the corners of neighbouring patches; 128 gives the overlap of section III-A.

    Returns:
        Ids of the patches, numbered from 1 row by row.
    """
    stored = {
        "s1": np.minimum(region.sar.values, np.float32(0)),
        "s2": to_stored(region.clear.values, SENTINEL2),
        "s2_cloudy": to_stored(region.cloudy.values, SENTINEL2),
    }
    size_px = region.sar.geobox.shape[0]
    corners = range(0, size_px - PATCH_PX + 1, stride_px)
    windows = [np.s_[top : top + PATCH_PX, left : left + PATCH_PX] for top in corners for left in corners]
    patches = [PatchId(region.roi, number) for number in range(1, len(windows) + 1)]
    for patch, window in zip(patches, windows, strict=True):
        for sensor, values in stored.items():
            _write(root / patch.path(sensor), values[:, *window], region.sar.geobox[window])
    return patches


def _write(path: Path, values: Real[np.ndarray, "band y x"], geobox: GeoBox) -> None:
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype.name, "interleave": "band"}
    with (
        whole_file(path) as partial,
        rasterio.open(partial, "w", "GTiff", crs=str(geobox.crs), transform=geobox.affine, **shape) as target,
    ):
        target.write(values)


def simulate_data_set(root: Path, seed: int, regions: int = 8, size_px: int = 512) -> list[Roi]:
    """Write a small data set of simulated regions in the layout of SEN12MS-CR.

    Region i has the season i mod 4 (spring, summer, fall, winter) and the number i // 4 + 1. Cloud coverages are spread
    evenly over 0.05 to 0.95. A region depends on the seed and its index only, not on the number of regions.

    Args:
        root: Root folder of the data set.
        seed: Seed of the simulation.
        regions: Number of regions.
        size_px: Number of rows and of columns of each region.
    """
    seasons, golden = list(SEASONS), (5**0.5 - 1) / 2
    rois = []
    for index in range(regions):
        roi = Roi("ROIs0000", seasons[index % len(seasons)], index // len(seasons) + 1)
        coverage = 0.05 + 0.9 * ((index + 1) * golden % 1)
        write_region(simulate_region(roi, np.random.default_rng([seed, index]), size_px, coverage), root)
        rois.append(roi)
    return rois
