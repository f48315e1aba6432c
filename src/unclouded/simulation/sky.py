"""Clouds over an invented region: cumulus in heaps, a veil of cirrus, and shadows where the sun is behind them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.optics import spectrum
from unclouded.simulation.seasons import Season
from unclouded.simulation.terrain import PIXEL_M

# Thousandths of reflectance of opaque cloud; cumulus is near the median over the brightest clouds of a SEN12MS-CR test
# patch.
# fmt: off
#            B01  B02  B03  B04  B05  B06  B07  B08  B8A  B09  B10  B11  B12
_CUMULUS = (740, 758, 748, 806, 792, 830, 878, 818, 906, 200,   6, 676, 494)
_CIRRUS =  (620, 600, 580, 600, 600, 600, 600, 600, 610, 400, 200, 360, 300)
_DIMMING = (300, 350, 400, 460, 500, 550, 600, 600, 610, 620, 620, 690, 710)
# fmt: on


@dataclass(frozen=True, eq=False)
class Sky:
    """What stands between sun, ground and sensor.

    Attributes:
        cumulus: Opacity of low clouds, 0 to 1.
        cirrus: Opacity of high thin clouds, 0 to 1.
        sunlit: Brightness of cumulus, a factor around 1.
        shadow: Share of the direct sunlight that cumulus keeps from the ground.
    """

    cumulus: Float32[np.ndarray, "y x"]
    cirrus: Float32[np.ndarray, "y x"]
    sunlit: Float32[np.ndarray, "y x"]
    shadow: Float32[np.ndarray, "y x"]

    @property
    def opacity(self) -> Float32[np.ndarray, "y x"]:
        """Share of the ground's light that no sensor sees, 0 to 1."""
        return np.asarray(1 - (1 - self.cumulus) * (1 - self.cirrus))


def invent_sky(rng: np.random.Generator, size_px: int, season: Season, coverage: float) -> Sky:
    """Invent the clouds of one moment.

    Args:
        rng: Source of randomness.
        size_px: Rows, and columns.
        season: Where the sun stands.
        coverage: Share of the region under cumulus, thin edges included; cirrus comes on top.
    """
    heap = _heaps(rng, size_px)
    floor = np.quantile(heap, 1 - coverage) if coverage > 0 else np.inf
    depth = np.maximum(heap - np.float32(floor), 0)
    density = 1.8 * np.exp(0.7 * fractal_noise(rng, size_px, 1.5, 300, 40))
    cumulus = 1 - np.exp(-density * depth * smooth_step(depth, -0.1, 0.6))
    towards_sun = _towards_sun(season)
    slope = sum(-part * np.gradient(np.sqrt(depth + 0.02), axis=axis) for axis, part in enumerate(towards_sun))
    sunlit = (0.82 + 0.33 * (1 - np.exp(-1.2 * depth)) - 1.2 * slope).clip(0.6, 1.22)
    away_px = rng.uniform(700, 1600) / np.tan(np.radians(season.sun_elevation_deg)) / PIXEL_M
    shadow = np.roll(cumulus, [-round(away_px * part) for part in towards_sun], axis=(0, 1))
    return Sky(cumulus, _veil(rng, size_px), sunlit.astype(np.float32), shadow)


def _towards_sun(season: Season) -> tuple[float, float]:
    """Unit vector (rows, columns) on the ground towards the sun."""
    azimuth = np.radians(season.sun_azimuth_deg)
    return -float(np.cos(azimuth)), float(np.sin(azimuth))


def _heaps(rng: np.random.Generator, size_px: int) -> NDArray[np.float32]:
    """Cauliflowers of several sizes, crowded in some places."""
    weather = fractal_noise(rng, size_px, 2, size_px, max(size_px / 5, 60))
    heaps = fractal_noise(rng, size_px, 1.5, 150, 8)
    puffs = np.abs(fractal_noise(rng, size_px, 1.1, 45, 3))
    return np.asarray(0.9 * weather + 0.8 * heaps + 0.5 * puffs)


def _veil(rng: np.random.Generator, size_px: int) -> NDArray[np.float32]:
    """Streaks of ice, somewhere."""
    sheet = fractal_noise(rng, size_px, 2, 0.7 * size_px, 80)
    fibres = fractal_noise(rng, size_px, 1.3, 60, 3, stretch=8)
    return np.asarray(
        rng.uniform(0.12, 0.4) * smooth_step(0.8 * sheet + 0.7 * fibres, rng.uniform(0.3, 1.2), 3.0), dtype=np.float32
    )


def through(sky: Sky, clear: Float32[np.ndarray, "band y x"]) -> Float32[np.ndarray, "band y x"]:
    """Return what a sensor above the clouds sees of a clear-sky image: its shadows darkened, then clouds over it.

    Args:
        sky: Clouds and their shadows.
        clear: TOA reflectance of all 13 bands.
    """
    air = spectrum("air")
    seen = np.empty_like(clear)
    for band, (cumulus, cirrus, dimming) in enumerate(zip(_CUMULUS, _CIRRUS, _DIMMING, strict=True)):
        ground = air[band] + (clear[band] - air[band]) * (1 - np.float32(dimming / 1000) * sky.shadow)
        ground += sky.cumulus * (np.float32(cumulus / 1000) * sky.sunlit - ground)
        ground += sky.cirrus * (np.float32(cirrus / 1000) - ground)
        seen[band] = ground
    return seen
