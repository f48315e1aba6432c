"""Simulated regions: radar, a clear and a cloudy image, and the true clouds, shadows and land cover."""

from dataclasses import dataclass

import numpy as np
from affine import Affine
from jaxtyping import Float32, UInt8
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.raster import Raster
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.simulation.fields import SEASONS
from unclouded.simulation.land import simulate_land
from unclouded.simulation.noise import fractal_noise
from unclouded.simulation.optics import clear_reflectance, simulate_sky, spectrum, through
from unclouded.simulation.radar import backscatter
from unclouded.simulation.terrain import PIXEL_M

SMALLEST_PX, LARGEST_PX = 256, 2000
"""Range of the side of a region: from one patch to the distance between regions."""
REFERENCE_COVERAGE = 0.1
"""Share of a reference under cumulus."""


@dataclass(frozen=True, eq=False)
class SimulatedRegion:
    """Simulated region.

    Attributes:
        roi: Name; the seed ``ROIs0000`` marks simulated regions.
        sar: VV and VH in dB, with speckle; a few walls exceed 0 dB.
        clear: TOA reflectance of 13 bands under a clear sky.
        cloudy: The same land on another date, under clouds and their shadows; exceeds 1 on sunlit cloud.
        cloud_opacity: Share of the ground's light blocked by clouds, cumulus and cirrus, 0 to 1.
        shadow: Share of the direct sunlight blocked by cumulus, 0 to 1.
        land_cover: Classes of :class:`~unclouded.simulation.land.LandCover`.
        reference: The same place some time before under few clouds, with other growth; None unless requested.
    """

    roi: Roi
    sar: Raster
    clear: Raster
    cloudy: Raster
    cloud_opacity: Float32[np.ndarray, "y x"]
    shadow: Float32[np.ndarray, "y x"]
    land_cover: UInt8[np.ndarray, "y x"]
    reference: Raster | None = None


def simulate_region(
    roi: Roi,
    rng: np.random.Generator,
    size_px: int = 1024,
    coverage: float = 0.45,
    reference_days: float | None = None,
) -> SimulatedRegion:
    """Simulate a region; the same name, generator state and size give the same region.

    Crops, leaves and the position of the sun depend on the season.

    Args:
        roi: Name; its season determines land and light, its season and number the position.
        rng: Source of randomness.
        size_px: Number of rows and of columns, of 10 m.
        coverage: Share of the region under cumulus, thin edges included, 0 to 1; cirrus is added.
        reference_days: Days by which the reference precedes, at most 91; no reference if omitted.

    Raises:
        InputError: The size or the coverage is out of range, or the season is unknown.
    """
    if not SMALLEST_PX <= size_px <= LARGEST_PX:
        raise InputError(f"expected a region of {SMALLEST_PX} to {LARGEST_PX} px, found {size_px}; choose another size")
    if not 0 <= coverage <= 1:
        raise InputError(f"expected a coverage from 0 to 1, found {coverage}; 0.45 covers nearly half of the region")
    if roi.season not in SEASONS:
        raise InputError(f"expected a season out of {', '.join(SEASONS)}, found {roi.season!r}; rename the region")
    season, geobox = SEASONS[roi.season], place(roi, size_px)
    land = simulate_land(rng, size_px, season)
    clear = clear_reflectance(land, season, rng)
    sky = simulate_sky(rng, size_px, season, coverage)
    reference = None
    if reference_days is not None:
        (other,) = rng.spawn(1)  # the other images do not depend on it
        earlier = clear_reflectance(land.before(other, season, reference_days), season.before(reference_days), other)
        few = simulate_sky(other, size_px, season, REFERENCE_COVERAGE)
        reference = Raster(through(few, earlier), SENTINEL2.bands, geobox)
    return SimulatedRegion(
        roi=roi,
        sar=Raster(backscatter(land, rng), SENTINEL1.bands, geobox),
        clear=Raster(clear, SENTINEL2.bands, geobox),
        cloudy=Raster(through(sky, _another_day(clear, rng)), SENTINEL2.bands, geobox),
        cloud_opacity=sky.opacity,
        shadow=sky.shadow,
        land_cover=land.cover,
        reference=reference,
    )


def place(roi: Roi, size_px: int) -> GeoBox:
    """Return the grid of a simulated region in EPSG:32632, with an origin off the 10 m raster.

    Regions with numbers below 300 do not overlap.
    """
    row, column = divmod(roi.number % 300, 20)
    east = 300_000 + 20_000 * column + 3.7
    north = 4_900_000 + 300_000 * sorted(SEASONS).index(roi.season) + 20_000 * row + 8.2
    return GeoBox((size_px, size_px), Affine(PIXEL_M, 0, east, 0, -PIXEL_M, north), "EPSG:32632")


def _another_day(clear: Float32[np.ndarray, "band y x"], rng: np.random.Generator) -> Float32[np.ndarray, "band y x"]:
    """Return the same land some days later: bands up to 2 % brighter or darker, other haze, and noise of 0.9 %."""
    haze = 0.03 * fractal_noise(rng, clear.shape[1], 2, 400, 40)
    gains = rng.normal(1, 0.008, len(clear)).clip(0.98, 1.02)
    other = np.empty_like(clear)
    for band, (gain, air) in enumerate(zip(gains, spectrum("air").ravel(), strict=True)):
        noise = rng.random(clear.shape[1:], np.float32) - np.float32(0.5)
        other[band] = clear[band] * (np.float32(gain) + np.float32(0.03) * noise) + air * haze
    return other
