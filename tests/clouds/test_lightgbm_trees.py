"""The oracle is LightGBM itself, on models that it has just learnt: we must find the same bits."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unclouded.clouds.lightgbm_trees import (
    GROUP,
    Trees,
    group_alike,
    probabilities,
    read_trees,
    starting_ranks,
    to_ranks,
)
from unclouded.errors import InputError

FEATURES = 4


def learnt(folder: Path, leaves: int, rounds: int) -> tuple[lightgbm.Booster, Trees]:
    """A model of noise: its trees are as irregular as can be."""
    rng = np.random.default_rng(2)
    data = lightgbm.Dataset(rng.random((6000, FEATURES), np.float32), rng.integers(0, 2, 6000))
    wishes = {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 1, "verbose": -1, "num_threads": 1}
    model = lightgbm.train(wishes, data, rounds)
    model.save_model(folder / "model.txt")
    return model, read_trees(folder / "model.txt")


def expected(model: lightgbm.Booster, values: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(np.ascontiguousarray(values.T), num_threads=1)).astype(np.float32)


def ours(trees: Trees, values: np.ndarray) -> np.ndarray:
    return probabilities(values, trees, starting_ranks(trees.thresholds))


STUMP_AND_LEAF = """max_feature_idx=0
objective=binary sigmoid:1

Tree=0
num_cat=0
split_feature=0
threshold=0.5
decision_type=2
left_child=-1
right_child=-2
leaf_value=-1 1

Tree=1
num_cat=0
split_feature=
threshold=
decision_type=
left_child=
right_child=
leaf_value=1

end of trees
"""


def test_one_stump_and_one_lone_leaf_add_up(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text(STUMP_AND_LEAF)
    found = ours(read_trees(tmp_path / "model.txt"), np.array([[0.5, 0.6]], np.float32))
    assert found.tolist() == [0.5, np.float32(1 / (1 + np.exp(-2.0)))]


@pytest.mark.parametrize(("leaves", "rounds"), [(2, 40), (31, 20), (700, 3)])
def test_scattered_pixels_get_the_bits_of_lightgbm(tmp_path: Path, leaves: int, rounds: int) -> None:
    model, trees = learnt(tmp_path, leaves, rounds)
    values = np.random.default_rng(3).random((FEATURES, 3 * GROUP + 17), np.float32)
    np.testing.assert_array_equal(ours(trees, values), expected(model, values))


def test_similar_pixels_get_the_bits_of_lightgbm(tmp_path: Path) -> None:
    model, trees = learnt(tmp_path, 31, 20)
    rng = np.random.default_rng(4)
    heaps = rng.random((FEATURES, 5)).repeat(2000, axis=1) + rng.normal(0, 0.01, (FEATURES, 10_000))
    values = np.clip(heaps, 0, 1).astype(np.float32)
    np.testing.assert_array_equal(ours(trees, values), expected(model, values))


def test_values_on_and_beside_every_threshold_get_the_bits_of_lightgbm(tmp_path: Path) -> None:
    model, trees = learnt(tmp_path, 31, 20)
    all_thresholds = np.unique(trees.thresholds[np.isfinite(trees.thresholds)])
    near = [np.nextafter(all_thresholds, np.float32(side)) for side in (0, 1)]
    values = np.random.default_rng(5).choice(np.concatenate([all_thresholds, *near]), (FEATURES, 5000))
    np.testing.assert_array_equal(ours(trees, values), expected(model, values))


def test_more_equal_pixels_than_a_group_holds_get_the_same_probability(tmp_path: Path) -> None:
    model, trees = learnt(tmp_path, 31, 20)
    values = np.full((FEATURES, 2 * GROUP + 1), 0.3, np.float32)
    np.testing.assert_array_equal(ours(trees, values), expected(model, values))


def test_a_single_pixel_is_evaluated(tmp_path: Path) -> None:
    model, trees = learnt(tmp_path, 31, 20)
    values = np.full((FEATURES, 1), 0.7, np.float32)
    np.testing.assert_array_equal(ours(trees, values), expected(model, values))


TWO_TREES = """tree
version=v4
max_feature_idx=1
objective=binary sigmoid:1

Tree=0
num_leaves=3
num_cat=0
split_feature=1 0
threshold=0.5 0.10000000000000001
decision_type=2 2
left_child=1 -2
right_child=-1 -3
leaf_value=3 -1 2
shrinkage=1

Tree=1
num_leaves=2
num_cat=0
split_feature=1
threshold=0.25
decision_type=2
left_child=-1
right_child=-2
leaf_value=-0.5 0.5
shrinkage=1

end of trees
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "model.txt"
    path.write_text(text)
    return path


def test_thresholds_ascend_by_feature_and_nodes_keep_their_ranks(tmp_path: Path) -> None:
    trees = read_trees(written(tmp_path, TWO_TREES))
    assert trees.thresholds[1, :3].tolist() == [0.25, 0.5, np.inf]
    assert trees.feature.tolist() == [1, 0, 1]
    assert trees.rank.tolist() == [1, 0, 0]


def test_nodes_and_leaves_are_numbered_through_all_trees(tmp_path: Path) -> None:
    trees = read_trees(written(tmp_path, TWO_TREES))
    assert trees.roots.tolist() == [0, 2]
    assert trees.left.tolist() == [1, ~1, ~3]
    assert trees.right.tolist() == [~0, ~2, ~4]
    assert trees.leaf.tolist() == [3, -1, 2, -0.5, 0.5]


