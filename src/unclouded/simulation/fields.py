"""Fields between roads, what they bear, and how far it has grown."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int
from numpy.typing import NDArray

from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.parcels import Parcels, borders
from unclouded.simulation.seasons import CROP_SHARES, Crop, Season
from unclouded.simulation.terrain import Terrain


@dataclass(frozen=True, eq=False)
class Fields:
    """Farmland, as if there were no forest, town or water.

    Attributes:
        roads: Lines one pixel wide between blocks of fields.
        parcels: The fields, over all pixels row by row.
        crop: A :class:`~unclouded.simulation.seasons.Crop` for each field.
    """

    roads: Bool[np.ndarray, "y x"]
    parcels: Parcels
    crop: Int[np.ndarray, " field"]

    @cached_property
    def number(self) -> Int[np.ndarray, "y x"]:
        """Which field a pixel lies in."""
        return self.parcels.number.reshape(self.roads.shape)

    def mean(self, image: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, " field"]:
        """Return the mean of an image over each field."""
        return self.parcels.mean(image.ravel())


@dataclass(frozen=True, eq=False)
class Growth:
    """How much of the ground plants cover; the rest is bare soil.

    Attributes:
        leaves: Share of the ground under green leaves, 0 to 1.
        straw: Share of the ground under ripe or dead plants.
        blossom: Share of the ground under yellow flowers.
    """

    leaves: Float32[np.ndarray, "y x"]
    straw: Float32[np.ndarray, "y x"]
    blossom: Float32[np.ndarray, "y x"]

    @cached_property
    def soil(self) -> Float32[np.ndarray, "y x"]:
        """Share of bare soil."""
        return np.asarray(1 - self.leaves - self.straw - self.blossom)


def invent_fields(rng: np.random.Generator, terrain: Terrain) -> Fields:
    """Invent fields that bend with the land: pasture on wet and on steep ground, crops elsewhere."""
    size_px = len(terrain.height_m)
    row, column = np.mgrid[:size_px, :size_px].astype(np.float32)
    x = column + 9 * fractal_noise(rng, size_px, 2, 300, 30)
    y = row + 9 * fractal_noise(rng, size_px, 2, 300, 30)
    blocks = Parcels.whole(x.ravel(), y.ravel(), rng.uniform(0, np.pi)).cut(rng, area=150**2, turn=0.15)
    parcels = blocks.cut(rng, area=650, turn=0.03, strips=0.25)
    steep, shore_px = parcels.mean(terrain.steepness.ravel()), parcels.mean(terrain.shore_px.ravel())
    pasture = rng.random(parcels.count) < 0.75 * np.exp(-shore_px / 22) + smooth_step(steep, 0.06, 0.14)
    crop = np.where(pasture, Crop.LEY, rng.choice(len(Crop), parcels.count, p=CROP_SHARES))
    return Fields(borders(blocks.number.reshape(row.shape)), parcels, crop)


def grow(rng: np.random.Generator, fields: Fields, season: Season, vigour: Float32[np.ndarray, "y x"]) -> Growth:
    """Let crops grow: each field was sown early or late, and has wheel tracks and spots where little thrives.

    Args:
        rng: Source of randomness.
        fields: Where which crop stands.
        season: How far each crop has grown.
        vigour: How well plants thrive; mean 0, standard deviation 1.
    """
    early = (1 + 0.22 * rng.standard_normal(fields.parcels.count)).clip(0.4, 1.6)
    leaves, straw, blossom = (
        np.array(shares)[fields.crop] * pace
        for shares, pace in ((season.leaves, early), (season.straw, 1 / early), (season.blossom, early))
    )
    crowded = np.maximum(leaves + straw + blossom, 0.85) / 0.85
    thriving = (1 + 0.08 * vigour + _tracks(rng, fields)).clip(0, 1.15)
    shares = ((share / crowded).astype(np.float32)[fields.number] * thriving for share in (leaves, straw, blossom))
    return Growth(*shares)


def _tracks(rng: np.random.Generator, fields: Fields) -> NDArray[np.float32]:
    """Wheel tracks of the sprayer, every 24 to 45 m, in half of the crops."""
    parcels, shape = fields.parcels, fields.number.shape
    period_px = rng.uniform(2.4, 4.5, parcels.count)
    tracked = (rng.random(parcels.count) < 0.5) & (fields.crop != Crop.LEY)
    waves = 2 * np.pi / period_px * np.stack([np.cos(parcels.angle), np.sin(parcels.angle)])
    x_wave, y_wave = waves.astype(np.float32)[:, fields.number]
    phase = x_wave * parcels.x.reshape(shape) + y_wave * parcels.y.reshape(shape)
    return np.asarray(np.where(tracked, 0.09, 0).astype(np.float32)[fields.number] * np.sin(phase))
