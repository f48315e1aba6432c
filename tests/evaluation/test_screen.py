import numpy as np
import pytest
import torch

from unclouded.evaluation import screen
from unclouded.evaluation.screen import ROUNDING, blocks, fastest_screen, screened


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
