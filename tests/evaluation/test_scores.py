import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation import metrics
from unclouded.evaluation.scores import AREAS, METRICS, PatchScores, Scores, score_patch, score_patches
from unclouded.files import write_json
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Observation, Triplet


def triplet(name: str = "p1", clear: float = 0.2, side: int = 16, cloudy_rows: int = 8, m: float = 1.0) -> Triplet:
    """A grey clear image whose upper rows are covered by white cloud of map value m."""
    truth = torch.full((1, 3, side, side), clear)
    cloud_map = torch.zeros(1, 1, side, side)
    cloud_map[:, :, :cloudy_rows] = m
    cloudy = torch.where(cloud_map > 0, torch.tensor(0.9), truth)
    return Triplet(name, Observation(torch.full((1, 2, side, side), -10.0), cloudy, cloud_map, RGB), truth)


def off_by(shown: Triplet, error: float) -> Tensor:
    return torch.where(shown.observation.is_cloudy, shown.clear + error, shown.clear)


def test_cloudy_and_clear_pixels_are_judged_apart() -> None:
    shown = triplet()
    scores = score_patch(shown, off_by(shown, 0.1))
    assert [scores.values[area]["mae"] for area in AREAS] == pytest.approx([0.05, 0.1, 0.0])
    assert [scores.pixels[area] for area in AREAS] == [256, 128, 128]
    assert scores.values["cloudy"]["psnr"] == pytest.approx(20.0, abs=1e-5)
    assert scores.coverage == 0.5


def test_the_faintest_cloud_is_cloudy() -> None:
    shown = triplet(m=1e-30)
    assert score_patch(shown, shown.clear).pixels["cloudy"] == 128


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
    assert score_patch(shown, torch.full_like(shown.clear, -0.5)).values["all"]["mae"] == 1.0


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


def test_fault_14_an_area_that_no_patch_has_counts_none() -> None:
    shown = triplet(cloudy_rows=0)
    mean = score_patches([(shown, shown.clear + 0.1)], "kept").mean("cloudy")
    assert mean["n"] == 0
    assert all(math.isnan(mean[metric]) for metric in METRICS)


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_fault_13_values_that_are_no_data_never_enter(hole: float) -> None:
    shown = triplet()
    prediction = off_by(shown, 0.1)
    prediction[0, 0, 0, 0] = hole
    shown.clear[0, 2, 15, 15] = hole
    scores = score_patch(shown, prediction)
    assert [scores.pixels[area] for area in AREAS] == [254, 127, 127]
    assert [scores.values[area]["mae"] for area in AREAS] == pytest.approx([0.05, 0.1, 0.0])


def test_fault_19_no_patch_is_no_success() -> None:
    with pytest.raises(InputError, match=r"expected at least one patch to judge, found none; check the data set"):
        score_patches([], "kept")


def test_a_prediction_of_other_bands_is_refused() -> None:
    shown = triplet()
    with pytest.raises(ValueError, match=r"p1: prediction .* and target .* differ"):
        score_patch(shown, shown.clear[:, :1])


def test_two_patches_of_one_name_are_refused() -> None:
    shown = triplet()
    with pytest.raises(ValueError, match="two patches are called p1"):
        score_patches([(shown, shown.clear), (shown, shown.clear)], "kept")


def test_patches_of_different_bands_are_refused() -> None:
    one, two = triplet("p1"), triplet("p2").select(("B04",))
    with pytest.raises(ValueError, match="p2 shows"):
        score_patches([(one, one.clear), (two, two.clear)], "kept")


def test_the_last_coverage_bin_has_full_coverage_and_each_patch_is_in_one_bin() -> None:
    covers = [0.0, 0.05, 0.1, 0.3, 0.7, 0.95, 1.0]
    values = {area: dict.fromkeys(METRICS, 0.5) for area in AREAS}
    patches = tuple(PatchScores(f"p{i}", c, dict.fromkeys(AREAS, 9), values) for i, c in enumerate(covers))
    bins = Scores(RGB, "kept", patches).to_json()["coverage"]
    assert [b["n"] for b in bins] == [2, 1, 0, 1, 0, 0, 0, 1, 0, 2]
    assert (bins[3]["from"], bins[3]["to"]) == (0.3, 0.4)
    assert bins[9]["cloudy"]["mae"] == 0.5
    assert bins[9]["cloudy"]["n"] == 2


def test_what_is_written_says_what_was_judged_and_has_no_nan(tmp_path: Path) -> None:
    shown = triplet("ROIs1868_summer_119_p7", cloudy_rows=16)
    write_json(tmp_path / "scores.json", score_patches([(shown, off_by(shown, 0.1))], "network").to_json())
    written = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert written["definition"] == "unclouded-scores-1"
    assert written["bands"] == ["B04", "B03", "B02"]
    assert written["clear_pixels"] == "network"
    assert set(written["mean"]) == {"all", "cloudy", "clear"}
    assert set(written["mean"]["all"]) == {"mae", "rmse", "psnr", "ssim", "sam", "sam_global", "n"}
    assert written["mean"]["clear"] == dict.fromkeys(METRICS) | {"n": 0}
    patch = written["patches"]["ROIs1868_summer_119_p7"]
    assert patch["coverage"] == 1.0
    assert patch["all"]["mae"] == pytest.approx(0.1)
    assert patch["clear"] == dict.fromkeys(METRICS) | {"pixels": 0}
    assert len(written["coverage"]) == 10
