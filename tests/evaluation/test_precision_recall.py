import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation import precision_recall as screen
from unclouded.evaluation.precision_recall import (
    ROUNDING,
    PrecisionRecall,
    blocks,
    fastest_screen,
    precision_recall,
    screened,
)

SCREENS = [torch.float32, torch.bfloat16]


def brute_force(real: Tensor, generated: Tensor, k: int, include_self: bool = False) -> dict[str, object]:
    """Every definition of Kynkäänniemi et al. (2019), all distances in float64."""
    x, y = real.double(), generated.double()

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([(row - b).square().sum(dim=1) for row in a])

    def radii(a: Tensor) -> Tensor:
        between = distances(a, a)
        if not include_self:
            between.fill_diagonal_(math.inf)
        return between.sort(dim=1).values[:, k - 1]

    real_radii, generated_radii, between = radii(x), radii(y), distances(y, x)
    precision = (between <= real_radii).any(dim=1).double().mean().item()
    recall = (between <= generated_radii[:, None]).any(dim=0).double().mean().item()
    small = real_radii <= np.median(real_radii.numpy())
    realism = (real_radii.sqrt() / between.sqrt())[:, small].nan_to_num(0.0, posinf=math.inf).max(dim=1).values
    return {"precision": precision, "recall": recall, "realism": realism}


