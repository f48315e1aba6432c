from collections.abc import Callable
from dataclasses import replace

from unclouded.evaluation import groups
from unclouded.evaluation.scores import AREAS, METRICS, PatchScores, Scores


def test_the_last_coverage_bin_has_full_coverage_and_each_patch_is_in_one_bin() -> None:
    covers = [0.0, 0.05, 0.1, 0.3, 0.7, 0.95, 1.0]
    values = {area: dict.fromkeys(METRICS, 0.5) for area in AREAS}
    bins = groups.by_coverage(PatchScores(f"p{i}", c, dict.fromkeys(AREAS, 9), values) for i, c in enumerate(covers))
    assert [b["n"] for b in bins] == [2, 1, 0, 1, 0, 0, 0, 1, 0, 2]
    assert (bins[3]["from"], bins[3]["to"]) == (0.3, 0.4)
    assert bins[9]["cloudy"]["mae"] == 0.5
    assert bins[9]["cloudy"]["n"] == 2


def test_seasons_and_regions_have_their_own_means(invent: Callable[..., Scores]) -> None:
    regions = ["ROIs1158_spring_1", "ROIs1158_spring_106", "ROIs1868_summer_1"]
    scores = invent([0.1, 0.3, 0.7], regions)
    season, region = groups.by_season(scores.patches), groups.by_region(scores.patches)
    assert {name: (one["n"], one["all"]["mae"]) for name, one in season.items()} == {
        "spring": (2, 0.2),
        "summer": (1, 0.7),
    }
    assert {name: one["n"] for name, one in region.items()} == dict.fromkeys(regions, 1)


def test_patches_without_a_region_are_unknown_and_not_left_out(invent: Callable[..., Scores]) -> None:
    scores = invent([0.1, 0.3], ["", "ROIs1158_spring_1"])
    assert {name: one["n"] for name, one in groups.by_season(scores.patches).items()} == {"spring": 1, "unknown": 1}
    assert {name: one["n"] for name, one in groups.by_region(scores.patches).items()} == {
        "ROIs1158_spring_1": 1,
        "unknown": 1,
    }


def test_each_patch_is_in_the_bin_of_its_brightness(invent: Callable[..., Scores]) -> None:
    dark, bright = invent([0.2, 0.4]).patches
    bins = groups.by_brightness([dark, replace(bright, brightness=1.0)])
    assert [(one["from"], one["n"]) for one in bins if one["n"]] == [(0.0, 1), (0.3, 1)]
    assert bins[-1]["all"]["mae"] == 0.4
