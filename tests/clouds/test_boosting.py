from pathlib import Path

import numpy as np
import pytest

from unclouded.clouds.boosting import read_trees
from unclouded.errors import InputError

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
    with pytest.raises(InputError, match=r"no model of numerical thresholds .* use the detector s2cloudless-package"):
        read_trees(written(tmp_path, TWO_TREES.replace(right, wrong)))


def test_too_many_thresholds_for_a_byte_are_refused(tmp_path: Path) -> None:
    stump = TWO_TREES[TWO_TREES.index("Tree=1") : TWO_TREES.index("end of trees")]
    many = "".join(stump.replace("0.25", str(k / 256)).replace("Tree=1", f"Tree={k + 2}") for k in range(256))
    with pytest.raises(InputError, match="a feature of the model has 256 thresholds, expected at most 255"):
        read_trees(written(tmp_path, TWO_TREES.replace("end of trees", many + "end of trees")))


def test_an_absent_model_asks_to_install_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable LightGBM model; install s2cloudless again"):
        read_trees(tmp_path / "absent.txt")
