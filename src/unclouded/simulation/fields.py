"""Fields between roads, what they bear, and how far it has grown."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64
from numpy.typing import NDArray

from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.terrain import Terrain


@dataclass(frozen=True, eq=False)
class Parcels:
    """Points of the plane, in groups.

    Attributes:
        x: Position of the points, px.
        y: Position of the points, px.
        number: Which parcel a point lies in, from 0.
        angle: Direction of each parcel's sides, radians.
    """

    x: Float32[np.ndarray, " point"]
    y: Float32[np.ndarray, " point"]
    number: Int64[np.ndarray, " point"]
    angle: Float32[np.ndarray, " parcel"]

    @classmethod
    def whole(cls, x: Float32[np.ndarray, " point"], y: Float32[np.ndarray, " point"], angle: float) -> "Parcels":
        """Put all points into one parcel with sides along ``angle`` (radians)."""
        return cls(x, y, np.zeros(len(x), np.int64), np.array([angle], np.float32))

    @property
    def count(self) -> int:
        """How many parcels there are."""
        return len(self.angle)

    def mean(self, values: Float32[np.ndarray, " point"]) -> Float32[np.ndarray, " parcel"]:
        """Return the mean of ``values`` over each parcel."""
        size = np.maximum(np.bincount(self.number, minlength=self.count), 1)
        return (np.bincount(self.number, values, self.count) / size).astype(np.float32)

    def cut(self, rng: np.random.Generator, area: float, turn: float = 0.0, strips: float = 0.0) -> "Parcels":
        """Cut parcels into two, across their longer side, until none holds more than 1.5 times ``area`` points.

        Args:
            rng: Source of randomness.
            area: Typical size in the end, in points.
            turn: How far a cut deviates from the sides of its parcel, radians (standard deviation).
            strips: Share of cuts along the longer side, which leave long narrow fields.
        """
        parcels = self
        while (large := np.bincount(parcels.number, minlength=parcels.count) > 1.5 * area).any():
            parcels = parcels._halved(large, rng, turn, strips)
        return parcels

    def _halved(self, large: NDArray[np.bool_], rng: np.random.Generator, turn: float, strips: float) -> "Parcels":
        sample = self._sampled(rng)
        (_, length), (_, width) = sample._extent(self.angle), sample._extent(self.angle + np.float32(np.pi / 2))
        lengthwise = (length < width) ^ (rng.random(self.count) < strips)
        angle = (self.angle + large * rng.normal(0, turn, self.count)).astype(np.float32)
        direction = np.where(lengthwise, angle + np.float32(np.pi / 2), angle)
        middle, spread = sample._extent(direction)
        border = np.where(large, middle + spread * rng.uniform(-0.4, 0.4, self.count), np.inf).astype(np.float32)
        beyond = self._along(direction) > border.take(self.number)
        heir = np.arange(self.count, dtype=np.int64)
        heir[large] = self.count + np.arange(large.sum(), dtype=np.int64)
        number = np.where(beyond, heir.take(self.number), self.number)
        return Parcels(self.x, self.y, number, np.concatenate([angle, angle[large]]))

    def _sampled(self, rng: np.random.Generator) -> "Parcels":
        if len(self.x) <= _SAMPLE:
            return self
        some = rng.integers(0, len(self.x), _SAMPLE)
        return Parcels(self.x[some], self.y[some], self.number[some], self.angle)

    def _along(self, angle: NDArray[np.float32]) -> NDArray[np.float32]:
        """Position of every point along the direction of its parcel."""
        return np.asarray(np.cos(angle).take(self.number) * self.x + np.sin(angle).take(self.number) * self.y)

    def _extent(self, angle: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of each parcel along a direction."""
        position = self._along(angle)
        middle = self.mean(position)
        return middle, np.sqrt(self.mean((position - middle[self.number]) ** 2))


@dataclass(frozen=True, eq=False)
class Fields:
    """Farmland, as if there were no forest, town or water.

    Attributes:
        roads: Lines one pixel wide between blocks of fields.
        parcels: The fields, over all pixels row by row.
        crop: A :class:`~unclouded.simulation.fields.Crop` for each field.
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


def simulate_fields(rng: np.random.Generator, terrain: Terrain) -> Fields:
    """Simulate fields that bend with the land: pasture on wet and on steep ground, crops elsewhere."""
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


@dataclass(frozen=True)
class Season:
    """A season of the temperate north; the numbers are plausible, not measured.

    Attributes:
        sun_elevation_deg: Height of the sun at half past ten.
        sun_azimuth_deg: Direction to the sun, clockwise from north.
        moisture: Wetness of the top soil, 0 dry to 1 saturated.
        leaves: Share of the ground under green leaves, for each :class:`Crop`.
        straw: Share of the ground under ripe or dead plants, for each :class:`Crop`.
        blossom: Share of the ground under yellow flowers, for each :class:`Crop`.
        foliage: Share of green leaves in the crowns of broad-leaved trees; the rest is brown or bare.
    """

    sun_elevation_deg: float
    sun_azimuth_deg: float
    moisture: float
    leaves: tuple[float, float, float, float]
    straw: tuple[float, float, float, float]
    blossom: tuple[float, float, float, float]
    foliage: float


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


# Parcels: land cut by straight lines again and again, as heirs, roads and hedges have cut it.


_SAMPLE = 40_000
"""How many points, drawn at random, suffice to find the middle and the longer side of every parcel."""


def borders(number: Int64[np.ndarray, "y x"]) -> NDArray[np.bool_]:
    """Return where a pixel's right or lower neighbour is in another parcel: lines one pixel wide."""
    lines = np.zeros(number.shape, np.bool_)
    lines[:, :-1] |= number[:, :-1] != number[:, 1:]
    lines[:-1] |= number[:-1] != number[1:]
    return lines


# What a season changes: the sun, the wetness of the soil, and how far each crop has grown.


class Crop(IntEnum):
    """What a field bears."""

    CEREAL = 0
    MAIZE = 1
    RAPE = 2
    LEY = 3


CROP_SHARES = (0.38, 0.26, 0.14, 0.22)
"""How many of the fields bear each :class:`Crop`."""


SEASONS = {
    "spring": Season(52, 152, 0.50, (0.78, 0.06, 0.50, 0.72), (0.02, 0.10, 0.00, 0.08), (0, 0, 0.40, 0.02), 0.75),
    "summer": Season(60, 146, 0.25, (0.24, 0.88, 0.34, 0.70), (0.56, 0.02, 0.40, 0.12), (0, 0, 0.00, 0.00), 1.00),
    "fall": Season(37, 164, 0.50, (0.22, 0.34, 0.48, 0.60), (0.18, 0.42, 0.02, 0.18), (0, 0, 0.00, 0.00), 0.55),
    "winter": Season(24, 166, 0.75, (0.34, 0.03, 0.44, 0.48), (0.03, 0.22, 0.05, 0.26), (0, 0, 0.00, 0.00), 0.15),
}
"""The four seasons of SEN12MS-CR, by the names in its paths."""
