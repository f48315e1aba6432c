import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from unclouded.errors import InputError
from unclouded.evaluation.comparison import (
    column,
    compare_scores,
    comparison_json,
    comparison_table,
    intervals,
    scores_markdown,
    scores_table,
    why_none,
)
from unclouded.evaluation.scores import AREAS, METRICS, PatchScores, Scores
from unclouded.patches.reading import DamagedTriplet
from unclouded.sensors import RGB

TWO = ["ROIs1158_spring_1", "ROIs1158_spring_44"]

Simulate = Callable[..., Scores]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_difference_is_the_first_minus_the_second_patch_by_patch(simulate: Simulate) -> None:
    found = compare_scores(simulate([0.1, 0.4], TWO), simulate([0.4, 0.9], TWO), rng())
    assert [(one.area, one.metric) for one in found] == [(area, metric) for area in AREAS for metric in METRICS]
    assert found[0].mean == pytest.approx(-0.4)
    assert found[0].interval == pytest.approx((-0.5, -0.3))
    assert found[0].n == 2
    assert found[0].is_clear


def test_pairing_removes_what_both_share(simulate: Simulate) -> None:
    hard = np.random.default_rng(1).random(30)
    regions = [f"ROIs1158_spring_{i // 3}" for i in range(30)]
    first, second = simulate([*hard], regions), simulate([*(hard + 0.01)], regions)
    one = compare_scores(first, second, rng())[0]
    assert one.interval == pytest.approx((-0.01, -0.01))
    assert one.is_clear


def test_the_order_of_the_patches_does_not_matter(simulate: Simulate) -> None:
    first, second = simulate([0.1, 0.4], TWO), simulate([0.4, 0.9], TWO)
    turned = replace(second, patches=second.patches[::-1])
    assert compare_scores(first, turned, rng()) == compare_scores(first, second, rng())


def test_an_interval_around_0_is_not_clear(simulate: Simulate) -> None:
    assert not compare_scores(simulate([0.1, 0.4], TWO), simulate([0.2, 0.3], TWO), rng())[0].is_clear


def test_one_region_gives_a_difference_without_interval_that_is_not_clear(simulate: Simulate) -> None:
    one = compare_scores(simulate([0.1, 0.4]), simulate([0.2, 0.6]), rng())[0]
    assert one.mean == pytest.approx(-0.15)
    assert math.isnan(one.interval[0])
    assert not one.is_clear


def test_fault_14_areas_without_pixels_have_no_difference(simulate: Simulate) -> None:
    nothing = simulate([math.nan, math.nan], TWO, pixels=0)
    one = compare_scores(nothing, nothing, rng())[0]
    assert one.n == 0
    assert math.isnan(one.mean)


def test_pairs_with_an_exact_patch_have_no_difference_of_psnr_and_are_counted(simulate: Simulate) -> None:
    """10 and 30 dB against 20 and an exact patch: minus 10 dB of one pair."""
    first, second = simulate([0.1, 0.3], TWO), simulate([0.2, 0.0], TWO)

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
    assert "PSNR of all pixels excludes 1 patches on which one of the two is exact" in " ".join(capture.get().split())


def test_results_that_skipped_different_patches_are_refused(simulate: Simulate) -> None:
    first = simulate([0.1, 0.4], TWO)
    second = replace(first, skipped=(DamagedTriplet("p9", "p9.tif has 1 of 9 values without data"),))
    with pytest.raises(InputError, match=r"only the second skipped p9 \(p9.tif has 1 of 9 values without data\)"):
        compare_scores(first, second, rng())
    assert compare_scores(second, second, rng())[0].mean == 0.0


def test_other_patches_are_refused_by_name(simulate: Simulate) -> None:
    with pytest.raises(InputError, match=r"different patches \(2 and 1\): ROIs1158_spring_44_p1 is only in the first"):
        compare_scores(simulate([0.1, 0.4], TWO), simulate([0.1], TWO[:1]), rng())


def test_other_cards_are_refused(simulate: Simulate) -> None:
    first = simulate([0.1, 0.4], TWO)
    with pytest.raises(InputError, match=r'clear_pixels is "kept" in one and "network" in the other'):
        compare_scores(first, replace(first, clear_pixels="network"), rng())


def interval_rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_metric_of_every_area_has_its_interval(simulate: Callable[..., Scores]) -> None:
    patches = simulate([0.1, 0.3], ["ROIs1158_spring_1", "ROIs1158_spring_44"]).patches
    found = intervals(patches, interval_rng())
    assert found["regions"] == 2
    assert found["cloudy"]["mae"] == [0.1, 0.3]
    assert found["why_none"] == ""
    assert column(patches, "clear", "ssim").tolist() == [0.1, 0.3]


