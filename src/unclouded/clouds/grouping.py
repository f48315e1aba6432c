"""Pixels that resemble each other, brought together."""

from typing import no_type_check

import numpy as np

from unclouded.clouds.compiled import compiled


@compiled
@no_type_check
def group_alike(ranks, order, most):
    """Sort pixels into groups: halve the widest range of ranks until few enough, or equal, pixels are left.

    Args:
        ranks: Ranks, uint8 (feature, pixel); sorted in place.
        order: Number of each pixel, int64 (pixel,); sorted in place alike.
        most: Most pixels of a group, unless they are equal.

    Returns:
        Where each group ends (group,), and the smallest and the largest ranks in it (group, feature).
    """
    features, pixels = ranks.shape
    ends, low, high = (
        np.empty(pixels, np.int64),
        np.empty((pixels, features), np.uint8),
        np.empty((pixels, features), np.uint8),
    )
    from_left, from_right = np.empty(pixels, np.int64), np.empty(pixels, np.int64)
    pending = np.empty(8 * features + 2, np.int64)  # ends of halves; 256 ranks can be halved 8 times
    pending[0] = pixels
    waiting, groups, start = 1, 0, np.int64(0)
    while waiting:
        end = pending[waiting - 1]
        feature = _widest(ranks, start, end, low[groups], high[groups])
        smallest, largest = np.int64(low[groups, feature]), np.int64(high[groups, feature])
        if end - start <= most or smallest == largest:
            ends[groups] = end
            groups, waiting, start = groups + 1, waiting - 1, end
        else:
            middle = (smallest + largest) // 2
            pending[waiting] = _part(ranks, order, start, end, feature, middle, from_left, from_right)
            waiting += 1
    return ends[:groups], low[:groups], high[:groups]


@compiled
@no_type_check
def _widest(ranks, start, end, low, high):
    """Write the smallest and the largest ranks; return the feature where they lie furthest apart."""
    widest = 0
    for f in range(ranks.shape[0]):
        smallest = largest = ranks[f, start]
        for rank in ranks[f, start:end]:
            smallest, largest = min(smallest, rank), max(largest, rank)
        low[f], high[f] = smallest, largest
        if high[f] - low[f] > high[widest] - low[widest]:
            widest = f
    return widest


@compiled
@no_type_check
def _part(ranks, order, start, end, feature, middle, from_left, from_right):
    """Swap pixels until those with ranks up to the middle come first; return where the others begin."""
    border = start
    for rank in ranks[feature, start:end]:
        border += rank <= middle
    swaps = 0
    for i in range(start, border):
        from_left[swaps] = i
        swaps += ranks[feature, i] > middle
    swaps = 0
    for i in range(border, end):
        from_right[swaps] = i
        swaps += ranks[feature, i] <= middle
    for f in range(ranks.shape[0]):
        for s in range(swaps):
            i, j = from_left[s], from_right[s]
            ranks[f, i], ranks[f, j] = ranks[f, j], ranks[f, i]
    for s in range(swaps):
        i, j = from_left[s], from_right[s]
        order[i], order[j] = order[j], order[i]
    return border
