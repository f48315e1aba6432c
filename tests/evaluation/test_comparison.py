import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from unclouded.errors import InputError
from unclouded.evaluation.comparison import compare_scores, comparison_json, comparison_table
from unclouded.evaluation.scores import AREAS, METRICS, Scores
from unclouded.patches.reading import DamagedTriplet

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


def test_pairs_with_an_exact_patch_have_no_difference_of_psnr_and_are_counted(invent: Invent) -> None:
    """10 and 30 dB against 20 and an exact patch: minus 10 dB of one pair."""
    first, second = invent([0.1, 0.3], TWO), invent([0.2, 0.0], TWO)

    def with_psnr(scores: Scores, values: tuple[float, float]) -> Scores:
        patches = [
            replace(one, values={area: {**one.values[area], "psnr": value} for area in AREAS})
            for one, value in zip(scores.patches, values, strict=True)
        ]
        return replace(scores, patches=tuple(patches))

    found = compare_scores(with_psnr(first, (10.0, 30.0)), with_psnr(second, (20.0, math.inf)), rng())
    psnr, mae = found[METRICS.index("psnr")], found[METRICS.index("mae")]
    assert (psnr.mean, psnr.n, psnr.exact) == (-10.0, 1, 1)
    assert (mae.n, mae.exact) == (2, 0)
    assert comparison_json("a", "b", found)["difference"]["all"]["psnr"]["exact"] == 1
    console = Console(width=80)
    with console.capture() as capture:
        console.print(comparison_table("a", "b", found))
    assert "PSNR of all pixels is without 1 patches where one of the two is exact" in " ".join(capture.get().split())


def test_results_that_skipped_different_patches_are_refused(invent: Invent) -> None:
    first = invent([0.1, 0.4], TWO)
    second = replace(first, skipped=(DamagedTriplet("p9", "p9.tif has 1 of 9 values without data"),))
    with pytest.raises(InputError, match=r"only the second skipped p9 \(p9.tif has 1 of 9 values without data\)"):
        compare_scores(first, second, rng())
    assert compare_scores(second, second, rng())[0].mean == 0.0


def test_other_patches_are_refused_by_name(invent: Invent) -> None:
    with pytest.raises(InputError, match=r"different patches \(2 and 1\): ROIs1158_spring_44_p1 is only in the first"):
        compare_scores(invent([0.1, 0.4], TWO), invent([0.1], TWO[:1]), rng())


def test_other_cards_are_refused(invent: Invent) -> None:
    first = invent([0.1, 0.4], TWO)
    with pytest.raises(InputError, match=r'clear_pixels is "kept" in one and "network" in the other'):
        compare_scores(first, replace(first, clear_pixels="network"), rng())
