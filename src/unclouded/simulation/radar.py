"""Simulated Sentinel-1 backscatter of a region."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from unclouded.simulation.fields import Growth
from unclouded.simulation.land import RADAR_LOOK_DEG, Land, LandCover
from unclouded.simulation.noise import fractal_noise
from unclouded.simulation.terrain import Terrain

_Image = NDArray[np.floating]

INCIDENCE_DEG = 38.0
"""Incidence angle in the middle of the interferometric wide swath."""
_BLUR_PX = 0.7
"""Blur that turns single-look speckle into 6 looks; forest and sea in SEN12MS-CR show 6 and 5 (1.8 and 2.0 dB)."""


@dataclass(frozen=True)
class _Echo:
    """Backscatter of surfaces in one polarisation, dB, near what SEN12MS-CR test patches show."""

    dry_soil: float
    wet_soil: float
    leaves: float
    forest: float
    water: float
    road: float
    yard: float
    wall: float


_VV = _Echo(dry_soil=-14.5, wet_soil=-8.5, leaves=-10.4, forest=-7.8, water=-22.0, road=-14.5, yard=-11.0, wall=3.0)
_VH = _Echo(dry_soil=-23.0, wet_soil=-17.5, leaves=-15.6, forest=-13.6, water=-27.8, road=-22.0, yard=-18.0, wall=-6.5)


def backscatter(land: Land, rng: np.random.Generator) -> Float32[np.ndarray, "band y x"]:
    """Return VV and VH in dB, with speckle.

    Backscatter of soil increases with its moisture, leaves add volume scattering, walls and streets double bounces,
    water reflects specularly, and slopes facing the radar are bright.

    Args:
        land: State of the ground.
        rng: Source of randomness.
    """
    wind_db = 1.2 * fractal_noise(rng, len(land.cover), 1.2, 200, 8)
    corners, town = np.zeros(land.cover.shape, np.float32), land.town.area
    corners[town] = land.town.walls[town] * rng.standard_exponential(int(town.sum()), np.float32)
    power = np.stack([_ground(land, echo, wind_db, corners) for echo in (_VV, _VH)]) * _relief(land.terrain)
    power *= rng.standard_exponential(power.shape, np.float32)
    return np.asarray(10 * np.log10(gaussian_filter(power, (0, _BLUR_PX, _BLUR_PX), truncate=3)))


def _ground(land: Land, echo: _Echo, wind_db: _Image, corners: _Image) -> _Image:
    """Return the backscatter of level ground without speckle, as linear power."""
    ground = _under_leaves(_power(echo.dry_soil + (echo.wet_soil - echo.dry_soil) * land.moisture), echo, land.growth)
    for cover, power in (
        (LandCover.FOREST, _power(echo.forest + 0.5 * land.vigour - 0.5 * land.needles)),
        (LandCover.WATER, _power(echo.water + wind_db)),
        (LandCover.ROAD, _power(echo.road)),
        (LandCover.TOWN, _power(echo.yard) + corners * _power(echo.wall)),
    ):
        ground = np.where(land.cover == cover, power, ground)
    return ground


def _under_leaves(soil: _Image, echo: _Echo, growth: Growth) -> _Image:
    """Return soil under leaves by the water cloud model (Attema and Ulaby 1978, Radio Science 13), linear power."""
    plants = growth.leaves + 1.5 * growth.blossom + 0.15 * growth.straw
    through = np.exp(-1.4 * plants / np.float32(np.cos(np.radians(INCIDENCE_DEG))))
    return np.asarray((1 - through) * _power(echo.leaves) * (0.6 + 0.5 * plants) + through * soil)


def _relief(terrain: Terrain) -> _Image:
    """Return the factor of the slope: the more it faces the radar, the more ground area lies in a pixel."""
    south, east = terrain.rise
    look = np.radians(RADAR_LOOK_DEG)
    rise = np.arctan(np.sin(look) * east - np.cos(look) * south)
    local = np.clip(np.radians(INCIDENCE_DEG) - rise, np.radians(8), np.radians(80))
    return np.asarray(np.tan(np.radians(INCIDENCE_DEG)) / np.tan(local), dtype=np.float32)


def _power(decibel: float | _Image) -> _Image:
    return np.asarray(10 ** (np.asarray(decibel, np.float32) / 10), dtype=np.float32)
