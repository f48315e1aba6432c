"""The oracle is LightGBM itself, on models that it has just learnt: we must find the same bits."""

from pathlib import Path

import lightgbm
import numpy as np
import pytest

from unclouded.clouds.boosting import Trees, read_trees
from unclouded.clouds.forest import GROUP, probabilities
from unclouded.clouds.ranks import starting_ranks

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


def test_more_equal_pixels_than_a_group_holds_get_one_answer(tmp_path: Path) -> None:
    model, trees = learnt(tmp_path, 31, 20)
    values = np.full((FEATURES, 2 * GROUP + 1), 0.3, np.float32)
    np.testing.assert_array_equal(ours(trees, values), expected(model, values))


def test_a_single_pixel_is_enough(tmp_path: Path) -> None:
    model, trees = learnt(tmp_path, 31, 20)
    values = np.full((FEATURES, 1), 0.7, np.float32)
    np.testing.assert_array_equal(ours(trees, values), expected(model, values))
