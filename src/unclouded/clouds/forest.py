"""The probability of boosted trees for millions of pixels, exact and many times faster than pixel by pixel.

Pixels that resemble each other take the same way at almost every node: they are grouped, and nodes that a group's
smallest and largest ranks decide are left out. What is left of a tree is answered for the whole group at once, from the
leaves up, by comparing bytes.
"""

import math
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from unclouded.clouds.boosting import Trees
from unclouded.clouds.compiled import compiled
from unclouded.clouds.grouping import group_alike
from unclouded.clouds.ranks import to_ranks

GROUP = 4096
"""Most pixels of a group: fewer prune better, more share the work of pruning."""
_LEAF = 255
_LEAVES = 256  # that a byte can number


def probabilities(values: NDArray[np.float32], trees: Trees, starts: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probability of each pixel; other threads run meanwhile.

    Args:
        values: Finite numbers (feature, pixel); clipped to [0, 1] here.
        trees: The model.
        starts: The :func:`~unclouded.clouds.ranks.starting_ranks` of its thresholds.
    """
    ranks = to_ranks(values, trees.thresholds, starts)
    order = np.arange(values.shape[1])
    ends, low, high = group_alike(ranks, order, GROUP)
    probability = np.empty(len(order), dtype=np.float32)
    _write_probabilities(trees, ranks, order, ends, low, high, probability)
    return probability


@compiled
@no_type_check
def _write_probabilities(trees, ranks, order, ends, low, high, probability):
    scores = np.empty(GROUP, np.float64)
    block = np.empty((ranks.shape[0], GROUP), np.uint8)
    chosen = np.empty((_LEAVES + 2, GROUP), np.uint8)
    first = 0
    for group in range(len(ends)):
        for start in range(first, ends[group], GROUP):
            size = min(GROUP, ends[group] - start)
            for f in range(ranks.shape[0]):
                for i in range(size):
                    block[f, i] = ranks[f, start + i]
            _score(trees, block, size, low[group], high[group], chosen, scores)
            for i in range(size):
                probability[order[start + i]] = 1.0 / (1.0 + math.exp(-scores[i]))
        first = ends[group]


@compiled
@no_type_check
def _score(trees, ranks, size, low, high, chosen, scores):
    """Sum the trees for one group, in the order of the trees: the very sums that LightGBM makes."""
    most = 2 * len(trees.leaf)
    feature, rank, leaf = np.empty(most, np.uint8), np.empty(most, np.uint8), np.empty(most, np.float64)
    stack = np.empty(most, np.int32)
    scores[:] = 0.0
    for root in trees.roots:
        entries = _prune(trees, root, low, high, stack, feature, rank, leaf)
        leaves = (entries + 1) // 2
        if leaves == 1:
            for i in range(size):
                scores[i] += leaf[0]
        elif leaves <= _LEAVES:
            row = _choose(feature, rank, entries, ranks, size, chosen)
            for i in range(size):
                scores[i] += leaf[chosen[row, i]]
        else:
            for i in range(size):
                scores[i] += _descend(trees, root, ranks, i)


@compiled
@no_type_check
def _prune(trees, root, low, high, stack, feature, rank, leaf):
    """Write what a group does not decide of a tree, each node before its children, left before right.

    Returns:
        How many entries there are. A leaf has the feature ``_LEAF``; leaf values are written apart.
    """
    stack[0] = root
    waiting, entries, leaves = 1, 0, 0
    while waiting:
        waiting -= 1
        node = stack[waiting]
        while node >= 0:
            f, r = trees.feature[node], trees.rank[node]
            if high[f] <= r:
                node = trees.left[node]
            elif low[f] > r:
                node = trees.right[node]
            else:
                feature[entries], rank[entries] = f, r
                stack[waiting] = trees.right[node]
                entries, waiting, node = entries + 1, waiting + 1, trees.left[node]
        feature[entries], leaf[leaves] = _LEAF, trees.leaf[~node]
        entries, leaves = entries + 1, leaves + 1
    return entries


@compiled
@no_type_check
def _choose(feature, rank, entries, ranks, size, chosen):
    """Number the leaf of each pixel; return the row of ``chosen`` that holds the numbers.

    Entries are read backwards: when a node comes, its children are on the stack, the left one on top.
    """
    row, number = np.arange(len(chosen)), np.empty(len(chosen), np.uint8)
    is_leaf = np.empty(len(chosen), np.bool_)
    spare = len(chosen) - 1
    top, leaves = 0, (entries + 1) // 2
    for entry in range(entries - 1, -1, -1):
        if feature[entry] == _LEAF:
            leaves -= 1
            number[top], is_leaf[top] = leaves, True
            top += 1
        else:
            one, two = top - 1, top - 2
            f, r = np.int64(feature[entry]), rank[entry]
            left, right = (row[one], number[one], is_leaf[one]), (row[two], number[two], is_leaf[two])
            _select(ranks, f, r, size, chosen, spare, left, right)
            row[two], spare, is_leaf[two] = spare, row[two], False
            top -= 1
    return row[0]


@compiled
@no_type_check
def _select(ranks, f, rank, size, chosen, out, left, right):
    """Take the left child where the rank is small enough, else the right one: loops without a branch.

    A child is the row of ``chosen`` with its leaves, or, where it is a leaf itself, that leaf's number.
    """
    row_a, a, a_is_leaf = left
    row_b, b, b_is_leaf = right
    if a_is_leaf and b_is_leaf:
        for i in range(size):
            chosen[out, i] = a if ranks[f, i] <= rank else b
    elif a_is_leaf:
        for i in range(size):
            other = chosen[row_b, i]
            chosen[out, i] = a if ranks[f, i] <= rank else other
    elif b_is_leaf:
        for i in range(size):
            one = chosen[row_a, i]
            chosen[out, i] = one if ranks[f, i] <= rank else b
    else:
        for i in range(size):
            one, other = chosen[row_a, i], chosen[row_b, i]
            chosen[out, i] = one if ranks[f, i] <= rank else other


@compiled
@no_type_check
def _descend(trees, root, ranks, i):
    node = root
    while node >= 0:
        node = trees.left[node] if ranks[trees.feature[node], i] <= trees.rank[node] else trees.right[node]
    return trees.leaf[~node]
