import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation.distribution import frechet_distance, kernel_distance


def features(seed: int, n: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)) + shift


def test_two_sets_of_two_points_on_a_line_by_hand() -> None:
    # means 1 and 4, variances 2 and 8: 3² + (sqrt 8 - sqrt 2)² = 9 + 2
    assert frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[2.0], [6.0]])) == pytest.approx(11.0)


def test_the_frechet_distance_agrees_with_its_formula_by_scipy() -> None:
    x, y = features(1, 60).double().numpy(), features(2, 50, 0.5).double().numpy()
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-6)


def test_the_kernel_distance_agrees_with_its_formula_in_loops() -> None:
    x, y = features(1, 9), features(2, 9, 0.5)

    def kernel(a: Tensor, b: Tensor) -> float:
        return (float(a.double() @ b.double()) / 6 + 1) ** 3

    same = sum(kernel(z[i], z[j]) for z in (x, y) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    expected = same - 2 * sum(kernel(a, b) for a in x for b in y) / 81
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_one_image_has_no_spread() -> None:
    with pytest.raises(InputError, match="FID and KID need two images of each kind, found 1 and 5"):
        frechet_distance(features(1, 1), features(2, 5))


def test_without_torchmetrics_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchmetrics.image.fid", None)
    with pytest.raises(InputError, match=r"FID and KID need torchmetrics; run 'pip install unclouded\[metrics\]'"):
        frechet_distance(features(1, 5), features(2, 5))