def test_a_threshold_becomes_the_largest_float32_that_does_not_exceed_it(tmp_path: Path) -> None:
    threshold = read_trees(written(tmp_path, TWO_TREES)).thresholds[0, 0]
    assert float(threshold) <= 0.1 < float(np.nextafter(threshold, np.float32(1)))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("objective=binary sigmoid:1", "objective=regression"),
        ("num_cat=0", "num_cat=1"),
        ("decision_type=2 2", "decision_type=2 10"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, right: str, wrong: str) -> None:
    with pytest.raises(
        InputError, match=r"is not a model of numerical thresholds .* use the detector s2cloudless-package"
    ):
        read_trees(written(tmp_path, TWO_TREES.replace(right, wrong)))


def test_too_many_thresholds_for_a_byte_are_refused(tmp_path: Path) -> None:
    stump = TWO_TREES[TWO_TREES.index("Tree=1") : TWO_TREES.index("end of trees")]
    many = "".join(stump.replace("0.25", str(k / 256)).replace("Tree=1", f"Tree={k + 2}") for k in range(256))
    with pytest.raises(InputError, match="a feature of the model has 256 thresholds, expected at most 255"):
        read_trees(written(tmp_path, TWO_TREES.replace("end of trees", many + "end of trees")))


def test_the_error_for_a_missing_model_suggests_to_install_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable LightGBM model; install s2cloudless again"):
        read_trees(tmp_path / "absent.txt")


def test_two_distant_clusters_become_two_groups() -> None:
    ranks = np.array([[1, 200, 2, 201, 3, 202]], np.uint8)
    order = np.arange(6)
    ends, low, high = group_alike(ranks, order, 3)
    assert ends.tolist() == [3, 6]
    assert (low[:, 0].tolist(), high[:, 0].tolist()) == ([1, 200], [3, 202])
    assert sorted(order[:3].tolist()) == [0, 2, 4]


def test_the_feature_with_the_widest_range_is_halved() -> None:
    ranks = np.array([[0, 9, 0, 9], [0, 0, 99, 99]], np.uint8)
    order = np.arange(4)
    assert group_alike(ranks, order, 2)[0].tolist() == [2, 4]
    assert sorted(order[:2].tolist()) == [0, 1]


def test_any_number_of_equal_pixels_forms_one_group() -> None:
    ends, low, high = group_alike(np.full((3, 1000), 7, np.uint8), np.arange(1000), 10)
    assert ends.tolist() == [1000]
    assert low.tolist() == high.tolist() == [[7, 7, 7]]


@pytest.mark.parametrize("most", [1, 7, 64])
def test_groups_hold_every_pixel_once_within_their_bounds(most: int) -> None:
    given = np.random.default_rng(1).integers(0, 256, (4, 500), dtype=np.uint8)
    ranks, order = given.copy(), np.arange(500)
    ends, low, high = group_alike(ranks, order, most)
    np.testing.assert_array_equal(np.sort(order), np.arange(500))
    np.testing.assert_array_equal(ranks, given[:, order])
    assert ends[-1] == 500 and np.diff(ends, prepend=0).max() <= most
    for group, pixels in enumerate(np.split(ranks, ends[:-1], axis=1)):
        np.testing.assert_array_equal(low[group], pixels.min(axis=1))
        np.testing.assert_array_equal(high[group], pixels.max(axis=1))


TEN = np.full((1, 256), np.inf, np.float32)

TEN[0, :10] = np.arange(1, 11, dtype=np.float32) / np.float32(10)


def ranks_of(values: np.ndarray, thresholds: np.ndarray) -> list[int]:
    return to_ranks(values[None], thresholds, starting_ranks(thresholds))[0].tolist()


def test_a_rank_counts_the_thresholds_below_a_value() -> None:
    assert ranks_of(np.array([0.05, 0.15, 0.95], np.float32), TEN) == [0, 1, 9]


def test_a_value_on_a_threshold_is_not_above_it_but_the_next_float_is() -> None:
    third = TEN[0, 2]
    around = np.array([np.nextafter(third, np.float32(0)), third, np.nextafter(third, np.float32(1))])
    assert ranks_of(around, TEN) == [2, 2, 3]


def test_values_outside_0_to_1_have_the_ranks_of_the_ends() -> None:
    assert ranks_of(np.array([-3.0, 0.0, 1.0, 2.0], np.float32), TEN) == [0, 0, 9, 9]


@settings(max_examples=50)
@given(
    arrays(np.float32, st.integers(1, 255), elements=st.floats(0, 1.25, width=32), unique=True),
    arrays(np.float32, 50, elements=st.floats(-1, 2, width=32)),
)
def test_ranks_are_those_of_a_binary_search(thresholds: np.ndarray, values: np.ndarray) -> None:
    padded = np.full((1, 256), np.inf, np.float32)
    padded[0, : len(thresholds)] = np.sort(thresholds)
    everything = np.concatenate([values, thresholds])
    expected = np.searchsorted(padded[0], np.clip(everything, 0, 1), side="left")
    assert ranks_of(everything, padded) == expected.tolist()