def clusters(seed: int, n: int, length: int, shift: float = 0.0) -> Tensor:
    """Features around five centres, of which a shift moves all away."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(5, length)) * 2
    features = centres[rng.integers(0, 5, n)] + rng.normal(size=(n, length)) * rng.uniform(0.3, 1.2, (n, 1)) + shift
    return torch.from_numpy(features.astype(np.float32))


def same(found: PrecisionRecall, expected: dict[str, object]) -> None:
    assert found.precision == pytest.approx(expected["precision"], abs=1e-12)
    assert found.recall == pytest.approx(expected["recall"], abs=1e-12)
    torch.testing.assert_close(found.realism, expected["realism"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("precision", SCREENS)
@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize(("n", "m", "length", "k"), [(60, 45, 8, 3), (150, 200, 64, 10), (11, 30, 3, 1)])
def test_the_result_equals_that_of_all_float64_distances(
    n: int, m: int, length: int, k: int, include_self: bool, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "BLOCK", 32)
    real, generated = clusters(1, n, length), clusters(2, m, length, 0.4)
    found = precision_recall(real, generated, k, include_self=include_self, precision=precision)
    same(found, brute_force(real, generated, k, include_self))
    assert include_self or 0 < found.precision < 1


def test_it_agrees_with_prdc_which_leaves_out_the_sample_itself() -> None:
    real, generated = clusters(3, 300, 32), clusters(4, 250, 32, 0.5)
    found, peer = precision_recall(real, generated, 5), compute_prdc(real.numpy(), generated.numpy(), 5)
    assert (found.precision, found.recall) == pytest.approx((peer["precision"], peer["recall"]), abs=1e-12)


def test_four_points_on_a_line_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])  # nearest other: 1, 1, 2, 7
    generated = torch.tensor([[-1.0], [5.5], [20.0]])  # nearest other: 6.5, 6.5, 14.5
    found = precision_recall(real, generated, k=1)
    # -1 lies on the edge of the ball around 0, 5.5 within 10's, 20 in none; every real point in that around -1 or 5.5
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0
    assert found.f1 == pytest.approx(0.8)
    # small balls are those around 0 and 1, of radius 1 (the median is 1.5)
    assert found.realism.tolist() == pytest.approx([1.0, 1 / 4.5, 1 / 19])


def test_a_feature_is_never_its_own_neighbour_but_its_copy_is() -> None:
    real = torch.tensor([[0.0], [0.0], [5.0], [6.0]])
    generated = torch.tensor([[0.0], [5.5], [30.0], [40.0]])
    found = precision_recall(real, generated, k=1)
    # radii 0, 0, 1, 1: 0 is exactly in its copies' balls, 5.5 in two, 30 and 40 in none
    assert found.precision == 0.5
    assert found.realism.tolist() == [0.0] * 4  # the small balls have no radius to be within


def test_with_the_sample_itself_the_first_neighbour_is_at_distance_0() -> None:
    real, generated = clusters(5, 20, 4), clusters(6, 20, 4)
    found = precision_recall(real, generated, k=1, include_self=True)
    assert (found.precision, found.recall, found.f1) == (0.0, 0.0, 0.0)


def test_equal_sets_cover_each_other() -> None:
    features = clusters(7, 40, 6)
    found = precision_recall(features, features.clone(), k=3)
    assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)
    assert found.realism.max() == math.inf


def test_sets_far_apart_have_an_f1_of_0() -> None:
    found = precision_recall(clusters(8, 30, 6), clusters(9, 30, 6, 1e4), k=3)
    assert (found.precision, found.recall, found.f1) == (0.0, 0.0, 0.0)


@given(st.integers(0, 10_000), st.sampled_from(SCREENS), st.sampled_from([1e-8, 1.0, 1e8]), st.booleans())
@settings(max_examples=40)
def test_any_scale_offset_and_number_of_copies_leaves_it_exact(
    seed: int, precision: torch.dtype, scale: float, on_a_grid: bool
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 3, (50, 3)).astype(float) if on_a_grid else rng.normal(size=(50, 3))
    features = torch.from_numpy(((features + rng.choice([0, 100])) * scale).astype(np.float32))
    real, generated = features[:28], features[20:]
    found = precision_recall(real, generated, 4, precision=precision)
    same(found, brute_force(real, generated, 4))


@pytest.mark.parametrize("hole", [math.nan, math.inf])
def test_fault_13_features_that_are_no_numbers_are_refused(hole: float) -> None:
    broken = clusters(1, 20, 4)
    broken[3, 2] = hole
    with pytest.raises(InputError, match="the features of the generated images hold NaN or infinity"):
        precision_recall(clusters(2, 20, 4), broken, 3)


def test_too_few_images_for_k_neighbours_are_refused() -> None:
    with pytest.raises(InputError, match="k = 10 neighbours need more than 10 real images, found 10; lower k"):
        precision_recall(clusters(1, 10, 4), clusters(2, 20, 4))


def test_features_of_different_layers_are_refused() -> None:
    with pytest.raises(InputError, match="expected features of one length, found 4 and 5"):
        precision_recall(clusters(1, 20, 4), clusters(2, 20, 5))


@pytest.mark.parametrize("precision", list(ROUNDING))
def test_no_squared_distance_is_below_its_bound_and_few_bounds_are_far_below(precision: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(40, 500, generator=rng) + 7, torch.randn(30, 500, generator=rng) + 7
    rows, columns = screened([first, second], precision)
    ((_, _, product),) = blocks(rows, columns)
    sums = rows.squares[:, None] + columns.squares
    distances = torch.cdist(first.double(), second.double()).square().numpy()
    bounds = (1 - rows.slack) * sums - 2 * product
    assert (bounds <= distances).all()
    assert (distances - bounds).max() <= 2 * rows.slack * sums.max()
    assert rows.slack < {torch.float32: 1e-4, torch.bfloat16: 1e-2}[precision]


def test_the_blocks_above_the_diagonal_and_on_it_hold_each_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "BLOCK", 3)
    (points,) = screened([torch.arange(7.0)[:, None]], torch.float32)
    centred = np.arange(7.0) - 3
    seen = np.zeros((7, 7))
    for top, left, product in blocks(points, points, upper=True):
        rows, columns = slice(top, top + len(product)), slice(left, left + product.shape[1])
        seen[rows, columns] += 1
        np.testing.assert_allclose(product, np.outer(centred[rows], centred[columns]))
    assert (np.triu(seen) == np.triu(np.ones((7, 7)))).all()


def test_the_fastest_screen_is_one_whose_error_is_known() -> None:
    assert fastest_screen() in ROUNDING
