import math

import pytest
import torch

from unclouded.models.adaptation.predicted_error import (
    PRIOR_SHARE,
    confidence_of,
    error_of,
    level_of_error,
    predicted_error,
)

LAND_WATER = 0.1, 0.04


def image(value: float) -> torch.Tensor:
    return torch.full((1, 1, 8, 8), value)


def error(vv: float = -11.0, strange: float = 0.0, departure: float = 0.0, excess: float = 0.0) -> float:
    features = torch.full((1, 16, 8, 8), vv)
    found = predicted_error(
        features, image(strange), image(departure), image(excess), image(0.0), image(0.0), LAND_WATER
    )
    return found[0, 0, 4, 4].item()


def test_an_average_pixel_far_from_clear_ground_has_the_share_of_the_reflectance_of_land() -> None:
    assert math.isclose(error(), PRIOR_SHARE * 0.1, rel_tol=1e-5)


@pytest.mark.parametrize(
    "raised",
    [{"vv": -14.0}, {"strange": 1.0}, {"departure": 0.02}, {"excess": 0.2 / 0.9}],
    ids=lambda one: next(iter(one)),
)
def test_weak_or_strange_radar_departure_and_opaque_cloud_raise_the_error_by_a_tenth(raised: dict[str, float]) -> None:
    assert math.isclose(error(**raised) / error(), math.exp(0.1), rel_tol=1e-4)


def test_without_radar_and_visible_bands_the_error_is_average() -> None:
    none = torch.full((1, 16, 8, 8), math.nan)
    found = predicted_error(none, image(math.nan), image(0.0), None, image(0.0), image(math.nan), LAND_WATER)
    assert math.isclose(found[0, 0, 4, 4].item(), PRIOR_SHARE * 0.1, rel_tol=1e-5)


def test_over_water_the_error_is_a_share_of_half_its_reflectance_and_half_that_of_land_however_weak_the_radar() -> None:
    weak = torch.full((1, 16, 8, 8), -20.0)
    found = predicted_error(weak, image(0.0), image(0.0), None, image(0.0), image(1.0), LAND_WATER)
    assert math.isclose(found[0, 0, 4, 4].item(), PRIOR_SHARE * 0.07, rel_tol=1e-5)


def test_clear_ground_all_around_lowers_the_error() -> None:
    features = torch.full((1, 16, 8, 8), -11.0)
    found = predicted_error(features, image(0.0), image(0.0), None, image(1.0), image(0.0), LAND_WATER)
    assert math.isclose(found[0, 0, 4, 4].item() / error(), math.exp(-0.2), rel_tol=1e-4)


def test_confidence_is_1_without_error_and_a_half_at_an_error_of_3_percent() -> None:
    errors = torch.tensor([0.0, 0.03, 0.06]).view(1, 1, 1, 3)
    assert confidence_of(errors).flatten().tolist() == [1.0, 0.5, 0.25]
    assert torch.allclose(error_of(confidence_of(errors)), errors)


def test_the_level_is_that_of_the_prior_without_ground_and_halfway_with_ten_cells() -> None:
    assert level_of_error(0.0, 0.0, 0) == 1.0
    assert level_of_error(2.0, 1.0, 10 * 32 * 32) == 1.5
