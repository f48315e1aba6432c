import pytest
import torch
from torch import Tensor

from unclouded.models.normalisation import InstanceNorm

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def by_hand(x: Tensor) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def test_two_pixels_of_1_and_3_become_minus_1_and_1() -> None:
    normalised = InstanceNorm()(torch.tensor([1.0, 3.0]).view(1, 1, 1, 2))
    assert normalised.flatten().tolist() == pytest.approx([-1.0, 1.0], abs=1e-5)  # eps is 1e-5


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_input", LAYOUTS)
def test_values_and_gradients_are_those_of_the_formula_in_float64_in_every_layout(
    batch: int, of_input: torch.memory_format, of_gradient: torch.memory_format
) -> None:
    rng = torch.Generator().manual_seed(1)
    values = 3 + 2 * torch.randn(batch, 5, 12, 16, generator=rng)
    incoming = torch.randn(batch, 5, 12, 16, generator=rng)
    exact = values.double().requires_grad_()
    expected = by_hand(exact)
    expected.backward(incoming.double())

    x = values.contiguous(memory_format=of_input).requires_grad_()
    found = InstanceNorm()(x)
    found.backward(incoming.contiguous(memory_format=of_gradient))

    assert found.is_contiguous(memory_format=of_input)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=0, atol=1e-5)


def test_it_has_nothing_to_learn_and_nothing_to_remember() -> None:
    assert InstanceNorm().state_dict() == {}
