import hashlib
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation import metrics
from unclouded.evaluation import scores as groups
from unclouded.evaluation.scores import (
    AREAS,
    METRICS,
    PatchScores,
    Scores,
    differences,
    require_same,
    score_patch,
    score_patches,
)
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation, Triplet


def triplet(name: str = "p1", clear: float = 0.2, side: int = 16, cloudy_rows: int = 8, m: float = 1.0) -> Triplet:
    """A grey clear image whose upper rows are covered by white cloud of map value m."""
    truth = torch.full((1, 3, side, side), clear)
    cloud_map = torch.zeros(1, 1, side, side)
    cloud_map[:, :, :cloudy_rows] = m
    cloudy = torch.where(cloud_map > 0, torch.tensor(0.9), truth)
    return Triplet(name, Observation(torch.full((1, 2, side, side), -10.0), cloudy, cloud_map, RGB), truth)


def off_by(shown: Triplet, error: float) -> Tensor:
    return torch.where(shown.observation.is_cloudy, shown.clear + error, shown.clear)


def test_cloudy_and_clear_pixels_are_scored_separately() -> None:
    shown = triplet()
    scores = score_patch(shown, off_by(shown, 0.1))
    assert [scores.values[area]["mae"] for area in AREAS] == pytest.approx([0.05, 0.1, 0.0])
    assert [scores.pixels[area] for area in AREAS] == [256, 128, 128]
    assert scores.values["cloudy"]["psnr"] == pytest.approx(20.0, abs=1e-5)
    assert scores.coverage == 0.5


def test_the_faintest_cloud_is_cloudy() -> None:
    shown = triplet(m=1e-30)
    pixels = score_patch(shown, shown.clear).pixels
    assert (pixels["cloudy"], pixels["clear"]) == (128, 128)


def test_every_value_is_the_metric_of_that_name() -> None:
    rng = torch.Generator().manual_seed(1)
    shown = triplet()
    prediction = torch.rand(shown.clear.shape, generator=rng)
    where = shown.observation.is_cloudy
    assert score_patch(shown, prediction).values["cloudy"] == {
        "mae": metrics.mean_absolute_error(prediction, shown.clear, where).item(),
        "rmse": metrics.root_mean_square_error(prediction, shown.clear, where).item(),
        "psnr": metrics.peak_signal_to_noise_ratio_db(prediction, shown.clear, where).item(),
        "ssim": metrics.structural_similarity(prediction, shown.clear, where).item(),
        "sam": metrics.spectral_angle_deg(prediction, shown.clear, where).item(),
        "sam_global": metrics.spectral_angle_global_rad(prediction, shown.clear, where).item(),
    }


def test_prediction_and_target_are_clipped_to_between_0_and_1() -> None:
    shown = triplet(clear=1.3, cloudy_rows=16)
    assert score_patch(shown, torch.full_like(shown.clear, 1.7)).values["all"]["mae"] == 0.0
    assert score_patch(shown, torch.full_like(shown.clear, -0.15)).values["all"]["mae"] == 1.0


def test_means_are_means_over_patches_not_over_pixels() -> None:
    one, two = triplet("p1", cloudy_rows=2), triplet("p2", cloudy_rows=16)
    scores = score_patches([(one, off_by(one, 0.1)), (two, off_by(two, 0.3))], "kept")
    assert scores.mean("cloudy")["mae"] == pytest.approx(0.2)
    assert scores.mean("all")["mae"] == pytest.approx((0.1 * 2 / 16 + 0.3) / 2)


def test_fault_14_patches_all_cloud_or_all_clear_leave_the_mean_they_have_no_pixels_for() -> None:
    overcast, cloudless = triplet("p1", cloudy_rows=16), triplet("p2", cloudy_rows=0)
    scores = score_patches([(overcast, off_by(overcast, 0.1)), (cloudless, cloudless.clear + 0.2)], "network")
    assert [scores.mean(area)["n"] for area in AREAS] == [2, 1, 1]
    assert [scores.mean(area)["mae"] for area in AREAS] == pytest.approx([0.15, 0.1, 0.2])
    assert math.isnan(scores.patches[0].values["clear"]["mae"])


