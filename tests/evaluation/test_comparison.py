import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.evaluation.comparison import compare_scores
from unclouded.evaluation.scores import AREAS, METRICS, Scores

TWO = ["ROIs1158_spring_1", "ROIs1158_spring_44"]
Invent = Callable[..., Scores]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_difference_is_the_first_minus_the_second_patch_by_patch(invent: Invent) -> None:
    found = compare_scores(invent([0.1, 0.4], TWO), invent([0.4, 0.9], TWO), rng())
    assert [(one.area, one.metric) for one in found] == [(area, metric) for area in AREAS for metric in METRICS]
    assert found[0].mean == pytest.approx(-0.4)
    assert found[0].interval == pytest.approx((-0.5, -0.3))
    assert found[0].n == 2
    assert found[0].is_clear


def test_pairing_removes_what_both_share(invent: Invent) -> None:
    hard = np.random.default_rng(1).random(30)
    regions = [f"ROIs1158_spring_{i // 3}" for i in range(30)]
    first, second = invent([*hard], regions), invent([*(hard + 0.01)], regions)
    one = compare_scores(first, second, rng())[0]
    assert one.interval == pytest.approx((-0.01, -0.01))
    assert one.is_clear


def test_the_order_of_the_patches_does_not_matter(invent: Invent) -> None:
    first, second = invent([0.1, 0.4], TWO), invent([0.4, 0.9], TWO)
    turned = replace(second, patches=second.patches[::-1])
    assert compare_scores(first, turned, rng()) == compare_scores(first, second, rng())


def test_an_interval_around_0_is_not_clear(invent: Invent) -> None:
    assert not compare_scores(invent([0.1, 0.4], TWO), invent([0.2, 0.3], TWO), rng())[0].is_clear


def test_one_region_gives_a_difference_without_interval_that_is_not_clear(invent: Invent) -> None:
    one = compare_scores(invent([0.1, 0.4]), invent([0.2, 0.6]), rng())[0]
    assert one.mean == pytest.approx(-0.15)
    assert math.isnan(one.interval[0])
    assert not one.is_clear


def test_fault_14_areas_without_pixels_have_no_difference(invent: Invent) -> None:
    nothing = invent([math.nan, math.nan], TWO, pixels=0)
    one = compare_scores(nothing, nothing, rng())[0]
    assert one.n == 0
    assert math.isnan(one.mean)


def test_other_patches_are_refused_by_name(invent: Invent) -> None:
    with pytest.raises(InputError, match=r"different patches \(2 and 1\): ROIs1158_spring_44_p1 is only in the first"):
        compare_scores(invent([0.1, 0.4], TWO), invent([0.1], TWO[:1]), rng())


def test_other_cards_are_refused(invent: Invent) -> None:
    first = invent([0.1, 0.4], TWO)
    with pytest.raises(InputError, match=r'clear_pixels is "kept" in one and "network" in the other'):
        compare_scores(first, replace(first, clear_pixels="network"), rng())
