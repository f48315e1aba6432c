"""Exact and fast evaluation of LightGBM's boosted trees for millions of pixels.

1. :func:`read_trees` reads the trees from LightGBM's text format, without LightGBM.
2. :func:`to_ranks` turns each value into one byte: its rank among the thresholds of its feature. Comparing ranks
   decides every node exactly as comparing values does.
3. :func:`group_alike` sorts pixels into groups with similar ranks. Similar pixels take the same branch at almost every
   node, so nodes that are decided by a group's smallest and largest rank are pruned.
4. The remaining nodes of a tree are evaluated for the whole group at once, from the leaves up, by comparing bytes.

The scores are summed in LightGBM's order, so the results are equal to the last bit.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.jit import compiled

GROUP = 4096
"""Maximum pixels of a group: smaller groups prune more nodes, larger ones share the cost of pruning."""

_LEAF = 255
"""Feature number that marks a leaf."""

_LEAVES = 256
"""Maximum leaves of a pruned tree that a byte can number; larger trees are evaluated pixel by pixel."""


class Trees(NamedTuple):
    """Binary trees over ranks; node numbers count through all trees.

    A rank is the number of thresholds below a value: ``value <= thresholds[f, k]`` means ``rank <= k``.

    Attributes:
        thresholds: Ascending float32 thresholds of each feature (feature, 256), padded with infinity.
        roots: First node of each tree, or ``~leaf`` where a tree is one leaf.
        feature: Feature that a node compares.
        rank: Highest rank that goes left.
        left: Next node, or ``~leaf``.
        right: Next node, or ``~leaf``.
        leaf: Value of each leaf.
    """

    thresholds: NDArray[np.float32]
    roots: NDArray[np.int32]
    feature: NDArray[np.uint8]
    rank: NDArray[np.uint8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf: NDArray[np.float64]


def probabilities(values: NDArray[np.float32], trees: Trees, starts: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probability of each pixel; releases the GIL.

    Args:
        values: Finite numbers (feature, pixel); clipped to [0, 1] here.
        trees: The model.
        starts: The :func:`~unclouded.clouds.lightgbm_trees.starting_ranks` of its thresholds.
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
    """Sum the trees for one group in the order of the trees, as LightGBM does."""
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
    """Write the nodes of a tree that a group does not decide, each before its children, left before right.

    A node is decided if the smallest and the largest rank of the group fall on the same side.

    Returns:
        Number of entries. A leaf has the feature ``_LEAF``; leaf values are written to an array of their own.
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
    """Find the leaf of each pixel; return the row of ``chosen`` that holds the leaf numbers.

    Entries are read backwards, so the children of a node are already on the stack, the left one on top.
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
    """Select the left child where the rank is small enough, else the right one.

    A child is a row of ``chosen``, or a leaf number if it is a leaf. The four cases keep the loops free of branches, so
    that they compile to vector instructions.
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


# Grouping of similar pixels.


@compiled
@no_type_check
def group_alike(ranks, order, most):
    """Sort pixels into groups by halving the widest range of ranks until a group is small enough or all equal.

    Args:
        ranks: Ranks, uint8 (feature, pixel); sorted in place.
        order: Number of each pixel, int64 (pixel,); sorted in place in the same way.
        most: Maximum pixels of a group, unless they are equal.

    Returns:
        End of each group (group,), and its smallest and largest ranks (group, feature).
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
    """Write the smallest and largest rank of each feature; return the feature with the widest range."""
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
    """Partition pixels in place, ranks up to the middle first; return the start of the others."""
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


# Values as ranks.


CELLS = 8192
"""Number of equal cells of [0, 1] in the look-up table of ranks; a power of two, so that ``value * CELLS`` is exact."""


def starting_ranks(thresholds: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the rank of the lower end of each cell (feature, cell)."""
    ends = np.arange(CELLS + 1, dtype=np.float32) / np.float32(CELLS)
    return np.stack([np.searchsorted(ascending, ends) for ascending in thresholds]).astype(np.uint8)


@compiled
@no_type_check
def to_ranks(values, thresholds, starts):
    """Return the number of thresholds below each value.

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


# LightGBM's text format.


MAX_THRESHOLDS = 255
"""Maximum distinct thresholds of one feature, so that a rank fits into a byte."""

_NUMERICAL_WITHOUT_MISSING = "2"
"""LightGBM's decision type of a node that compares numbers and does not handle missing values."""


def read_trees(path: Path) -> Trees:
    """Read a binary classifier from the text file of a LightGBM model.

    Raises:
        InputError: The file is missing, or the model has nodes other than numerical thresholds.
    """
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable LightGBM model; install s2cloudless again") from error
    head, *blocks = text.partition("end of trees")[0].split("\nTree=")
    header, trees = _entries(head), [_entries(block) for block in blocks]
    _refuse_other_kinds(path, header, trees)
    return _joined(trees, int(header["max_feature_idx"]) + 1)


def _entries(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _refuse_other_kinds(path: Path, header: dict[str, str], trees: list[dict[str, str]]) -> None:
    numerical = all(
        tree["num_cat"] == "0" and set(tree["decision_type"].split()) <= {_NUMERICAL_WITHOUT_MISSING} for tree in trees
    )
    if header.get("objective") != "binary sigmoid:1" or not trees or not numerical:
        raise InputError(
            f"{path} is not a model of numerical thresholds with a logistic output, expected for s2cloudless; "
            "use the detector s2cloudless-package"
        )


def _joined(trees: list[dict[str, str]], features: int) -> Trees:
    sizes = np.array([len(tree["split_feature"].split()) for tree in trees])
    feature = _all(trees, "split_feature", np.uint8)
    threshold = _float32_at_most(_all(trees, "threshold", np.float64))
    distinct = [np.unique(threshold[feature == f]) for f in range(features)]
    if (most := max(map(len, distinct))) > MAX_THRESHOLDS:
        raise InputError(f"a feature of the model has {most} thresholds, expected at most {MAX_THRESHOLDS}")
    rank = np.zeros_like(feature)
    for f, ascending in enumerate(distinct):
        rank[feature == f] = np.searchsorted(ascending, threshold[feature == f])
    first = np.cumsum(sizes) - sizes
    return Trees(
        thresholds=np.stack([np.pad(t, (0, 256 - len(t)), constant_values=np.inf) for t in distinct]),
        roots=np.where(sizes > 0, first, ~(first + np.arange(len(trees)))).astype(np.int32),
        feature=feature,
        rank=rank,
        left=_numbered_through(_all(trees, "left_child", np.int32), sizes, first),
        right=_numbered_through(_all(trees, "right_child", np.int32), sizes, first),
        leaf=_all(trees, "leaf_value", np.float64),
    )


def _all(trees: list[dict[str, str]], key: str, dtype: type[np.generic]) -> NDArray[Any]:
    return np.array(" ".join(tree[key] for tree in trees).split(), dtype=dtype)


def _float32_at_most(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each value; comparing a float32 with either gives the same result."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def _numbered_through(child: NDArray[np.int32], sizes: NDArray[Any], first: NDArray[Any]) -> NDArray[np.int32]:
    """Renumber children from one tree to all trees; a tree has one leaf more than it has nodes."""
    node = np.repeat(first, sizes).astype(np.int32)
    leaf = np.repeat(first + np.arange(len(sizes)), sizes).astype(np.int32)
    return np.where(child >= 0, child + node, child - leaf).astype(np.int32)
