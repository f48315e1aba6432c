"""Strips of rows, the unit in which large images are read; without rasterio, so that models may import it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

RowReader = Callable[[int, int], T]
"""Reads the rows from the first row to before the second, as an array (..., row, column) or a stored image."""


def row_ranges(height: int, rows: int) -> list[tuple[int, int]]:
    """Return the ranges (first row, row after the last) of strips of at most ``rows`` rows, from top to bottom."""
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]


def read_ahead(read: RowReader[T], ranges: Sequence[tuple[int, int]]) -> Iterator[T]:
    """Yield the rows of each range; another thread reads the next ones meanwhile, so that two are in memory.

    Args:
        read: Reader that no other thread uses at the same time.
        ranges: First row, and row after the last, of each range.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(read, *one) for one in ranges[:1]]
        for number in range(len(ranges)):
            rows = waiting.pop().result()
            waiting += [reader.submit(read, *one) for one in ranges[number + 1 : number + 2]]
            yield rows
            del rows
