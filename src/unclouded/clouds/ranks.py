"""A value as a byte: its rank among the thresholds of its feature says all that trees ask of it."""

from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from unclouded.clouds.compiled import compiled

CELLS = 8192
"""Equal cells of [0, 1] from whose lower ends ranks are counted; a power of two, so that ``value * CELLS`` is exact."""


def starting_ranks(thresholds: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the rank of the lower end of each cell (feature, cell)."""
    ends = np.arange(CELLS + 1, dtype=np.float32) / np.float32(CELLS)
    return np.stack([np.searchsorted(ascending, ends) for ascending in thresholds]).astype(np.uint8)


@compiled
@no_type_check
def to_ranks(values, thresholds, starts):
    """Return how many thresholds lie below each value.

    Args:
        values: Finite numbers, float32 (feature, pixel); clipped to [0, 1] here.
        thresholds: Ascending, float32 (feature, 256), padded with infinity.
        starts: Their :func:`starting_ranks`.

    Returns:
        Ranks, uint8 (feature, pixel).
    """
    ranks = np.empty(values.shape, np.uint8)
    for f in range(values.shape[0]):
        for i in range(values.shape[1]):
            value = min(max(values[f, i], np.float32(0.0)), np.float32(1.0))
            rank = np.int64(starts[f, int(value * np.float32(CELLS))])
            while value > thresholds[f, rank]:
                rank += 1
            ranks[f, i] = rank
    return ranks
