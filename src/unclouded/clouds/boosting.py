"""Boosted trees as LightGBM writes them to text, read without LightGBM."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unclouded.errors import InputError

MAX_THRESHOLDS = 255
"""Most distinct thresholds of one feature: a rank among them fits into a byte."""
_NUMERICAL_WITHOUT_MISSING = "2"


class Trees(NamedTuple):
    """Binary trees over ranks; node numbers count through all trees.

    A rank is the number of thresholds below a value: ``value <= thresholds[f, k]`` means ``rank <= k``.

    Attributes:
        thresholds: Ascending float32 thresholds of each feature (feature, 256), padded with infinity.
        roots: First node of each tree, or ``~leaf`` where a tree is one leaf.
        feature: Feature that a node looks at.
        rank: Ranks up to this one go left, others right.
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


def read_trees(path: Path) -> Trees:
    """Read a binary classifier from the text file of a LightGBM model.

    Raises:
        InputError: No such file, or a model that decides otherwise than by numbers and thresholds.
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
            f"{path} is no model of numerical thresholds with a logistic output, as expected of s2cloudless; "
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
    """Largest float32 that does not exceed each value: a float32 is below the one where it is below the other."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def _numbered_through(child: NDArray[np.int32], sizes: NDArray[Any], first: NDArray[Any]) -> NDArray[np.int32]:
    """Renumber children from their own tree to all; a tree has one leaf more than nodes, k trees have k more."""
    node = np.repeat(first, sizes).astype(np.int32)
    leaf = np.repeat(first + np.arange(len(sizes)), sizes).astype(np.int32)
    return np.where(child >= 0, child + node, child - leaf).astype(np.int32)
