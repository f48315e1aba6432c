"""Simulated land cover of a region, the common input of the simulated radar and optical images.

Terrain and fields are overlaid with forest, water, and a town with villages, whose quarters lie between streets.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from unclouded.simulation.fields import (
    SEASON_DAYS,
    Crop,
    Fields,
    Growth,
    Parcels,
    Season,
    Sowing,
    borders,
    grow,
    simulate_fields,
    sow,
)
from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.terrain import Terrain, simulate_terrain


class LandCover(IntEnum):
    """Land cover class of a pixel."""

    WATER = 0
    FOREST = 1
    GRASS = 2
    CROP = 3
    TOWN = 4
    ROAD = 5


_CHANGED_FIELDS = 0.3
"""Share of fields with another crop a season earlier."""


@dataclass(frozen=True, eq=False)
class Town:
    """Built-up land.

    Attributes:
        area: Pixels of towns, streets included.
        surfaces: Share of each :class:`Surface`, 0 outside.
        walls: Share of the ground with double-bounce radar echoes of walls; 0 outside.
    """

    area: Bool[np.ndarray, "y x"]
    surfaces: Float32[np.ndarray, "surface y x"]
    walls: Float32[np.ndarray, "y x"]


@dataclass(frozen=True, eq=False)
class Land:
    """State of the ground.

    Attributes:
        terrain: Relief and water.
        town: Built-up land, for pixels with the cover town.
        cover: Classes of :class:`LandCover`.
        growth: Plant cover, for pixels with the cover grass or crop.
        needles: Share of conifers, for pixels with the cover forest.
        moisture: Wetness of the top soil, 0 to 1.
        vigour: Vigour of the plants; mean 0, standard deviation 1.
        tone: Factor around 1 on the optical brightness of soil and plants, without effect on radar.
        fields: Fields and their crops.
        sowing: Sowing of the fields.
    """

    terrain: Terrain
    town: Town
    cover: UInt8[np.ndarray, "y x"]
    growth: Growth
    needles: Float32[np.ndarray, "y x"]
    moisture: Float32[np.ndarray, "y x"]
    vigour: Float32[np.ndarray, "y x"]
    tone: Float32[np.ndarray, "y x"]
    fields: Fields
    sowing: Sowing

    def before(self, rng: np.random.Generator, season: Season, days: float) -> "Land":
        """Return the same land some days earlier: other growth and moisture, and another crop in a few fields.

        Args:
            rng: Source of randomness.
            season: Season of this land.
            days: At most 91.
        """
        crop = self.fields.crop.copy()
        changed = rng.random(len(crop)) < _CHANGED_FIELDS * days / SEASON_DAYS
        crop[changed] = (crop[changed] + rng.integers(1, len(Crop), int(changed.sum()))) % len(Crop)
        growth = grow(replace(self.fields, crop=crop), season.before(days), self.vigour, self.sowing)
        drier = 0.1 * rng.standard_normal() * fractal_noise(rng, len(self.cover), 0.8, 200)
        return replace(self, growth=growth, moisture=(self.moisture + drier).clip(0, 1).astype(np.float32))


def simulate_land(rng: np.random.Generator, size_px: int, season: Season) -> Land:
    """Simulate fields, forest, hills, water and town.

    Args:
        rng: Source of randomness.
        size_px: Number of rows and of columns.
        season: Season, which determines growth and soil moisture.
    """
    terrain = simulate_terrain(rng, size_px)
    town, fields = simulate_town(rng, terrain), simulate_fields(rng, terrain)
    soil, vigour = fractal_noise(rng, size_px, 0.8, 70), fractal_noise(rng, size_px, 1.0, 90)
    cover, sowing = _cover(rng, terrain, town, fields), sow(rng, fields)
    return Land(
        terrain=terrain,
        town=town,
        cover=cover,
        growth=grow(fields, season, vigour, sowing),
        needles=smooth_step(fractal_noise(rng, size_px, 1.2, 120), -0.1, 0.5),
        moisture=_moisture(rng, terrain, fields, season.moisture + 0.1 * soil),
        vigour=vigour,
        tone=_by_field(fields, np.exp(0.07 * rng.standard_normal(fields.parcels.count))) * (1 + 0.02 * soil),
        fields=fields,
        sowing=sowing,
    )


def _by_field(fields: Fields, values: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(values.astype(np.float32)[fields.number])


def _moisture(
    rng: np.random.Generator, terrain: Terrain, fields: Fields, soil: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return the soil moisture: high along water, low on hills, and different in every field."""
    moisture = soil + _by_field(fields, 0.12 * rng.standard_normal(fields.parcels.count))
    moisture += 0.15 * np.exp(-terrain.shore_px / 30) - 0.08 * smooth_step(terrain.height_m, 40, 80)
    return np.asarray(moisture.clip(0, 1), dtype=np.float32)


