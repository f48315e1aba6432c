"""Simulated farmland: roads, fields, crops and their growth by season.

Land is divided by straight cuts into blocks and fields (:class:`Parcels`); every field has a crop, whose growth depends
on the :class:`Season`.
"""

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64
from numpy.typing import NDArray

from unclouded.simulation.noise import fractal_noise, smooth_step
from unclouded.simulation.terrain import Terrain

_SAMPLE = 40_000
"""Number of random points that suffice to estimate the middle and the longer side of every parcel."""


class Crop(IntEnum):
    """Crop of a field."""

    CEREAL = 0
    MAIZE = 1
    RAPE = 2
    LEY = 3


SEASON_DAYS = 91
"""Days from the middle of a season to that of the next."""

CROP_SHARES = (0.38, 0.26, 0.14, 0.22)
"""Share of fields with each :class:`Crop`."""


@dataclass(frozen=True, eq=False)
class Parcels:
    """Points of the plane, grouped into parcels of land.

    Attributes:
        x: Column of each point, px.
        y: Row of each point, px.
        number: Parcel of each point, from 0.
        angle: Direction of each parcel's sides, radians.
    """

    x: Float32[np.ndarray, " point"]
    y: Float32[np.ndarray, " point"]
    number: Int64[np.ndarray, " point"]
    angle: Float32[np.ndarray, " parcel"]

    @classmethod
    def whole(cls, x: Float32[np.ndarray, " point"], y: Float32[np.ndarray, " point"], angle: float) -> "Parcels":
        """Return all points as one parcel with sides along ``angle`` (radians)."""
        return cls(x, y, np.zeros(len(x), np.int64), np.array([angle], np.float32))

    @property
    def count(self) -> int:
        """Number of parcels."""
        return len(self.angle)

    def mean(self, values: Float32[np.ndarray, " point"]) -> Float32[np.ndarray, " parcel"]:
        """Return the mean of ``values`` over each parcel."""
        size = np.maximum(np.bincount(self.number, minlength=self.count), 1)
        return (np.bincount(self.number, values, self.count) / size).astype(np.float32)

    def cut(self, rng: np.random.Generator, area: float, turn: float = 0.0, strips: float = 0.0) -> "Parcels":
        """Halve parcels across their longer side until none has more than 1.5 times ``area`` points.

        Args:
            rng: Source of randomness.
            area: Typical final size, in points.
            turn: Standard deviation of the angle between a cut and the sides of its parcel, radians.
            strips: Share of cuts along the longer side, which produce long narrow fields.
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
        second = np.arange(self.count, dtype=np.int64)
        second[large] = self.count + np.arange(large.sum(), dtype=np.int64)
        number = np.where(beyond, second.take(self.number), self.number)
        return Parcels(self.x, self.y, number, np.concatenate([angle, angle[large]]))

    def _sampled(self, rng: np.random.Generator) -> "Parcels":
        if len(self.x) <= _SAMPLE:
            return self
        some = rng.integers(0, len(self.x), _SAMPLE)
        return Parcels(self.x[some], self.y[some], self.number[some], self.angle)

    def _along(self, angle: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the position of every point along the direction of its parcel."""
        return np.asarray(np.cos(angle).take(self.number) * self.x + np.sin(angle).take(self.number) * self.y)

    def _extent(self, angle: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and standard deviation of each parcel's points along a direction."""
        position = self._along(angle)
        middle = self.mean(position)
        return middle, np.sqrt(self.mean((position - middle[self.number]) ** 2))


@dataclass(frozen=True, eq=False)
class Fields:
    """Farmland over the whole region; forest, town and water are added later.

    Attributes:
        roads: Lines one pixel wide between blocks of fields.
        parcels: Fields over all pixels, row by row.
        crop: :class:`Crop` of each field.
    """

    roads: Bool[np.ndarray, "y x"]
    parcels: Parcels
    crop: Int[np.ndarray, " field"]

    @cached_property
    def number(self) -> Int[np.ndarray, "y x"]:
        """Field of each pixel."""
        return self.parcels.number.reshape(self.roads.shape)

    def mean(self, image: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, " field"]:
        """Return the mean of an image over each field."""
        return self.parcels.mean(image.ravel())


@dataclass(frozen=True, eq=False)
class Growth:
    """Plant cover of the ground; the rest is bare soil.

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
    """Simulate fields with curved borders: pasture on wet and steep ground, crops elsewhere."""
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
    """Season of the temperate north; the numbers are plausible, not measured.

    Attributes:
        sun_elevation_deg: Elevation of the sun at half past ten.
        sun_azimuth_deg: Azimuth of the sun, clockwise from north.
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

    def before(self, days: float) -> "Season":
        """Return the state of growth and light some days before the middle of the season.

        Args:
            days: At most 91, the middle of the season before.
        """
        order = list(SEASONS.values())
        earlier, share = order[order.index(self) - 1], days / SEASON_DAYS

        def mixed(name: str) -> Any:
            value = (1 - share) * np.array(getattr(self, name)) + share * np.array(getattr(earlier, name))
            return tuple(value.tolist()) if value.ndim else float(value)

        return Season(**{one.name: mixed(one.name) for one in dataclass_fields(self)})


@dataclass(frozen=True, eq=False)
class Sowing:
    """What distinguishes fields of the same crop.

    Attributes:
        early: Growth of each field relative to that of its crop; above 1 if it was sown early.
        tracks: Loss of growth by wheel tracks.
    """

    early: NDArray[np.float64]
    tracks: NDArray[np.float32]


def sow(rng: np.random.Generator, fields: Fields) -> Sowing:
    """Simulate the sowing: every field was sown early or late, and may have wheel tracks."""
    early = (1 + 0.22 * rng.standard_normal(fields.parcels.count)).clip(0.4, 1.6)
    return Sowing(early, _tracks(rng, fields))


def grow(fields: Fields, season: Season, vigour: Float32[np.ndarray, "y x"], sowing: Sowing) -> Growth:
    """Return the plant cover of a season, with spots of poor growth.

    Args:
        fields: Fields and their crops.
        season: Growth of each crop in the season.
        vigour: Vigour of the plants; mean 0, standard deviation 1.
        sowing: Sowing of the fields.
    """
    early = sowing.early
    leaves, straw, blossom = (
        np.array(shares)[fields.crop] * pace
        for shares, pace in ((season.leaves, early), (season.straw, 1 / early), (season.blossom, early))
    )
    crowded = np.maximum(leaves + straw + blossom, 0.85) / 0.85
    thriving = (1 + 0.08 * vigour + sowing.tracks).clip(0, 1.15)
    shares = ((share / crowded).astype(np.float32)[fields.number] * thriving for share in (leaves, straw, blossom))
    return Growth(*shares)


def _tracks(rng: np.random.Generator, fields: Fields) -> NDArray[np.float32]:
    """Return the loss of growth by wheel tracks of sprayers, every 24 to 45 m, in half of the crop fields."""
    parcels, shape = fields.parcels, fields.number.shape
    period_px = rng.uniform(2.4, 4.5, parcels.count)
    tracked = (rng.random(parcels.count) < 0.5) & (fields.crop != Crop.LEY)
    waves = 2 * np.pi / period_px * np.stack([np.cos(parcels.angle), np.sin(parcels.angle)])
    x_wave, y_wave = waves.astype(np.float32)[:, fields.number]
    phase = x_wave * parcels.x.reshape(shape) + y_wave * parcels.y.reshape(shape)
    return np.asarray(np.where(tracked, 0.09, 0).astype(np.float32)[fields.number] * np.sin(phase))


def borders(number: Int64[np.ndarray, "y x"]) -> NDArray[np.bool_]:
    """Return the pixels whose right or lower neighbour is in another parcel: lines one pixel wide."""
    lines = np.zeros(number.shape, np.bool_)
    lines[:, :-1] |= number[:, :-1] != number[:, 1:]
    lines[:-1] |= number[:-1] != number[1:]
    return lines


SEASONS = {
    "spring": Season(52, 152, 0.50, (0.78, 0.06, 0.50, 0.72), (0.02, 0.10, 0.00, 0.08), (0, 0, 0.40, 0.02), 0.75),
    "summer": Season(60, 146, 0.25, (0.24, 0.88, 0.34, 0.70), (0.56, 0.02, 0.40, 0.12), (0, 0, 0.00, 0.00), 1.00),
    "fall": Season(37, 164, 0.50, (0.22, 0.34, 0.48, 0.60), (0.18, 0.42, 0.02, 0.18), (0, 0, 0.00, 0.00), 0.55),
    "winter": Season(24, 166, 0.75, (0.34, 0.03, 0.44, 0.48), (0.03, 0.22, 0.05, 0.26), (0, 0, 0.00, 0.00), 0.15),
}
"""The four seasons of SEN12MS-CR by their names in its paths."""
