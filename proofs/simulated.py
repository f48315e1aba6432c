"""Images of simulated regions as files: shared code of the proofs on whole scenes."""

from pathlib import Path

import numpy as np

from unclouded.io.geotiff import write_geotiff
from unclouded.io.raster import Raster, to_stored
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL2
from unclouded.simulation.region import simulate_region


def write_scene(out: Path, size: int, coverage: float) -> None:
    """Write the radar of a simulated region as ``s1.tif`` and its cloudy date as ``s2.tif``."""
    region = simulate_region(Roi("ROIs0000", "summer", 9), np.random.default_rng([7, 99]), size, coverage)
    write_radar(out / "s1.tif", region.sar)
    write_optical(out / "s2.tif", region.cloudy)


def write_radar(path: Path, image: Raster) -> None:
    """Write backscatter in dB."""
    write_geotiff(path, image.values, image.bands, image.geobox)


def write_optical(path: Path, image: Raster) -> None:
    """Write reflectance as stored numbers, 0 for no data."""
    write_geotiff(path, to_stored(image.values, SENTINEL2), image.bands, image.geobox, nodata=0)
