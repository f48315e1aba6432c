import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from unclouded.errors import InputError
from unclouded.models.adaptation.radar_features import radar_features
from unclouded.models.baselines import BASELINES, FIXED_SPECTRUM, RIDGE_PX, Baseline, baseline, fit_ridge
from unclouded.models.remover import CloudRemover, SceneRemover
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation

Coast = Callable[..., tuple[Observation, Tensor]]

MENDERS = ["cloudy", "clear-mean", "sar-regression"]


def mean_error(name: str, observation: Observation, clear: Tensor) -> float:
    error = (baseline(name, observation.bands)(observation) - clear).abs()
    return error[observation.is_cloudy.expand_as(error)].mean().item()


def test_a_baseline_is_a_remover_with_a_name_and_bands() -> None:
    remover: CloudRemover = baseline("clear-mean")
    assert (remover.name, remover.bands) == ("clear-mean", RGB)
    assert baseline("sar-vv", ("B8", "b8a")).bands == ("B08", "B8A")
    assert list(BASELINES) == ["cloudy", "clear-mean", "sar-vv", "sar-vh", "sar-regression"]


def test_an_unknown_baseline_is_named_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"^unknown baseline 'clear_mean'; did you mean 'clear-mean'\? known are cloudy, clear-"
    ):
        baseline("clear_mean")


def test_a_name_near_none_lists_them_all() -> None:
    with pytest.raises(
        InputError, match=r"unknown baseline 'xyz'; known are cloudy, clear-mean, sar-vv, sar-vh, sar-reg"
    ):
        baseline("xyz")


def test_an_unknown_band_is_refused() -> None:
    with pytest.raises(InputError, match="B13 is no band of Sentinel-2"):
        baseline("cloudy", ("B13",))


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_returns_its_bands_whatever_the_observation_has(name: str, coast: Coast) -> None:
    observation, _ = coast()
    prediction = baseline(name, ("B08", "B02"))(observation)
    assert prediction.shape == (1, 2, 96, 96)
    assert_close(prediction, baseline(name, ("B08", "B02"))(observation.select(("B08", "B02"))))


@pytest.mark.parametrize("name", MENDERS)
def test_clear_pixels_keep_their_observed_value_bit_for_bit(name: str, coast: Coast) -> None:
    observation, _ = coast()
    prediction = baseline(name, observation.bands)(observation)
    kept = (observation.cloud_map == 0).expand_as(prediction)
    assert torch.equal(prediction[kept], observation.cloudy[kept])


@pytest.mark.parametrize("name", BASELINES)
def test_images_of_a_batch_are_answered_each_for_itself(name: str, coast: Coast) -> None:
    (one, _), (two, _) = coast(1), coast(2)
    two.cloud_map[:, :, 20:90] = 0.1
    both = Observation(
        torch.cat([one.sar, two.sar]),
        torch.cat([one.cloudy, two.cloudy]),
        torch.cat([one.cloud_map, two.cloud_map]),
        one.bands,
    )
    remover = baseline(name, RGB)
    assert_close(remover(both), torch.cat([remover(one), remover(two)]), rtol=0, atol=1e-6)


def test_cloudy_is_the_image_itself(coast: Coast) -> None:
    observation, _ = coast()
    assert torch.equal(baseline("cloudy", observation.bands)(observation), observation.cloudy)


def test_clear_mean_is_the_mean_of_the_clear_pixels() -> None:
    cloudy = torch.tensor([[0.9, 0.1], [0.2, 0.6]]).view(1, 1, 2, 2)
    cloud_map = torch.tensor([[0.5, 0.0], [0.0, 0.0]]).view(1, 1, 2, 2)
    observation = Observation(torch.zeros(1, 2, 2, 2), cloudy, cloud_map, ("B04",))
    prediction = baseline("clear-mean", ("B04",))(observation)
    assert_close(prediction.flatten(), torch.tensor([0.3, 0.1, 0.2, 0.6]))


@pytest.mark.parametrize("name", ["clear-mean", "sar-regression"])
def test_fault_14_all_cloud_gives_the_fixed_spectrum(name: str, coast: Coast) -> None:
    observation, _ = coast(bands=("B02", "B11"))
    observation.cloud_map[:] = 0.3
    prediction = baseline(name, ("B02", "B11"))(observation)
    expected = torch.tensor([FIXED_SPECTRUM["B02"], FIXED_SPECTRUM["B11"]]).view(1, 2, 1, 1)
    assert_close(prediction, expected.expand_as(prediction))


@pytest.mark.parametrize("name", MENDERS)
def test_fault_14_all_clear_stays_as_it_is(name: str, coast: Coast) -> None:
    observation, _ = coast()
    observation.cloud_map[:] = 0.0
    assert torch.equal(baseline(name, observation.bands)(observation), observation.cloudy)


