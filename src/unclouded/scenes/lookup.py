"""Look-up tables of Sentinel-1 annotations: vectors along the range at some lines, and what lies between them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.scenes.markup import Markup


@dataclass(frozen=True)
class Vector:
    """Values at some pixels of one line."""

    line: int
    pixels: Float64[np.ndarray, " n"]
    values: Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Table:
    """Vectors with increasing lines; linear between their pixels and between their lines, constant beyond."""

    vectors: tuple[Vector, ...]

    @classmethod
    def read(cls, markup: Markup, vector: str, values: str) -> "Table":
        """Take the table from an annotation.

        Args:
            markup: The annotation.
            vector: Name of its vectors, each with ``line`` and ``pixel``.
            values: Name of the values in a vector.

        Raises:
            InputError: There are no vectors, or their pixels or lines do not increase.
        """
        return cls(tuple(_vectors(markup, vector, values)))

    @property
    def is_zero(self) -> bool:
        """Say whether the table holds nothing but zeros."""
        return not any(vector.values.any() for vector in self.vectors)

    def at(self, lines: slice, pixels: slice) -> Float32[np.ndarray, "lines pixels"]:
        """Return the values of a window of the image."""
        wanted = np.arange(lines.start, lines.stop)
        stations = np.array([vector.line for vector in self.vectors])
        first = max(int(np.searchsorted(stations, lines.start, "right")) - 1, 0)
        last = min(int(np.searchsorted(stations, lines.stop - 1, "left")) + 1, len(stations))
        columns = np.arange(pixels.start, pixels.stop)
        used = self.vectors[first : max(last, first + 1)]
        known = np.stack([np.interp(columns, vector.pixels, vector.values) for vector in used]).astype(np.float32)
        return _between(wanted, stations[first : first + len(used)], known)


def _vectors(markup: Markup, vector: str, values: str) -> Iterator[Vector]:
    elements = list(markup.all(vector))
    if not elements or not increases(element.one("line").whole for element in elements):
        raise InputError(f"{named(markup.path)} has no {vector} with increasing lines; fetch the product again")
    for element in elements:
        pixels, found = element.one("pixel").numbers, element.one(values).numbers
        if not pixels.size or pixels.size != found.size or not increases(pixels):
            raise InputError(f"{named(markup.path)} has pixels and values that do not match; fetch the product again")
        yield Vector(element.one("line").whole, pixels, found)


def increases(numbers: Iterable[float]) -> bool:
    """Say whether numbers increase, each above the one before."""
    return bool((np.diff(np.fromiter(numbers, np.float64)) > 0).all())


def _between(wanted: NDArray[np.int64], stations: NDArray[np.int64], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate rows linearly."""
    place = np.interp(wanted, stations, np.arange(len(stations)))
    before = np.minimum(place.astype(int), len(stations) - 1)
    after = np.minimum(before + 1, len(stations) - 1)
    weight = (place - before).astype(np.float32)[:, None]
    return np.asarray(known[before] * (1 - weight) + known[after] * weight)
