"""Resampling of 20 and 60 m bands to the 10 m grid in integer arithmetic, exact whatever offset the integers carry."""

from typing import Any, Literal

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray

from unclouded.io.strips import RowReader
from unclouded.sentinel.radiometry import NO_DATA, SATURATED

Resampling = Literal["nearest", "bilinear"]


def upsample_rows(
    read: RowReader[NDArray[np.integer[Any]]],
    coarse_height: int,
    factor: int,
    top: int,
    bottom: int,
    resampling: Resampling,
) -> Integer[np.ndarray, "rows x"]:
    """Return rows of the fine grid, interpolated from a coarse band.

    Args:
        read: Reader of the coarse band: stored integers (row, column).
        coarse_height: Number of rows of the coarse band.
        factor: Fine pixels along a coarse pixel: 1, 2 or 6.
        top: First row of the fine grid.
        bottom: Row after the last.
        resampling: ``nearest`` repeats pixels, as in SEN12MS-CR; ``bilinear`` averages the four nearest coarse pixels
            with data and rounds. Fine pixels inside a coarse pixel without data or with saturation keep its value.
    """
    if factor == 1:
        return read(top, bottom)
    rows = np.arange(top, bottom)
    if resampling == "nearest":
        first = top // factor
        coarse = read(first, (bottom - 1) // factor + 1)
        return np.repeat(coarse, factor, axis=1)[rows // factor - first]
    first = max((top - factor // 2) // factor, 0)
    last = min((bottom - 1 + factor // 2) // factor + 1, coarse_height)
    return _bilinear(read(first, last), rows, first, coarse_height, factor)


def _bilinear(
    coarse: NDArray[np.integer[Any]], rows: NDArray[np.int64], first: int, coarse_height: int, factor: int
) -> NDArray[np.integer[Any]]:
    """Interpolate with integer weights, in units of 1 / (2 x factor) along each axis."""
    columns = np.arange(coarse.shape[1] * factor)
    data = (coarse != NO_DATA) & (coarse != SATURATED)
    total = np.zeros((len(rows), len(columns)), np.int64)
    weight = np.zeros_like(total)
    for row, row_weight in _neighbours(rows, factor, coarse_height):
        for column, column_weight in _neighbours(columns, factor, coarse.shape[1]):
            there = np.ix_(row - first, column)
            weights = row_weight[:, None] * column_weight * data[there]
            total += weights * coarse[there]
            weight += weights
    own = coarse[np.ix_(rows // factor - first, columns // factor)]
    rounded = (2 * total + weight) // np.maximum(2 * weight, 1)
    return np.where((own == NO_DATA) | (own == SATURATED), own, rounded).astype(coarse.dtype)


def _neighbours(
    fine: NDArray[np.int64], factor: int, count: int
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the two coarse pixels nearest to the centre of each fine pixel, with their weights; edges are repeated."""
    place = 2 * fine + 1 - factor
    before, after_weight = place // (2 * factor), place % (2 * factor)
    inside = np.clip(before, 0, count - 1), np.clip(before + 1, 0, count - 1)
    return (inside[0], 2 * factor - after_weight), (inside[1], after_weight)
