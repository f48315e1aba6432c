"""Sentinel-1 backscatter of an invented region."""

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from unclouded.simulation.land import Land, LandCover
from unclouded.simulation.noise import fractal_noise
from unclouded.simulation.terrain import Terrain
from unclouded.simulation.town import RADAR_LOOK_DEG

INCIDENCE_DEG = 38.0
"""Angle between the radar beam and the vertical, in the middle of the interferometric wide swath."""
_BLUR_PX = 0.7
"""Blur that makes 6 looks of single-look speckle; in SEN12MS-CR speckle varies by 1.8 dB (6 looks) to 2.0 dB (5 looks)."""

_DRY_SOIL_DB = (-14.5, -23.0)
_WET_SOIL_DB = (-8.5, -17.5)
_LEAVES_DB = (-10.4, -15.6)
_FOREST_DB = (-7.8, -13.6)
_WATER_DB = (-22.0, -27.8)
_ROAD_DB = (-14.5, -22.0)
_YARD_DB = (-11.0, -18.0)
_WALL_DB = (3.0, -6.5)


def backscatter(land: Land, rng: np.random.Generator) -> Float32[np.ndarray, "band y x"]:
    """Return VV and VH in dB, with speckle.

    Soil shines the more the wetter it is, leaves lay a volume over it, walls and streets bounce twice, water mirrors
    the beam away, and slopes that face the radar are bright.
    """
    wind = 10 ** (0.12 * fractal_noise(rng, len(land.cover), 1.2, 200, 8))
    corners = np.zeros(land.cover.shape, np.float32)
    corners[land.town.area] = land.town.walls[land.town.area] * rng.exponential(1, land.town.area.sum())
    ground = np.stack([_ground(land, band, wind, corners) for band in (0, 1)]) * _relief(land.terrain)
    single_look = ground * rng.standard_exponential(ground.shape, np.float32)
    return np.asarray(10 * np.log10(gaussian_filter(single_look, (0, _BLUR_PX, _BLUR_PX), truncate=3)))


def _ground(
    land: Land, band: int, wind: NDArray[np.float32], walls: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Backscatter on level ground without speckle, linear power."""
    soil = _power(_DRY_SOIL_DB[band] + (_WET_SOIL_DB[band] - _DRY_SOIL_DB[band]) * land.moisture)
    plants = land.leaves + 1.5 * land.blossom + 0.15 * land.straw
    ground = _under_leaves(soil, _power(_LEAVES_DB[band]), plants)
    forest = _power(_FOREST_DB[band] + 0.5 * land.vigour - 0.5 * land.needles)
    town = _power(_YARD_DB[band]) + walls * _power(_WALL_DB[band])
    for cover, power in (
        (LandCover.FOREST, forest),
        (LandCover.WATER, _power(_WATER_DB[band]) * wind),
        (LandCover.ROAD, _power(_ROAD_DB[band])),
        (LandCover.TOWN, town),
    ):
        ground = np.where(land.cover == cover, power, ground)
    return ground


def _under_leaves(
    soil: NDArray[np.float32], leaves: np.float32, plants: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The water cloud model: leaves scatter themselves and hide the soil (Attema and Ulaby 1978, Radio Science 13)."""
    through = np.exp(-2 * 0.7 * plants / np.cos(np.radians(INCIDENCE_DEG)), dtype=np.float32)
    return (1 - through) * leaves * (0.6 + 0.5 * plants) + through * soil


def _relief(terrain: Terrain) -> NDArray[np.float32]:
    """Brightness of a slope: the beam lands on the more ground of a pixel, the more the slope faces it."""
    south, east = terrain.rise
    look = np.radians(RADAR_LOOK_DEG)
    rise = np.arctan(np.sin(look) * east - np.cos(look) * south)
    local = np.clip(np.radians(INCIDENCE_DEG) - rise, np.radians(8), np.radians(80))
    return np.asarray(np.tan(np.radians(INCIDENCE_DEG)) / np.tan(local), dtype=np.float32)


def _power(decibel: float | NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(10 ** (np.asarray(decibel, np.float32) / 10), dtype=np.float32)
