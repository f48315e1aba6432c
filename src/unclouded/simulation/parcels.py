"""Parcels: land cut by straight lines again and again, as heirs, roads and hedges have cut it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

_SAMPLE = 40_000
"""How many points, drawn at random, suffice to find the middle and the longer side of every parcel."""


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


def borders(number: Int64[np.ndarray, "y x"]) -> NDArray[np.bool_]:
    """Return where a pixel's right or lower neighbour is in another parcel: lines one pixel wide."""
    lines = np.zeros(number.shape, np.bool_)
    lines[:, :-1] |= number[:, :-1] != number[:, 1:]
    lines[:-1] |= number[:-1] != number[1:]
    return lines
