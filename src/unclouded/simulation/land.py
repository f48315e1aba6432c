"""What covers the ground of an invented region, as radar and optical sensor will both see it."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from unclouded.simulation.fields import Fields, Growth, grow, invent_fields
from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.parcels import borders
from unclouded.simulation.seasons import Crop, Season
from unclouded.simulation.terrain import Terrain, invent_terrain
from unclouded.simulation.town import Town, invent_town


class LandCover(IntEnum):
    """The true class of a pixel."""

    WATER = 0
    FOREST = 1
    GRASS = 2
    CROP = 3
    TOWN = 4
    ROAD = 5


@dataclass(frozen=True, eq=False)
class Land:
    """The state of the ground.

    Attributes:
        terrain: Relief and water.
        town: Buildings, where the cover is town.
        cover: Classes of :class:`LandCover`.
        growth: Plants, where the cover is grass or crop.
        needles: Share of conifers, where the cover is forest.
        moisture: Wetness of the top soil, 0 to 1.
        vigour: How well plants thrive; mean 0, standard deviation 1.
        tone: Brightness of soil and plants that only the optical sensor sees, a factor around 1.
    """

    terrain: Terrain
    town: Town
    cover: UInt8[np.ndarray, "y x"]
    growth: Growth
    needles: Float32[np.ndarray, "y x"]
    moisture: Float32[np.ndarray, "y x"]
    vigour: Float32[np.ndarray, "y x"]
    tone: Float32[np.ndarray, "y x"]


def invent_land(rng: np.random.Generator, size_px: int, season: Season) -> Land:
    """Invent fields, forest, hills, water and town.

    Args:
        rng: Source of randomness.
        size_px: Rows, and columns.
        season: How far the crops have grown, and how wet the soil is.
    """
    terrain = invent_terrain(rng, size_px)
    town, fields = invent_town(rng, terrain), invent_fields(rng, terrain)
    soil, vigour = fractal_noise(rng, size_px, 0.8, 70), fractal_noise(rng, size_px, 1.0, 90)
    return Land(
        terrain=terrain,
        town=town,
        cover=_cover(rng, terrain, town, fields),
        growth=grow(rng, fields, season, vigour),
        needles=smooth_step(fractal_noise(rng, size_px, 1.2, 120), -0.1, 0.5),
        moisture=_moisture(rng, terrain, fields, season.moisture + 0.1 * soil),
        vigour=vigour,
        tone=_by_field(fields, np.exp(0.07 * rng.standard_normal(fields.parcels.count))) * (1 + 0.02 * soil),
    )


def _by_field(fields: Fields, values: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(values.astype(np.float32)[fields.number])


def _moisture(
    rng: np.random.Generator, terrain: Terrain, fields: Fields, soil: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Wet along the water, dry on the hills, and different from field to field."""
    moisture = soil + _by_field(fields, 0.12 * rng.standard_normal(fields.parcels.count))
    moisture += 0.15 * np.exp(-terrain.shore_px / 30) - 0.08 * smooth_step(terrain.height_m, 40, 80)
    return np.asarray(moisture.clip(0, 1), dtype=np.float32)


def _cover(rng: np.random.Generator, terrain: Terrain, town: Town, fields: Fields) -> UInt8[np.ndarray, "y x"]:
    """Later layers cover earlier ones: fields, margins and hedges, forest, town, roads, ponds, water under bridges."""
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
    """Forest prefers slopes; its edges are ragged here and follow a field there; it has a few clearings."""
    steep = uniform_filter(terrain.steepness, 15)
    wild = fractal_noise(rng, len(steep), 1.4, 220, 3) + 2.2 * smooth_step(steep, 0.04, 0.2)
    wild += fields.mean(wild)[fields.number]
    clearings = (rng.random(fields.parcels.count) < 0.06)[fields.number]
    return np.asarray((wild > np.quantile(wild[::4, ::4], 1 - rng.uniform(0.24, 0.38))) & ~clearings)
