"""What covers the ground of an invented region, as radar and optical sensor will both see it."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.parcels import Parcels, borders
from unclouded.simulation.seasons import CROP_SHARES, Crop, Season
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
        town: Buildings.
        cover: Classes of :class:`LandCover`.
        leaves: Share of open ground under green leaves of crops or grass, 0 to 1.
        straw: Share of open ground under ripe or dead plants.
        blossom: Share of open ground under yellow flowers.
        needles: Share of conifers, where there is forest.
        moisture: Wetness of the top soil, 0 to 1.
        vigour: How well plants thrive; mean 0, standard deviation 1.
        tone: Brightness that only the optical sensor sees, a factor around 1.
    """

    terrain: Terrain
    town: Town
    cover: UInt8[np.ndarray, "y x"]
    leaves: Float32[np.ndarray, "y x"]
    straw: Float32[np.ndarray, "y x"]
    blossom: Float32[np.ndarray, "y x"]
    needles: Float32[np.ndarray, "y x"]
    moisture: Float32[np.ndarray, "y x"]
    vigour: Float32[np.ndarray, "y x"]
    tone: Float32[np.ndarray, "y x"]


def invent_land(rng: np.random.Generator, size_px: int, season: Season) -> Land:
    """Invent a region of fields, forest, hills, water and town, in a season.

    Args:
        rng: Source of randomness.
        size_px: Rows, and columns, of 10 m.
        season: How far the crops have grown, and how wet the soil is.
    """
    terrain = invent_terrain(rng, size_px)
    town = invent_town(rng, terrain)
    blocks, fields = _parcels(rng, size_px)
    crop = _crops(rng, fields, terrain)
    cover = _cover(rng, terrain, town, blocks, fields, crop)
    vigour = fractal_noise(rng, size_px, 1.0, 90)
    leaves, straw, blossom = _growth(rng, season, fields, crop, cover, vigour)
    soil = fractal_noise(rng, size_px, 0.8, 70)
    moisture = season.moisture + 0.12 * rng.standard_normal(fields.count, np.float32)[_image(fields)]
    moisture += 0.10 * soil + 0.15 * np.exp(-terrain.shore_px / 30) - 0.08 * (terrain.height_m > 60)
    tone = np.exp(0.07 * rng.standard_normal(fields.count, np.float32))[_image(fields)] * (1 + 0.02 * soil)
    needles = smooth_step(fractal_noise(rng, size_px, 1.2, 120), -0.1, 0.5)
    return Land(terrain, town, cover, leaves, straw, blossom, needles, moisture.clip(0, 1), vigour, tone)


def _image(parcels: Parcels) -> NDArray[np.int64]:
    """Numbers of the parcels as a square image."""
    return parcels.number.reshape(np.sqrt(len(parcels.number)).astype(int), -1)


def _parcels(rng: np.random.Generator, size_px: int) -> tuple[Parcels, Parcels]:
    """Blocks between roads, and the fields inside them; both bend with the land."""
    row, column = np.mgrid[:size_px, :size_px].astype(np.float32)
    x = column + 9 * fractal_noise(rng, size_px, 2, 300, 30)
    y = row + 9 * fractal_noise(rng, size_px, 2, 300, 30)
    blocks = Parcels.whole(x.ravel(), y.ravel(), rng.uniform(0, np.pi)).cut(rng, area=150**2, turn=0.15)
    return blocks, blocks.cut(rng, area=650, turn=0.03, strips=0.25)


def _crops(rng: np.random.Generator, fields: Parcels, terrain: Terrain) -> NDArray[np.int64]:
    """Draw a crop for each field: pasture on wet and on steep ground."""
    steep, shore_px = fields.mean(terrain.steepness.ravel()), fields.mean(terrain.shore_px.ravel())
    crop = rng.choice(len(Crop), fields.count, p=CROP_SHARES)
    pasture = rng.random(fields.count) < 0.75 * np.exp(-shore_px / 22) + smooth_step(steep, 0.06, 0.14)
    return np.where(pasture, Crop.LEY, crop)


def _cover(
    rng: np.random.Generator, terrain: Terrain, town: Town, blocks: Parcels, fields: Parcels, crop: NDArray[np.int64]
) -> UInt8[np.ndarray, "y x"]:
    size_px = len(terrain.height_m)
    roads, edges = borders(_image(blocks)), borders(_image(fields))
    hedges = fractal_noise(rng, size_px, 1.0, 80)
    cover = np.where(crop == Crop.LEY, LandCover.GRASS, LandCover.CROP).astype(np.uint8)[_image(fields)]
    cover[edges & (hedges < -0.2)] = LandCover.GRASS
    cover[edges & (hedges > 0.7) | (terrain.shore_px < 1.5 + hedges)] = LandCover.FOREST
    cover[_forest(rng, terrain, fields)] = LandCover.FOREST
    cover[town.area] = LandCover.TOWN
    cover[roads & ~town.area] = LandCover.ROAD
    ponds = (rng.random(fields.count) < 0.05) & (fields.mean(terrain.shore_px.ravel()) < 30)
    cover[ponds[_image(fields)] & ~edges & (cover != LandCover.TOWN)] = LandCover.WATER
    cover[terrain.river & ~roads | terrain.lake] = LandCover.WATER
    return cover


def _forest(rng: np.random.Generator, terrain: Terrain, fields: Parcels) -> NDArray[np.bool_]:
    """Forest with ragged edges, straight where it meets a field; most of it on slopes; a few clearings."""
    steep = uniform_filter(terrain.steepness, 15)
    wild = fractal_noise(rng, len(steep), 1.4, 220, 3) + 2.2 * smooth_step(steep, 0.04, 0.2)
    wild = 0.5 * wild + 0.5 * fields.mean(wild.ravel())[_image(fields)]
    clearings = (rng.random(fields.count) < 0.06)[_image(fields)]
    return (wild > np.quantile(wild[::4, ::4], 1 - rng.uniform(0.24, 0.38))) & ~clearings


def _growth(
    rng: np.random.Generator,
    season: Season,
    fields: Parcels,
    crop: NDArray[np.int64],
    cover: UInt8[np.ndarray, "y x"],
    vigour: Float32[np.ndarray, "y x"],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Shares of leaves, straw and blossom: each field has its own date of sowing, rows, and weak spots."""
    number = _image(fields)
    early = 1 + 0.22 * rng.standard_normal(fields.count, np.float32)
    leaves = (np.array(season.leaves, np.float32)[crop] * early)[number]
    straw = (np.array(season.straw, np.float32)[crop] / early.clip(0.5))[number]
    blossom = (np.array(season.blossom, np.float32)[crop] * early)[number]
    thriving = 1 + 0.10 * vigour + _rows(rng, fields)
    shares = [share * thriving for share in (leaves, straw, blossom)]
    total = np.maximum(sum(shares), 1.0)
    return tuple((share / total).clip(0, 1).astype(np.float32) for share in shares)


def _rows(rng: np.random.Generator, fields: Parcels) -> NDArray[np.float32]:
    """Wheel tracks of the sprayer, every 24 to 45 m, in half of the fields."""
    number = _image(fields)
    pace = (2 * np.pi / rng.uniform(2.4, 4.5, fields.count)).astype(np.float32)
    depth = np.where(rng.random(fields.count) < 0.5, 0.09, 0.0).astype(np.float32)
    across = (np.cos(fields.angle) * pace).take(number) * fields.x.reshape(number.shape)
    across += (np.sin(fields.angle) * pace).take(number) * fields.y.reshape(number.shape)
    return depth.take(number) * np.sin(across)
