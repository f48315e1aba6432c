import datetime
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from unclouded.errors import InputError
from unclouded.models.baselines import baseline
from unclouded.models.references.baselines import REFERENCE_BASELINES, geometric_median, reference_baseline
from unclouded.tensors.observation import Observation, Reference

BANDS = ("B04", "B08")
TODAY = datetime.date(2020, 6, 15)


def dated(days: int, image: Tensor, cloudy: Tensor | None = None) -> Reference:
    m = torch.zeros(1, 1, *image.shape[-2:]) if cloudy is None else cloudy
    return Reference(f"{days} days", TODAY + datetime.timedelta(days), image, m)


def seen(*references: Reference, side: int = 16) -> tuple[Observation, Tensor]:
    clear = 0.1 + 0.2 * torch.rand(1, 2, side, side, generator=torch.Generator().manual_seed(3))
    m = torch.zeros(1, 1, side, side)
    m[..., :4] = 1.0
    cloudy = torch.where(m > 0, 0.9, clear)
    return Observation(
        torch.full((1, 2, side, side), math.nan), cloudy, m, BANDS, date=TODAY, references=references
    ), clear


def test_geometric_median_equals_a_float64_loop() -> None:
    stack = np.random.default_rng(0).random((7, 3, 4, 5)).astype(np.float32)
    stack[2, 1, 0, 0] = math.nan  # this date does not count for this pixel
    found = geometric_median(stack)
    for row, column in np.ndindex(4, 5):
        points = [p for p in stack[:, :, row, column].astype(np.float64) if not np.isnan(p).any()]
        at = np.mean(points, axis=0)
        for _ in range(3000):
            weights = [1 / max(float(np.linalg.norm(p - at)), 1e-15) for p in points]
            at = sum(w * p for w, p in zip(weights, points, strict=True)) / sum(weights)
        np.testing.assert_allclose(found[:, row, column], at, atol=1e-4)


def test_geometric_median_of_three_points_on_a_line_is_the_middle_one() -> None:
    stack = np.array([0.1, 0.2, 0.7], dtype=np.float32).reshape(3, 1, 1, 1)
    assert geometric_median(stack).item() == pytest.approx(0.2, abs=1e-4)


def test_geometric_median_without_any_date_is_no_data() -> None:
    assert np.isnan(geometric_median(np.full((2, 2, 1, 1), np.nan, np.float32))).all()


def test_the_copy_takes_each_pixel_from_the_nearest_date_that_shows_it() -> None:
    hidden = torch.zeros(1, 1, 16, 16)
    hidden[..., 0, 0] = 1.0
    near, far = torch.full((1, 2, 16, 16), 0.25), torch.full((1, 2, 16, 16), 0.5)
    observation, _ = seen(dated(-40, far), dated(5, near, hidden))
    answer = reference_baseline("reference-copy", BANDS)(observation)
    assert answer[0, :, 0, 0].tolist() == [0.5, 0.5]
    assert answer[0, :, 1, 0].tolist() == [0.25, 0.25]


def test_the_regression_undoes_a_linear_change_of_the_bands() -> None:
    _, clear = seen()
    mixed = torch.stack([0.5 * clear[:, 0] + 0.1 * clear[:, 1] + 0.02, 0.8 * clear[:, 1]], dim=1)
    observation, _ = seen(dated(10, mixed))
    answer = reference_baseline("reference-regression", BANDS)(observation)
    assert_close(answer, clear, rtol=0, atol=2e-3)
    copied = reference_baseline("reference-copy", BANDS)(observation)
    assert (copied - clear)[..., :4].abs().mean().item() > 0.04


def test_the_median_of_three_dates_is_the_middle_value() -> None:
    observation, _ = seen(*(dated(k, torch.full((1, 2, 16, 16), value)) for k, value in enumerate((0.1, 0.4, 0.2), 1)))
    assert_close(reference_baseline("median", BANDS)(observation)[..., :4], torch.full((1, 2, 16, 4), 0.2))


@pytest.mark.parametrize("name", REFERENCE_BASELINES)
def test_without_references_the_answer_is_that_of_clear_mean(name: str) -> None:
    observation, _ = seen()
    assert torch.equal(reference_baseline(name, BANDS)(observation), baseline("clear-mean", BANDS)(observation))


@pytest.mark.parametrize("name", REFERENCE_BASELINES)
def test_clear_pixels_stay_as_observed(name: str) -> None:
    observation, clear = seen(dated(3, torch.full((1, 2, 16, 16), 0.3)))
    assert torch.equal(reference_baseline(name, BANDS)(observation)[..., 4:], clear[..., 4:])


def test_an_unknown_baseline_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'geomedian'"):
        reference_baseline("geomedain")
