"""Strips of rows, the unit in which large images are read; without rasterio, so that models may import it."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

RowReader = Callable[[int, int], T]
"""Reads the rows from the first row to before the second, as an array (..., row, column) or a stored image."""


def row_ranges(height: int, rows: int) -> list[tuple[int, int]]:
    """Return the ranges (first row, row after the last) of strips of at most ``rows`` rows, from top to bottom."""
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
