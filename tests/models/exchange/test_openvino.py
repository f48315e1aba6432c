import numpy as np
import pytest
import torch
from torch import nn

from unclouded.models.exchange.openvino import compiled, levels


@pytest.mark.parametrize(
    ("least", "greatest", "expected"),
    [(0.0, 5.1, (0.0, 5.1)), (-1.28, 0.5, (-1.28, 1.27)), (-0.5, 1.27, (-1.28, 1.27)), (0.5, 5.1, (0.0, 5.1))],
)
def test_256_steps_reach_over_the_range_and_zero_is_one_of_them(
    least: float, greatest: float, expected: tuple[float, float]
) -> None:
    low, high = levels(least, greatest)
    assert (low, high) == pytest.approx(expected)
    assert (low / ((high - low) / 255)) == pytest.approx(round(low / ((high - low) / 255)))


def middle_of_three(weight: float) -> nn.Sequential:
    """Three convolutions of one pixel, of which only the second one, by a weight, does anything."""
    layers = nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(3)))
    for layer, value in zip(layers, (1.0, weight, 1.0), strict=True):
        nn.init.constant_(layer.weight, value)
        nn.init.zeros_(layer.bias)
    return layers.eval().requires_grad_(requires_grad=False)


def test_values_are_rounded_to_steps_of_what_was_seen_and_clipped_to_it() -> None:
    pytest.importorskip("openvino")
    seen = torch.tensor([0.0, 255.0]).view(1, 1, 1, 2)
    trunk = compiled(middle_of_three(0.5), torch.float32, [seen])
    shown = torch.tensor([3.2, 3.7, 254.6, 300.0]).view(1, 1, 1, 4)
    assert trunk(shown).flatten().tolist() == pytest.approx([1.5, 2.0, 127.5, 127.5], abs=1e-5)


def test_the_range_is_over_all_windows() -> None:
    pytest.importorskip("openvino")
    windows = [torch.full((1, 1, 2, 2), value) for value in (10.0, 255.0, 0.0)]
    trunk = compiled(middle_of_three(1.0), torch.float32, windows)
    assert trunk(torch.full((1, 1, 1, 1), 254.0)).item() == pytest.approx(254, abs=1e-5)


def test_a_channel_without_weights_stays_zero() -> None:
    pytest.importorskip("openvino")
    trunk = compiled(middle_of_three(0.0), torch.float32, [torch.ones(1, 1, 2, 2)])
    assert np.all(trunk(torch.ones(1, 1, 2, 2)).numpy() == 0)
