import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from unclouded.models.adaptation.scene_regression import NodeGrid, SceneMoments, fit

NO_PRIOR = torch.zeros(2, dtype=torch.float64)


def scene(
    side: int = 100, step_px: int | None = None, tilt: float = 0.0
) -> tuple[SceneMoments, torch.Tensor, torch.Tensor]:
    """Two values that depend on three features, and, by ``tilt``, on the column; left half clear, right half not."""
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(3, side, side, generator=rng).double() * torch.tensor([1.0, 4.0, 2.0]).view(3, 1, 1)
    slopes = torch.tensor([[0.02, -0.01, 0.0], [0.0, 0.03, 0.01]]).double()
    values = torch.einsum("bf,fyx->byx", slopes, features) + torch.tensor([0.1, -0.2]).view(2, 1, 1)
    values = values + tilt * torch.arange(side) / side
    clear = torch.zeros(side, side, dtype=torch.bool)
    clear[:, : side // 2] = True
    moments = SceneMoments(NodeGrid(step_px))
    moments.add((0, 0), features, values, clear, torch.ones_like(clear))
    return moments, features, values


def test_without_penalties_a_linear_scene_is_found_again() -> None:
    moments, features, values = scene()
    regression = fit(moments, 2, 1e-12, NO_PRIOR, 1.0)
    departure, extrapolation = regression.departure(features.clamp(-2, 2).float(), (0, 0))
    inside = extrapolation == 0
    slopes = torch.tensor([[0.02, -0.01, 0.0], [0.0, 0.03, 0.01]])
    expected = torch.einsum("bf,fyx->byx", slopes, features.clamp(-2, 2).float())
    expected = expected + torch.tensor([0.1, -0.2]).view(2, 1, 1)
    assert_close(departure[:, inside[0]], expected[:, inside[0]], atol=2e-7, rtol=0)
    assert values.shape == departure.shape


def test_the_intercept_is_halved_where_the_prior_weighs_as_much_as_the_clear_half() -> None:
    moments, _, _ = scene()
    held = torch.tensor([0.5, 0.0], dtype=torch.float64)
    free, tied = (fit(moments, 2, 1.0, shares, 1.0).coefficients[0] for shares in (NO_PRIOR, held))
    assert_close(tied, free * torch.tensor([0.5, 1.0]))


def test_ridge_agrees_with_least_squares_on_added_rows() -> None:
    """The penalty is that many pixels that say 0; solved by another method, in numpy."""
    moments, features, values = scene()
    x, y = features[:, :, :50].flatten(1).numpy().T, values[:, :, :50].flatten(1).numpy().T
    votes = 0.2 * 100 * 100
    rows = np.vstack([(x - x.mean(0)) / x.std(0), np.sqrt(votes) * np.eye(3)])
    slopes = np.linalg.lstsq(rows, np.vstack([y - y.mean(0), np.zeros((3, 2))]), rcond=None)[0]
    regression = fit(moments, 2, 0.2, NO_PRIOR, 1.0)
    np.testing.assert_allclose(regression.coefficients[1:].numpy(), slopes, atol=1e-12)
    np.testing.assert_allclose(regression.coefficients[0].numpy(), y.mean(0), atol=1e-12)


def test_features_stay_within_the_range_they_had_on_clear_ground() -> None:
    moments, features, _ = scene()
    regression = fit(moments, 2, 1e-6, NO_PRIOR, 1.0)
    far = features.new_tensor([1e3, 0.0, 0.0]).view(3, 1, 1)
    edge = torch.stack([features[0, :, :50].max(), far[1, 0, 0], far[2, 0, 0]]).view(3, 1, 1)
    answers = [regression.departure(at.float(), (0, 0)) for at in (far, edge)]
    assert_close(answers[0][0], answers[1][0])
    assert answers[0][1].item() > 100
    assert answers[1][1].item() < 1e-6


def test_nodes_follow_a_tilt_that_no_feature_knows() -> None:
    for tie_share, better in ((0.01, 0.5), (1e6, 1.01)):
        moments, features, values = scene(200, 64, tilt=0.5)
        whole = fit(scene(200, None, tilt=0.5)[0], 2, 1e-6, NO_PRIOR, 1.0)
        local = fit(moments, 2, 1e-6, NO_PRIOR, tie_share)
        errors = [
            (regression.departure(features.float(), (0, 0))[0] - values)[:, :, :100].abs().mean().item()
            for regression in (whole, local)
        ]
        assert errors[1] < better * errors[0]


def test_what_is_said_of_a_window_is_what_is_said_of_the_scene() -> None:
    moments, features, _ = scene(200, 64, tilt=0.5)
    regression = fit(moments, 2, 0.1, NO_PRIOR, 0.1)
    whole = regression.departure(features.float(), (0, 0))
    part = regression.departure(features[:, 37:90, 120:].float(), (37, 120))
    for a, b in zip(whole, part, strict=True):
        assert torch.equal(a[:, 37:90, 120:], b)


@pytest.mark.parametrize("step_px", [None, 64])
def test_compiled_departures_agree_with_a_loop_over_nodes_in_float64(step_px: int | None) -> None:
    moments, features, _ = scene(150, step_px, tilt=0.5)
    regression = fit(moments, 2, 0.1, NO_PRIOR, 0.1)
    z = (features.flatten(1) - regression.centre[:, None]) / regression.scale[:, None]
    inside = torch.minimum(torch.maximum(z, regression.low[:, None]), regression.high[:, None])
    x = torch.cat([torch.ones_like(z[:1]), inside])
    expected = regression.coefficients.T @ x
    for node, weight in regression.grid.weights((0, 0), (150, 150)):
        if node in regression.local:
            expected = expected + regression.local[node].T @ x * weight.flatten()
    departure, outside = regression.departure(features.float(), (0, 0))
    assert_close(departure.flatten(1).double(), expected, rtol=0, atol=3e-7)
    assert_close(outside.flatten().double(), (z - inside).square().mean(dim=0).sqrt(), rtol=1e-5, atol=1e-6)


def test_fault_14_nothing_clear_departs_from_the_prior_nowhere() -> None:
    moments = SceneMoments(NodeGrid(None))
    features, nothing = torch.randn(3, 9, 9).double(), torch.zeros(9, 9, dtype=torch.bool)
    moments.add((0, 0), features, torch.zeros(2, 9, 9).double(), nothing, ~nothing)
    departure, _ = fit(moments, 2, 0.1, NO_PRIOR, 0.1).departure(features.float(), (0, 0))
    assert departure.abs().max().item() == 0.0
    assert departure.shape == (2, 9, 9)


def test_one_node_weighs_every_pixel_1_wherever_it_lies() -> None:
    ((node, weight),) = NodeGrid(None).weights((5000, 70), (3, 4))
    assert node == (0, 0)
    assert weight.tolist() == [[1.0] * 4] * 3


def test_a_pixel_a_quarter_of_the_way_belongs_three_quarters_to_the_node_it_left() -> None:
    weights = dict(NodeGrid(64).weights((0, 16), (1, 1)))
    assert {node: weight.item() for node, weight in weights.items()} == {(0, 0): 0.75, (0, 1): 0.25}


@pytest.mark.parametrize("origin", [(0, 0), (64, 128), (37, 90)])
def test_the_weights_of_a_pixel_sum_to_1(origin: tuple[int, int]) -> None:
    total = torch.stack([weight for _, weight in NodeGrid(64).weights(origin, (80, 130))]).sum(dim=0)
    assert_close(total, torch.ones(80, 130, dtype=torch.float64))


def test_sums_of_windows_are_the_sums_of_the_scene() -> None:
    rng = torch.Generator().manual_seed(0)
    features, values = torch.rand(3, 100, 90, generator=rng).double(), torch.rand(2, 100, 90, generator=rng).double()
    clear = torch.rand(100, 90, generator=rng) > 0.5
    has_data = torch.ones(100, 90, dtype=torch.bool)
    whole, parts = SceneMoments(NodeGrid(64)), SceneMoments(NodeGrid(64))
    whole.add((0, 0), features, values, clear, has_data)
    for top, bottom in ((0, 30), (30, 100)):
        cut = slice(top, bottom)
        parts.add((top, 0), features[:, cut], values[:, cut], clear[cut], has_data[cut])
    assert whole.products.keys() == parts.products.keys()
    for node, sums in whole.products.items():
        assert_close(parts.products[node], sums)
        assert math.isclose(parts.area_px[node], whole.area_px[node])
    assert_close(parts.low, features[:, clear].amin(dim=1))
    assert_close(parts.high, features[:, clear].amax(dim=1))


def test_two_pixels_by_hand() -> None:
    moments = SceneMoments(NodeGrid(None))
    features, values = torch.tensor([[[2.0, 3.0, 9.0]]]).double(), torch.tensor([[[0.1, 0.2, 9.0]]]).double()
    clear, has_data = torch.tensor([[True, True, False]]), torch.tensor([[True, True, True]])
    moments.add((0, 0), features, values, clear, has_data)
    assert_close(
        moments.products[0, 0],
        torch.tensor([[2.0, 5.0, 0.3], [5.0, 13.0, 0.8], [0.3, 0.8, 0.05]], dtype=torch.float64),
    )
    assert moments.area_px == {(0, 0): 3.0}


def test_a_pixel_that_is_a_quarter_of_the_kind_counts_a_quarter_and_widens_no_range() -> None:
    moments = SceneMoments(NodeGrid(None))
    features, values = torch.tensor([[[2.0, 3.0]]]).double(), torch.tensor([[[0.1, 0.2]]]).double()
    clear, share = torch.tensor([[True, True]]), torch.tensor([[1.0, 0.25]]).double()
    moments.add((0, 0), features, values, clear, clear, share)
    assert_close(
        moments.products[0, 0],
        torch.tensor([[1.25, 2.75, 0.15], [2.75, 6.25, 0.35], [0.15, 0.35, 0.02]], dtype=torch.float64),
    )
    assert moments.area_px == {(0, 0): 1.25}
    assert moments.low is not None
    assert moments.high is not None
    assert moments.low.item() == moments.high.item() == 2.0
