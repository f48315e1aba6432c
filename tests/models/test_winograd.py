import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unclouded.models.cyclegan import OpticalToSar, initialise
from unclouded.models.winograd import (
    BLOCK,
    WinogradConvolution,
    convolve,
    fits,
    transformed,
    use_winograd,
    weights_transformed_once,
)


def images(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values.bfloat16().contiguous(memory_format=torch.channels_last)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


def test_a_filter_of_one_tap_moves_the_image() -> None:
    x = torch.zeros(1, BLOCK, 6, 6, dtype=torch.bfloat16)
    x[0, 5, 2, 3] = 8.0
    weight = torch.zeros(BLOCK, BLOCK, 3, 3)
    weight[7, 5, 1, 2] = 1.0  # channel 7 is what lies one row below and two columns right in channel 5
    moved = convolve(x, weight).float()
    assert moved.shape == (1, BLOCK, 4, 4)
    assert moved[0, 7, 1, 1].item() == pytest.approx(8.0, abs=0.05)
    moved[0, 7, 1, 1] = 0
    assert moved.abs().max() < 0.05


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("batch", "rows", "columns"), [(1, 18, 22), (2, 15, 9), (1, 3, 3)])
def test_values_and_both_gradients_are_those_of_float64_to_two_percent(
    batch: int, rows: int, columns: int, layout: torch.memory_format
) -> None:
    x = images(batch, BLOCK, rows, columns).contiguous(memory_format=layout).requires_grad_()
    weight = (0.02 * torch.randn(2 * BLOCK, BLOCK, 3, 3, generator=torch.Generator().manual_seed(1))).requires_grad_()
    incoming = images(batch, 2 * BLOCK, rows - 2, columns - 2, seed=2).contiguous(memory_format=layout)
    exact = F.conv2d(x.double(), weight.double())
    expected = torch.autograd.grad(exact, (x, weight), incoming.double())
    found = convolve(x, weight)
    gradients = torch.autograd.grad(found, (x, weight), incoming)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(found, exact) < 0.02  # direct convolution, rounded to bfloat16, errs by 0.002
    assert relative_error(gradients[0], expected[0].double()) < 0.02
    assert relative_error(gradients[1], expected[1].double()) < 0.02


def test_a_weight_is_transformed_once_inside_the_block_and_its_gradients_add_up() -> None:
    x, weight = images(1, BLOCK, 6, 6), torch.full((BLOCK, BLOCK, 3, 3), 0.01, requires_grad=True)
    convolve(x, weight).sum().backward()
    once = weight.grad.clone()
    weight.grad = None
    with weights_transformed_once():
        first, second = convolve(x, weight), convolve(x, weight)
    (first.sum() + second.sum()).backward()
    torch.testing.assert_close(weight.grad, 2 * once, rtol=0.02, atol=0.02 * once.abs().max().item())
    with torch.no_grad():
        weight *= 2  # outside, a changed weight counts
    assert relative_error(convolve(x, weight), 2 * first.double()) < 1e-6


def test_threads_change_no_bit() -> None:
    x, weight = images(1, 2 * BLOCK, 18, 18), torch.randn(BLOCK, 2 * BLOCK, 3, 3)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(convolve(x, weight))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_at_the_corners_of_the_points_a_filter_is_its_own_corner_taps() -> None:
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    points = transformed(weight).float().view(6, 6)
    assert points[0, 0].item() == 0.0
    assert points[5, 5].item() == 8.0
    assert points[0, 5].item() == 2.0


def test_it_takes_wide_bfloat16_images_and_3x3_filters_only() -> None:
    weight, x = torch.empty(BLOCK, BLOCK, 3, 3), images(1, BLOCK, 6, 6)
    assert fits(x, weight)
    assert not fits(x.float(), weight)
    assert not fits(x, torch.empty(BLOCK, BLOCK + 1, 3, 3))
    assert not fits(x, torch.empty(BLOCK, BLOCK, 7, 7))


def test_the_model_of_the_paper_does_not_import_winograd() -> None:
    code = "import sys, unclouded.models.cyclegan; print({'unclouded.models.winograd', 'numba'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_prepared_network_has_its_parameters_under_their_names_and_the_same_numbers_without_gradients() -> None:
    network = OpticalToSar(width=8)  # 32 channels in the residual blocks
    initialise(network, torch.Generator().manual_seed(0))
    before, state = dict(network.named_parameters()), list(network.state_dict())
    optical, random = torch.rand(1, 3, 32, 32), torch.get_rng_state()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = network(optical)
        use_winograd(network)
        assert torch.equal(network(optical), expected)
    assert torch.equal(torch.get_rng_state(), random)
    assert sum(isinstance(layer, WinogradConvolution) for layer in network.modules()) == 18
    assert list(network.state_dict()) == state
    assert [(name, id(one)) for name, one in network.named_parameters()] == [(n, id(p)) for n, p in before.items()]
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(network(optical), expected)  # with gradients the products are rounded differently


def test_numbers_are_rounded_to_the_nearest_ties_to_even() -> None:
    from unclouded.models.winograd import _round

    wide = np.zeros(BLOCK, np.float32)
    wide[:4] = 1 + 1 / 256, 1 + 3 / 256, 1 + 1 / 255, -3.14159
    bits = np.zeros(BLOCK, np.uint16)
    _round(wide.view(np.uint32), 0, bits, 0)
    assert torch.from_numpy(bits).view(torch.bfloat16).equal(torch.from_numpy(wide).bfloat16())