def test_the_reason_for_a_missing_interval_is_given(simulate: Callable[..., Scores]) -> None:
    single, unknown = simulate([0.1, 0.3]), simulate([0.1, 0.3], ["", "ROIs1158_spring_1"])
    assert why_none(single.patches) == (
        "no interval: all patches are of ROIs1158_spring_1, and regions are drawn from at least two"
    )
    assert why_none(unknown.patches) == "no interval: the names of 1 of 2 patches contain no region"
    assert math.isnan(intervals(single.patches, interval_rng())["all"]["mae"][0])


def scores(**values: float) -> Scores:
    known = dict.fromkeys(("mae", "rmse", "psnr", "ssim", "sam", "sam_global"), 0.25) | values
    return Scores(RGB, "kept", (PatchScores("p1", 0.5, dict.fromkeys(AREAS, 9), dict.fromkeys(AREAS, known)),))


def test_the_lowest_error_and_the_highest_ratio_are_bold() -> None:
    rows = {"first": scores(mae=0.0312, psnr=24.0, ssim=0.8), "second": scores(mae=0.0161, psnr=30.847, ssim=0.7)}
    assert scores_markdown(rows).splitlines() == [
        "| remover | MAE (reflectance) | RMSE (reflectance) | PSNR (dB) | SSIM | SAM (°) | SAM global (rad) | n |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| first | 0.0312 | **0.2500** | 24.00 | **0.8000** | **0.25** | **0.2500** | 1 |",
        "| second | **0.0161** | **0.2500** | **30.85** | 0.7000 | **0.25** | **0.2500** | 1 |",
    ]


def test_values_that_print_alike_are_equally_good() -> None:
    rows = {"first": scores(mae=0.016101), "second": scores(mae=0.016099)}
    assert scores_markdown(rows).count("**0.0161**") == 2


def test_an_undefined_value_is_a_dash_and_never_the_best() -> None:
    rows = {"first": scores(psnr=math.nan), "second": scores(psnr=12.0)}
    first, second = scores_markdown(rows).splitlines()[2:]
    assert first.split(" | ")[3] == "–"
    assert second.split(" | ")[3] == "**12.00**"


def test_a_mean_psnr_is_given_with_the_number_of_exact_patches() -> None:
    """Two patches of 10 and 14 dB and an exact one: 12 dB of two patches."""
    three = scores()
    patches = [replace(scores(psnr=v).patches[0], name=f"p{v}") for v in (10.0, 14.0, math.inf)]
    three = replace(three, patches=tuple(patches))
    line = scores_markdown({"first": three, "second": scores(psnr=11.0)}).splitlines()[2]
    assert line.split(" | ")[3] == "**12.00 (1 exact)**"
    assert "first: PSNR is the mean of 2 patches; 1 exact patches have an infinite one" in " ".join(
        shown({"first": three}).split()
    )
    assert "– (1 exact)" in scores_markdown({"first": scores(psnr=math.inf)})


def test_no_number_is_cut_off_in_a_terminal_of_80_columns() -> None:
    many = replace(
        scores(psnr=math.inf, sam=179.99),
        patches=tuple(replace(scores(sam=179.99).patches[0], name=f"p{i}") for i in range(1234)),
    )
    lines = shown({"a-remover-with-a-very-long-name-of-its-own": many, "b": scores()}, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("179.99" in line and line.rstrip(" │").endswith("1,234") for line in lines)


def test_names_with_markup_are_shown_as_they_are() -> None:
    assert scores_markdown({"a|b": scores()}).splitlines()[2].startswith(r"| a\|b |")
    assert "net[1]" in shown({"net[1]": scores()})


def test_the_terminal_shows_the_rows_in_order_with_their_area() -> None:
    text = shown({"zebra": scores(mae=0.02), "ant": scores(mae=0.03)})
    assert "cloudy pixels, mean over n patches" in text
    assert text.index("zebra") < text.index("ant")
    assert "0.0200" in text
    assert "PSNR in dB" in text


def shown(rows: dict[str, Scores], width: int = 160) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(scores_table(rows, "cloudy"))
    return capture.get()


def test_rows_with_different_protocols_are_refused() -> None:
    rows = {"first": scores(), "second": replace(scores(), clear_pixels="network")}
    with pytest.raises(InputError, match=r"first and second do not compare: clear_pixels is \"kept\" in one"):
        scores_markdown(rows)