def _cover(rng: np.random.Generator, terrain: Terrain, town: Town, fields: Fields) -> UInt8[np.ndarray, "y x"]:
    """Return the land cover; later layers overwrite earlier ones, except that bridges interrupt the water."""
    edges = borders(fields.number)
    hedges = fractal_noise(rng, len(edges), 1.0, 80)
    ponds = (rng.random(fields.parcels.count) < 0.05) & (fields.mean(terrain.shore_px) < 30)
    layers = (
        (LandCover.GRASS, (fields.crop == Crop.LEY)[fields.number]),
        (LandCover.GRASS, edges & (hedges < -0.2)),
        (LandCover.FOREST, edges & (hedges > 0.7)),
        (LandCover.FOREST, terrain.shore_px < 1.5 + hedges),
        (LandCover.FOREST, _forest(rng, terrain, fields)),
        (LandCover.WATER, ponds[fields.number] & ~edges),
        (LandCover.TOWN, town.area),
        (LandCover.ROAD, fields.roads & ~town.area),
        (LandCover.WATER, terrain.river & ~fields.roads | terrain.lake),
    )
    cover = np.full(edges.shape, LandCover.CROP, np.uint8)
    for name, where in layers:
        cover[where] = name
    return cover


def _forest(rng: np.random.Generator, terrain: Terrain, fields: Fields) -> NDArray[np.bool_]:
    """Return the forest: mainly on slopes, with edges partly ragged and partly along fields, and a few clearings."""
    steep = uniform_filter(terrain.steepness, 15)
    wild = fractal_noise(rng, len(steep), 1.4, 220, 3) + 2.2 * smooth_step(steep, 0.04, 0.2)
    wild += fields.mean(wild)[fields.number]
    clearings = (rng.random(fields.parcels.count) < 0.06)[fields.number]
    return np.asarray((wild > np.quantile(wild[::4, ::4], 1 - rng.uniform(0.24, 0.38))) & ~clearings)


# Town and villages: quarters between streets, houses with gardens, halls with large roofs.

RADAR_LOOK_DEG = 78.0
"""Look direction of the radar, clockwise from north: to the right of an ascending orbit."""


class Surface(IntEnum):
    """Surface material of a town."""

    TILES = 0
    CONCRETE = 1
    METAL = 2
    ASPHALT = 3
    GARDEN = 4


class Quarter(IntEnum):
    """Use of the land between four streets."""

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


def simulate_town(rng: np.random.Generator, terrain: Terrain) -> Town:
    """Simulate a town at the river and a few villages on flat ground."""
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
    """Return the nearest settlement of each pixel (0 is the town), and its nearness: 1 at the centre, 0 at the edge."""
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
    """Return the shares of the surfaces at each point, mixed anew for each house and hall, and the building density."""
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
    """Return the angle between the radar's look direction and the nearest wall normal of a quarter, radians."""
    look = np.radians(90 - RADAR_LOOK_DEG)  # from the x axis towards north, while y grows to the south
    return np.asarray((angle + look + np.pi / 4) % (np.pi / 2) - np.pi / 4, dtype=np.float32)


def _painted(area: NDArray[np.bool_], values: NDArray[np.generic], outside: float) -> NDArray[np.generic]:
    image = np.full(area.shape, outside, values.dtype)
    image[area] = values
    return image
