import numpy as np
import pytest

from unclouded.clouds.grouping import group_alike


def test_two_far_heaps_become_two_groups() -> None:
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


def test_equal_pixels_stay_one_group_however_many() -> None:
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
