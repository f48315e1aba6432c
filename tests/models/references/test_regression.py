import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from unclouded.models.references.regression import (
    FOLDS,
    GapFiller,
    PixelSample,
    ReferenceRegression,
    ReferenceRegressionSettings,
    fit_references,
    patterns,
)

LINEAR = ReferenceRegressionSettings(landmarks=0)


def pixels(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two bands of a reference, and today's, a linear function of them with little noise."""
    rng = torch.Generator().manual_seed(seed)
    reference = 0.2 + 0.05 * torch.randn(2, count, generator=rng, dtype=torch.float64)
    mixing = torch.tensor([[0.7, 0.2], [-0.1, 0.9]], dtype=torch.float64)
    noise = 0.001 * torch.randn(2, count, generator=rng, dtype=torch.float64)
    return reference, mixing @ reference + 0.03 + noise


def sample(groups: tuple[Tensor, ...], values: Tensor, radar: Tensor | None = None) -> PixelSample:
    count = values.shape[1]
    fold = torch.arange(count) // 20 % FOLDS
    nothing = torch.zeros(0, count, dtype=torch.float64)
    return PixelSample(groups, nothing if radar is None else radar, values, fold, torch.arange(count).expand(2, -1))


def predict(found: ReferenceRegression, groups: list[Tensor]) -> Tensor:
    columns = sample(tuple(groups), torch.zeros_like(groups[0]))
    return found(columns.groups, columns.radar, columns.present).values


def unlike(count: int) -> Tensor:
    return 0.2 + 0.05 * torch.randn(2, count, generator=torch.Generator().manual_seed(99), dtype=torch.float64)


def test_a_linear_change_is_found_and_its_error_is_the_noise() -> None:
    reference, today = pixels(1000)
    found = fit_references(sample((reference,), today), LINEAR)
    assert found is not None
    again, truth = pixels(500, seed=1)
    predicted = predict(found, [again])
    assert (predicted - truth).abs().mean().item() < 0.0011
    assert_close(found.error, torch.full((2,), 0.0008, dtype=torch.float64), rtol=0.1, atol=0)  # mean of |N(0, .001)|


def test_without_regularisation_the_linear_part_equals_least_squares() -> None:
    reference, today = pixels(300)
    plain = ReferenceRegressionSettings(landmarks=0, noise=1e-9, outlier=1e6)
    found = fit_references(sample((reference,), today), plain)
    assert found is not None
    design = torch.cat([torch.ones(1, 300, dtype=torch.float64), reference])
    solved = torch.linalg.lstsq(design.T, today.T).solution
    predicted = predict(found, [reference])
    assert_close(predicted, solved.T @ design, rtol=0, atol=1e-7)


def test_a_reference_of_another_place_is_left_out_and_named() -> None:
    reference, today = pixels(1000)
    found = fit_references(sample((unlike(1000), reference), today), LINEAR)
    assert found is not None
    assert found.used == (1,)
    assert found.dates[0].ratio > 0.95
    assert found.dates[1].ratio < 0.1


def test_with_references_of_another_place_only_the_answer_is_that_without() -> None:
    _, today = pixels(1000)
    found = fit_references(sample((unlike(1000),), today), LINEAR)
    assert found is not None
    assert found.used == ()
    predicted = predict(found, [unlike(1000)])
    assert_close(predicted[:, 0], today.mean(dim=1), rtol=0, atol=2e-3)
    assert_close(found.error, found.error_without)


def test_the_better_of_two_dates_weighs_more() -> None:
    reference, today = pixels(1000)
    hazy = reference + 0.03 * torch.randn(2, 1000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = fit_references(sample((hazy, reference), today), LINEAR)
    assert found is not None
    assert found.used == (1, 0)
    assert found.weights[0] == 1.0
    assert found.weights[1] < 0.1


def test_changed_ground_does_not_bend_the_fit() -> None:
    reference, today = pixels(1000)
    changed = today.clone()
    changed[:, ::20] = 0.6  # every twentieth pixel was harvested, or is a cloud that was missed
    found = fit_references(sample((reference,), changed), LINEAR)
    assert found is not None
    predicted = predict(found, [reference])
    assert (predicted - today).abs().mean().item() < 0.004
    plain = fit_references(sample((reference,), changed), ReferenceRegressionSettings(landmarks=0, outlier=1e6))
    assert plain is not None
    assert (predict(plain, [reference]) - today).abs().mean().item() > 0.015


def test_the_smooth_part_follows_a_curve() -> None:
    reference, _ = pixels(1000)
    curved = 0.2 + (reference - 0.2).square() * 10
    errors = []
    for settings in (LINEAR, ReferenceRegressionSettings()):
        found = fit_references(sample((reference,), curved, None), settings.model_copy(update={"unrelated": 10.0}))
        assert found is not None
        errors.append(found.error.mean().item())
    assert errors[1] < 0.3 * errors[0]


def test_too_little_clear_ground_gives_no_regression() -> None:
    reference, today = pixels(1000)
    today[:, 39:] = math.nan
    assert fit_references(sample((reference,), today)) is None


def test_a_gap_is_filled_by_what_the_other_date_shows_and_expected_to_be_worse() -> None:
    reference, today = pixels(1000)
    later = reference @ torch.eye(1000, dtype=torch.float64) + 0.02 * torch.randn(
        2, 1000, generator=torch.Generator().manual_seed(7), dtype=torch.float64
    )
    found = fit_references(sample((reference, later), today), LINEAR)
    assert found is not None
    holed = torch.full_like(reference, math.nan)
    columns = sample((holed, later), today)
    answer = found(columns.groups, columns.radar, columns.present)
    assert answer.source.tolist() == [1] * 1000
    predicted = answer.values
    error = (predicted - today).abs().mean(dim=1)
    assert (error < 0.8 * (today - today.mean(dim=1, keepdim=True)).abs().mean(dim=1)).all()
    claimed = found.expected_error(torch.tensor([False, True]))
    assert (claimed > 3 * found.error).all()
    assert_close(answer.error, claimed.mean().expand(1000))
    assert (claimed < found.error_without).all()


def test_filled_gaps_equal_the_conditional_mean_of_a_gaussian() -> None:
    loadings = torch.tensor([[1.0, 0.0], [0.5, 0.8], [0.2, -0.6]], dtype=torch.float64)
    filler = GapFiller(loadings, 0.1, torch.arange(3))
    covariance = loadings @ loadings.T + 0.1 * torch.eye(3, dtype=torch.float64)
    x = torch.tensor([[0.3], [-0.2], [0.0]], dtype=torch.float64)
    filled = filler(x, torch.tensor([[True], [True], [False]]))
    assert_close(filled[2], (covariance[2, :2] @ torch.linalg.solve(covariance[:2, :2], x[:2])))
    slopes = torch.tensor([[0.0], [0.0], [2.0]], dtype=torch.float64)
    left = covariance[2, 2] - covariance[2, :2] @ torch.linalg.solve(covariance[:2, :2], covariance[:2, 2])
    assert_close(filler.variance(slopes, torch.tensor([True, True, False])), (4 * left)[None])


@pytest.mark.parametrize("groups", [3, 70])
def test_every_combination_of_dates_is_found_with_its_pixels(groups: int) -> None:
    present = torch.ones(groups, 6, dtype=torch.bool)
    present[0, 2:] = False
    present[groups - 1, 4] = False
    found = {tuple(pattern.tolist()): where.tolist() for pattern, where in patterns(present)}
    assert sorted(found.values()) == [[0, 1], [2, 3, 5], [4]]
    for pattern, where in found.items():
        assert all(tuple(present[:, i].tolist()) == pattern for i in where)