@pytest.mark.parametrize("name", ["clear-mean", "sar-regression"])
def test_fault_13_no_data_stays_no_data_and_moves_no_other_pixel(name: str, coast: Coast) -> None:
    observation, _ = coast()
    remover = baseline(name, observation.bands)
    before = remover(observation)
    observation.cloudy[0, 3, 2, 2] = observation.cloudy[0, 3, 40, 50] = math.nan  # one clear, one cloudy
    after = remover(observation)
    assert after.isnan().nonzero().tolist() == [[0, 3, 2, 2], [0, 3, 40, 50]]
    assert_close(after.nan_to_num(), before.where(~after.isnan(), 0.0), rtol=0, atol=1e-4)


def test_fault_13_radar_without_data_leaves_a_hole_under_the_cloud_only(coast: Coast) -> None:
    observation, _ = coast()
    observation.sar[0, 1, 40, 50] = observation.sar[0, 0, 2, 2] = math.nan  # under the cloud, and beside it
    prediction = baseline("sar-regression", ("B04",))(observation)
    assert prediction.isnan().nonzero().tolist() == [[0, 0, 40, 50]]


@pytest.mark.parametrize(("name", "expected"), [("sar-vv", [0.0, 0.0, 0.6, 1.0]), ("sar-vh", [1.0, 0.2, 0.0, 0.0])])
def test_radar_is_shown_grey_between_minus_25_and_0_db(name: str, expected: list[float]) -> None:
    sar = torch.tensor([[-40.0, -25.0, -10.0, 3.0], [0.0, -20.0, -25.0, -30.0]]).view(1, 2, 1, 4)
    observation = Observation(sar, torch.full((1, 3, 1, 4), 0.1), torch.zeros(1, 1, 1, 4), RGB)
    prediction = baseline(name)(observation)
    for band in range(3):
        assert_close(prediction[0, band, 0], torch.tensor(expected))


def test_regression_finds_the_coast_under_the_cloud(coast: Coast) -> None:
    observation, clear = coast()
    assert mean_error("clear-mean", observation, clear) > 0.08
    assert mean_error("sar-regression", observation, clear) < 0.02


def test_uninformative_radar_leaves_the_mean_of_the_clear_pixels(coast: Coast) -> None:
    observation, _ = coast()
    observation.sar[:] = -25.0
    expected = baseline("clear-mean", observation.bands)(observation)
    assert_close(baseline("sar-regression", observation.bands)(observation), expected, rtol=0, atol=1e-6)


def test_regression_with_few_clear_pixels_is_the_mean_of_the_clear_pixels(coast: Coast) -> None:
    observation, _ = coast()
    observation.cloud_map[:] = 0.5
    observation.cloud_map[0, 0, :2, :46] = 0.0  # 92 of 9216 pixels: below 1 %
    few = baseline("sar-regression")(observation)
    assert_close(few, baseline("clear-mean")(observation))
    observation.cloud_map[0, 0, 2, :4] = 0.0  # 96 pixels: above
    assert (baseline("sar-regression")(observation) - baseline("clear-mean")(observation)).abs().max() > 1e-4


def test_regression_agrees_with_least_squares_on_added_rows(coast: Coast) -> None:
    """A ridge penalty is equivalent to as many pixels of value 0; solved by another method, in numpy."""
    observation, _ = coast(bands=("B02", "B08"))
    clear = (observation.cloud_map == 0)[0, 0].numpy()
    features, cloudy = radar_features(observation.sar)[0].double().numpy(), observation.cloudy[0].double().numpy()
    x, y = features[:, clear].T, cloudy[:, clear].T
    z = np.clip(features.reshape(16, -1).T, x.min(0), x.max(0))
    rows = np.vstack([(x - x.mean(0)) / x.std(0), math.sqrt(RIDGE_PX) * np.eye(16)])
    slopes = np.linalg.lstsq(rows, np.vstack([y - y.mean(0), np.zeros((16, 2))]), rcond=None)[0]
    expected = np.clip((z - x.mean(0)) / x.std(0) @ slopes + y.mean(0), 0, 1).T.reshape(2, 96, 96)
    expected = np.where(clear, cloudy, expected)
    prediction = baseline("sar-regression", observation.bands)(observation)
    np.testing.assert_allclose(prediction[0].numpy(), expected, atol=1e-6)


def test_two_baselines_of_one_name_and_bands_are_equal() -> None:
    assert baseline("cloudy", ("B4", "B3", "B2")) == Baseline("cloudy", RGB)


