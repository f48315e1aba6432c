"""Town and villages: quarters between streets, houses with gardens, halls with large roofs."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from unclouded.simulation.noise import fractal_noise
from unclouded.simulation.parcels import Parcels, borders
from unclouded.simulation.terrain import Terrain

RADAR_LOOK_DEG = 78.0
"""Direction in which the radar looks, clockwise from north: right of an ascending orbit."""


class Surface(IntEnum):
    """What a town is made of."""

    TILES = 0
    CONCRETE = 1
    METAL = 2
    ASPHALT = 3
    GARDEN = 4


class Quarter(IntEnum):
    """What the houses between four streets are for."""

    HOMES = 0
    CENTRE = 1
    HALLS = 2
    PARK = 3


_MIX = np.array(
    [
        [0.34, 0.12, 0.01, 0.17, 0.36],
        [0.34, 0.34, 0.05, 0.22, 0.05],
        [0.02, 0.36, 0.34, 0.24, 0.04],
        [0.01, 0.02, 0.01, 0.06, 0.90],
    ]
)
"""Weight of each :class:`Surface` in each kind of :class:`Quarter`."""
_STREET = np.array([0, 0.10, 0, 0.75, 0.15], np.float32)
"""Share of each :class:`Surface` in a street."""


@dataclass(frozen=True, eq=False)
class Town:
    """Built-up land.

    Attributes:
        area: Where the town is, streets included.
        surfaces: Shares of each :class:`Surface`, 0 outside.
        walls: Share of the ground where walls throw radar back, doubly bounced; 0 outside.
    """

    area: Bool[np.ndarray, "y x"]
    surfaces: Float32[np.ndarray, "surface y x"]
    walls: Float32[np.ndarray, "y x"]


def invent_town(rng: np.random.Generator, terrain: Terrain) -> Town:
    """Invent a town at the river and a few villages on flat ground."""
    place, nearness = _places(rng, terrain)
    ragged = 0.3 * fractal_noise(rng, len(place), 1.0, 60, 5) - 3 * terrain.steepness
    area = (nearness + ragged > 0) & (terrain.shore_px > 1)
    y, x = (position.astype(np.float32) for position in np.nonzero(area))
    angles = rng.uniform(0, np.pi / 2, int(place.max()) + 1).astype(np.float32)
    quarters = Parcels(x, y, place[area], angles).cut(rng, area=170, turn=0.06)
    surfaces, built = _built(rng, quarters, nearness[area])
    streets = borders(_painted(area, quarters.number, -1))[area]
    surfaces[:, streets] = _STREET[:, None]
    facing = np.exp(-((_skew(quarters.angle) / np.radians(14)) ** 2))[quarters.number]
    walls = np.where(streets, 0.05, built * (0.25 + 0.75 * facing)).astype(np.float32)
    return Town(area, np.stack([_painted(area, share, 0) for share in surfaces]), _painted(area, walls, 0))


def _places(rng: np.random.Generator, terrain: Terrain) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Number of the nearest place, the town being 0, and how near it is: 1 in its middle, 0 at its edge."""
    size_px = len(terrain.height_m)
    town = rng.choice(terrain.course).clip(0.25 * size_px, 0.75 * size_px) + rng.normal(0, 12, 2)
    villages = rng.uniform(0.05, 0.95, (size_px**2 // 330**2, 2)) * size_px
    radii = np.concatenate([[np.clip(0.085 * size_px, 30, 95)], rng.uniform(9, 20, len(villages))])
    place, nearness = np.zeros((size_px, size_px), np.int64), np.full((size_px, size_px), -9, np.float32)
    for number, (centre, radius) in enumerate(zip([town, *villages], radii, strict=True)):
        window = tuple(slice(max(0, int(c - 2.2 * radius)), max(0, int(c + 2.2 * radius))) for c in centre)
        row, column = (np.arange(size_px)[part] - c for part, c in zip(window, centre, strict=True))
        near = (1 - np.hypot(row[:, None], column) / radius).astype(np.float32)
        place[window][near > nearness[window]] = number
        nearness[window] = np.maximum(near, nearness[window])
    return place, nearness


def _built(
    rng: np.random.Generator, quarters: Parcels, nearness: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shares of the surfaces at each point, and how densely it is built; each house and each hall is a mixture."""
    kinds = rng.choice(len(Quarter), quarters.count, p=[0.66, 0.08, 0.18, 0.08])
    kinds[quarters.mean(nearness) > 0.7] = Quarter.CENTRE
    kind, halls = kinds[quarters.number], quarters.cut(rng, area=30)
    houses = halls.cut(rng, area=3)
    house = rng.dirichlet(np.full(len(Surface), 0.45), houses.count)[houses.number]
    hall = rng.dirichlet(np.full(len(Surface), 0.15), halls.count)[halls.number]
    own = np.where((kind == Quarter.HALLS)[:, None], hall, house) * _MIX[kind]
    shares = (0.35 * _MIX[kind] + 0.65 * own / own.sum(axis=1, keepdims=True)).astype(np.float32)
    built = shares[:, [Surface.TILES, Surface.CONCRETE, Surface.METAL]].sum(axis=1)
    return np.ascontiguousarray(shares.T), built


def _skew(angle: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far the nearest wall of a quarter is from facing the radar, radians."""
    look = np.radians(90 - RADAR_LOOK_DEG)  # from the x axis towards north, while y grows to the south
    return np.asarray((angle + look + np.pi / 4) % (np.pi / 2) - np.pi / 4, dtype=np.float32)


def _painted(area: NDArray[np.bool_], values: NDArray[np.generic], outside: float) -> NDArray[np.generic]:
    image = np.full(area.shape, outside, values.dtype)
    image[area] = values
    return image