def test_fault_14_an_area_without_pixels_in_any_patch_has_a_count_of_0() -> None:
    shown = triplet(cloudy_rows=0)
    mean = score_patches([(shown, shown.clear + 0.1)], "kept").mean("cloudy")
    assert mean["n"] == 0
    assert all(math.isnan(mean[metric]) for metric in METRICS)


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_fault_13_no_data_never_enters_a_score(hole: float) -> None:
    shown = triplet()
    prediction = off_by(shown, 0.1)
    shown.observation.sar[0, 1, 0, 0] = math.nan
    prediction[0, 0, 0, 0] = math.nan  # the answer may have no data where the radar has none
    shown.clear[0, 2, 15, 15] = hole
    prediction[0, 1, 15, 15] = hole
    scores = score_patch(shown, prediction)
    assert [scores.pixels[area] for area in AREAS] == [254, 127, 127]
    assert [scores.values[area]["mae"] for area in AREAS] == pytest.approx([0.05, 0.1, 0.0])


def test_fault_19_an_evaluation_without_patches_is_an_error() -> None:
    with pytest.raises(InputError, match=r"expected at least one patch to evaluate, found none; check the data set"):
        score_patches([], "kept")


def test_a_prediction_of_other_bands_is_refused() -> None:
    shown = triplet()
    with pytest.raises(InputError, match=r"returned for p1 the shape 1 x 1 x 16 x 16, expected 1 x 3 x 16 x 16"):
        score_patch(shown, shown.clear[:, :1])


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_fault_13_a_prediction_without_data_where_the_images_have_some_is_refused(hole: float) -> None:
    shown = triplet()
    prediction = off_by(shown, 0.1)
    prediction[0, 0, 0, 0] = hole
    with pytest.raises(InputError, match="NaN or infinity at 1 of 256 pixels where radar and optical image have data"):
        score_patch(shown, prediction)


def test_a_target_of_other_bands_is_refused() -> None:
    shown = triplet()
    with pytest.raises(InputError, match=r"p1 has a target of the shape \(1, 1, 16, 16\)"):
        score_patch(replace(shown, clear=shown.clear[:, :1]), shown.clear)


def test_a_mean_psnr_is_that_of_the_patches_that_are_not_exact_with_both_counts() -> None:
    """Errors of 0, 0.1 and 0.01 have PSNRs of infinity, 20 and 40 dB."""
    shown = [triplet(f"p{i}", cloudy_rows=16) for i in range(3)]
    pairs = [(one, one.clear + error) for one, error in zip(shown, (0.0, 0.1, 0.01), strict=True)]
    mean = score_patches(pairs, "network").mean("all")
    assert mean["psnr"] == pytest.approx(30.0, abs=1e-4)
    assert (mean["n"], mean["psnr_n"], mean["psnr_exact"], mean["ssim_n"]) == (3, 2, 1, 3)
    alone = score_patches(pairs[:1], "network").mean("all")
    assert math.isnan(alone["psnr"]) and alone["psnr_exact"] == 1


def test_an_ssim_that_is_undefined_is_not_counted() -> None:
    """All cloudy pixels lie within 5 px of the border."""
    edge, inside = triplet("p1", cloudy_rows=2), triplet("p2", cloudy_rows=16)
    mean = score_patches([(one, one.clear + 0.1) for one in (edge, inside)], "network").mean("cloudy")
    assert (mean["n"], mean["ssim_n"]) == (2, 1)


def test_two_patches_of_one_name_are_refused() -> None:
    shown = triplet()
    with pytest.raises(ValueError, match="two patches are called p1"):
        score_patches([(shown, shown.clear), (shown, shown.clear)], "kept")


def test_patches_of_different_bands_are_refused() -> None:
    one, two = triplet("p1"), triplet("p2").select(("B04",))
    with pytest.raises(ValueError, match="p2 shows"):
        score_patches([(one, one.clear), (two, two.clear)], "kept")


def test_region_and_season_are_read_from_official_names() -> None:
    named, flat = (score_patch(one, one.clear) for one in (triplet("ROIs1868_summer_s2_119_p7"), triplet("p1")))
    assert (named.region, named.season) == ("ROIs1868_summer_119", "summer")
    assert (flat.region, flat.season) == ("", "")


def test_brightness_is_that_of_the_clear_image_clipped_and_without_holes() -> None:
    shown = triplet(clear=0.2)
    shown.clear[0, :, 0] = 1.4
    shown.clear[0, :, 1] = math.nan
    assert score_patch(shown, shown.clear).brightness == pytest.approx((0.2 * 14 + 1.0) / 15)


