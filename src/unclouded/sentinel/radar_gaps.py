"""Gaps in radar files that no tag marks: areas of exactly 0 dB, and fill values of common tools."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

ReadRows = Callable[[int, int], NDArray[np.float32]]
"""From first row and row after the last to VV and VH in dB (2, rows, x)."""

FILLS = (-9_999, -32_768, float(np.finfo(np.float32).min))
"""Stored numbers that no backscatter has in any unit, and that tools write where there is no data."""
SQUARE_PX = 5
"""Side of the smallest area of exactly 0 dB that is a gap.

The published patches are clipped at 0 dB, so towns have pixels of exactly 0: in ten real patches they are at most 9
connected pixels in both polarisations, and no square of 3 x 3 px.
"""
REACH_PX = 16
"""How far around such a square its gap goes on, in pixels that are 0, too: a slanting edge leaves no square whole."""
_MARGIN_PX = SQUARE_PX + REACH_PX


def zero_gaps(values: Float32[np.ndarray, "2 y x"]) -> Bool[np.ndarray, "y x"]:
    """Return True where radar in dB is exactly 0 in both polarisations over an area: a gap, not a measurement."""
    zero = np.asarray((values == 0).all(axis=0))
    if not zero.any():
        return zero
    square = np.ones((SQUARE_PX, SQUARE_PX), bool)
    whole = binary_dilation(binary_erosion(zero, square, border_value=1), square)
    around = np.ones((3, 3), bool)
    return np.asarray(binary_dilation(whole & zero, around, iterations=REACH_PX, mask=zero) & zero)


def without_zero_gaps(read: ReadRows, height: int) -> ReadRows:
    """Return a reader whose gaps are NaN; its rows do not depend on how many are read at a time.

    Args:
        read: Reads rows of the image.
        height: How many it has.
    """

    def read_marked(top: int, bottom: int) -> NDArray[np.float32]:
        values = read(top, bottom)
        if not (values == 0).all(axis=0).any():
            return values
        above, below = max(top - _MARGIN_PX, 0), min(bottom + _MARGIN_PX, height)
        gaps = zero_gaps(read(above, below))[top - above : bottom - above]
        return np.where(gaps, np.float32(np.nan), values)

    return read_marked
