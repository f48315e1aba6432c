"""Unmarked gaps in radar files: areas of exactly 0 dB, and fill values of common tools."""

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter1d, minimum_filter1d

from unclouded.io.strips import RowReader

FILLS = (-9_999, -32_768, float(np.finfo(np.float32).min))
"""Fill values that tools write for no data; impossible as backscatter in any unit."""
SQUARE_PX = 5
"""Side of the smallest square of exactly 0 dB that is a gap.

Published patches are clipped at 0 dB, so towns have pixels of exactly 0: in ten real patches at most 9 connected
pixels in both polarisations, and never a square of 3 x 3 px.
"""
ALONE_PX = 33
"""Side of the smallest square that is a gap if one polarisation alone is exactly 0 dB.

In 332 real radar images clipped at 0 dB, towns have squares of up to 11 px of VV and 4 px of VH.
"""
REACH_PX = 16
"""Distance around such a square up to which connected zeros belong to the gap: slanted edges contain no full square."""
_MARGIN_PX = ALONE_PX + REACH_PX


def zero_gaps(values: Float32[np.ndarray, "2 y x"]) -> Bool[np.ndarray, "y x"]:
    """Return the mask of gaps: areas where radar in dB is exactly 0 in both polarisations, or larger ones in one."""
    zero = values == 0
    gaps = _areas(zero.all(axis=0), SQUARE_PX)
    for band in zero:
        gaps |= _areas(band, ALONE_PX)
    return gaps


def _areas(zero: Bool[np.ndarray, "y x"], side_px: int) -> Bool[np.ndarray, "y x"]:
    """Return the pixels of squares of True, and those connected with them within :data:`REACH_PX`."""
    if not zero.any():
        return zero
    whole: NDArray[np.uint8] = zero.astype(np.uint8)
    for narrowed, outside in ((minimum_filter1d, 1), (maximum_filter1d, 0)):
        for axis in (0, 1):
            whole = narrowed(whole, side_px, axis=axis, mode="constant", cval=outside)
    square, around = np.asarray((whole > 0) & zero), np.ones((3, 3), bool)
    if not square.any():
        return square
    return np.asarray(binary_dilation(square, around, iterations=REACH_PX, mask=zero) & zero)


def without_zero_gaps(read: RowReader[NDArray[np.float32]], height: int) -> RowReader[NDArray[np.float32]]:
    """Return a reader with NaN in the gaps; the result does not depend on the number of rows read at a time.

    Args:
        read: Reader of VV and VH in dB (2, row, column).
        height: Number of rows of the image.
    """

    def read_marked(top: int, bottom: int) -> NDArray[np.float32]:
        values = read(top, bottom)
        if not (values == 0).any():
            return values
        above, below = max(top - _MARGIN_PX, 0), min(bottom + _MARGIN_PX, height)
        gaps = zero_gaps(read(above, below))[top - above : bottom - above]
        return np.where(gaps, np.float32(np.nan), values)

    return read_marked