def test_brightness_is_that_of_red_green_and_blue_for_any_evaluated_bands() -> None:
    shown = triplet()
    infrared = replace(shown.observation, cloudy=torch.full((1, 4, 16, 16), 0.9), bands=("B08", *RGB))
    clear = torch.cat([torch.full((1, 1, 16, 16), 0.8), shown.clear], dim=1)
    assert score_patch(Triplet("p1", infrared, clear), clear).brightness == pytest.approx(0.2)


def test_the_hash_of_the_predictions_is_of_their_values_and_names_and_not_of_their_order() -> None:
    one, two = triplet("p1"), triplet("p2")
    changed = two.clear.clone()
    changed[0, 0, 0, 0] = changed[0, 0, 0, 0].nextafter(torch.tensor(1.0))
    pairs = [(one, one.clear), (two, two.clear)]
    hashes = [score_patches(p, "kept").predictions_sha256 for p in (pairs, pairs[::-1], [pairs[0], (two, changed)])]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_hash_of_the_split_is_that_of_its_sorted_names() -> None:
    pairs = [(triplet(name), triplet().clear) for name in ("p2", "p1")]
    assert score_patches(pairs, "kept").split_sha256 == hashlib.sha256(b"p1\np2\n").hexdigest()


CARD = {"layer": "fc2", "k": 10}


def test_equal_cards_compare_in_any_order_of_their_keys() -> None:
    require_same({})
    require_same({"a": CARD, "b": {"k": 10, "layer": "fc2"}})
    assert differences(CARD, dict(CARD)) == []


def test_another_value_is_named() -> None:
    message = r"a and c do not compare: k is 10 in one and 3 in the other, and 1 more; evaluate both in the same way"
    with pytest.raises(InputError, match=message):
        require_same({"a": CARD, "b": CARD, "c": {"layer": "pool5", "k": 3}})


def test_an_absent_entry_is_a_difference_even_to_null() -> None:
    assert differences({"clouds": None}, {}) == ["clouds is null in one and absent in the other"]


def test_the_last_coverage_bin_has_full_coverage_and_each_patch_is_in_one_bin() -> None:
    covers = [0.0, 0.05, 0.1, 0.3, 0.7, 0.95, 1.0]
    values = {area: dict.fromkeys(METRICS, 0.5) for area in AREAS}
    bins = groups.by_coverage(PatchScores(f"p{i}", c, dict.fromkeys(AREAS, 9), values) for i, c in enumerate(covers))
    assert [b["n"] for b in bins] == [2, 1, 0, 1, 0, 0, 0, 1, 0, 2]
    assert (bins[3]["from"], bins[3]["to"]) == (0.3, 0.4)
    assert bins[9]["cloudy"]["mae"] == 0.5
    assert bins[9]["cloudy"]["n"] == 2


def test_seasons_and_regions_have_their_own_means(simulate: Callable[..., Scores]) -> None:
    regions = ["ROIs1158_spring_1", "ROIs1158_spring_106", "ROIs1868_summer_1"]
    scores = simulate([0.1, 0.3, 0.7], regions)
    season, region = groups.by_season(scores.patches), groups.by_region(scores.patches)
    assert {name: (one["n"], one["all"]["mae"]) for name, one in season.items()} == {
        "spring": (2, 0.2),
        "summer": (1, 0.7),
    }
    assert {name: one["n"] for name, one in region.items()} == dict.fromkeys(regions, 1)


def test_patches_without_a_region_are_unknown_and_not_left_out(simulate: Callable[..., Scores]) -> None:
    scores = simulate([0.1, 0.3], ["", "ROIs1158_spring_1"])
    assert {name: one["n"] for name, one in groups.by_season(scores.patches).items()} == {"spring": 1, "unknown": 1}
    assert {name: one["n"] for name, one in groups.by_region(scores.patches).items()} == {
        "ROIs1158_spring_1": 1,
        "unknown": 1,
    }


def test_each_patch_is_in_the_bin_of_its_brightness(simulate: Callable[..., Scores]) -> None:
    dark, bright = simulate([0.2, 0.4]).patches
    bins = groups.by_brightness([dark, replace(bright, brightness=1.0)])
    assert [(one["from"], one["n"]) for one in bins if one["n"]] == [(0.0, 1), (0.3, 1)]
    assert bins[-1]["all"]["mae"] == 0.4
