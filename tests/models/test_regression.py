import pytest
import torch

from unclouded.models.regression import RIDGE_PX, fit_ridge

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


def test_a_feature_that_hardly_varies_says_hardly_anything() -> None:
    fitted = fit_ridge(-10 + (FEATURE + 10) / 1000, REFLECTANCE)
    assert fitted.scale.item() == pytest.approx(0.1)  # dB, not the 0.001 that it varies
    assert fitted(torch.full((1, 1, 1), 20.0))[0].item() == pytest.approx(0.3, abs=1e-4)


def test_of_two_features_the_one_that_tells_gets_the_slope() -> None:
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