@pytest.mark.parametrize("name", list(BASELINES))
def test_adapted_to_a_whole_scene_a_baseline_is_itself(name: str, coast: Coast) -> None:
    observation, _ = coast(bands=RGB)
    remover = baseline(name)
    assert isinstance(remover, SceneRemover)
    assert_close(remover.adapt([observation])(observation), remover(observation), atol=1e-6, rtol=0)


def test_a_scene_has_one_mean_over_all_clear_pixels_of_its_sample() -> None:
    def seen(value: float, clear_px: int) -> Observation:
        cloud_map = torch.ones(1, 1, 1, 4)
        cloud_map[..., :clear_px] = 0
        return Observation(torch.zeros(1, 2, 1, 4), torch.full((1, 3, 1, 4), value), cloud_map, RGB)

    adapted = baseline("clear-mean").adapt([seen(0.1, 3), seen(0.5, 1), seen(0.9, 0)])
    assert_close(adapted(seen(0.7, 0)), torch.full((1, 3, 1, 4), 0.2))  # (3 * 0.1 + 0.5) / 4


@pytest.mark.parametrize("name", ["clear-mean", "sar-regression"])
def test_a_window_with_its_margin_is_predicted_as_in_its_scene(name: str, coast: Coast) -> None:
    scene, _ = coast(side=160, bands=RGB)
    remover = baseline(name)
    left, right = (
        Observation(scene.sar[..., part], scene.cloudy[..., part], scene.cloud_map[..., part], RGB)
        for part in (slice(0, 64 + remover.margin_px), slice(64 - remover.margin_px, None))
    )
    adapted = remover.adapt([left, right])
    joined = torch.cat([adapted(left)[..., :64], adapted(right)[..., remover.margin_px :]], dim=-1)
    assert_close(joined, adapted(scene), atol=1e-6, rtol=0)


def test_the_mean_of_a_scene_without_clear_pixels_is_the_fixed_spectrum(coast: Coast) -> None:
    observation, _ = coast(bands=RGB)
    covered = dataclasses.replace(observation, cloud_map=torch.ones_like(observation.cloud_map))
    for name in ("clear-mean", "sar-regression"):
        found = baseline(name).adapt([covered])(covered)[0, :, 0, 0]
        assert found.tolist() == pytest.approx([FIXED_SPECTRUM[band] for band in RGB])


HALF = int(RIDGE_PX) // 2

FEATURE = torch.tensor([-11.0, -9.0]).repeat(HALF).view(1, -1)  # mean -10, standard deviation 1, 3,000 pixels

REFLECTANCE = torch.tensor([[0.2, 0.4], [0.3, 0.3]]).repeat(1, HALF)  # follows the feature; does not


def test_as_many_pixels_as_the_penalty_halve_the_slope() -> None:
    fitted = fit_ridge(FEATURE, REFLECTANCE)
    assert fitted.slopes.flatten().tolist() == pytest.approx([0.05, 0.0])  # 0.1 x 3000 / (3000 + 3000)
    assert fitted(torch.tensor([[[-11.0, -10.0, -9.0]]])).flatten().tolist() == pytest.approx(
        [0.25, 0.3, 0.35, 0.3, 0.3, 0.3]
    )


def test_beyond_the_range_that_was_seen_nothing_changes_further() -> None:
    fitted = fit_ridge(FEATURE, REFLECTANCE)
    assert fitted(torch.full((1, 1, 1), 20.0)).flatten().tolist() == pytest.approx([0.35, 0.3])
    assert fitted(torch.full((1, 1, 1), -80.0)).flatten().tolist() == pytest.approx([0.25, 0.3])


def test_a_feature_that_hardly_varies_has_hardly_any_effect() -> None:
    fitted = fit_ridge(-10 + (FEATURE + 10) / 1000, REFLECTANCE)
    assert fitted.scale.item() == pytest.approx(0.1)  # dB, not the 0.001 that it varies
    assert fitted(torch.full((1, 1, 1), 20.0))[0].item() == pytest.approx(0.3, abs=1e-4)


def test_of_two_features_the_informative_one_gets_the_slope() -> None:
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(2, 60_000, generator=rng)
    fitted = fit_ridge(features, 0.3 + 0.05 * features[:1])
    kept = 60_000 / (60_000 + RIDGE_PX)
    assert fitted.slopes.flatten().tolist() == pytest.approx([0.05 * kept, 0.0], abs=1e-3)


def test_reflectance_stays_within_0_and_1_and_nan_stays_nan() -> None:
    fitted = fit_ridge(FEATURE, 40 * (REFLECTANCE - 0.3))
    answer = fitted(torch.tensor([[[-11.0, -9.0, torch.nan]]]))[0, 0]
    assert answer[:2].tolist() == [0.0, 1.0]
    assert answer[2].isnan()
