import math

import pytest
import torch
from torch import Tensor, nn

from unclouded.models import winograd
from unclouded.models.cyclegan import (
    DARK_LAND,
    RECEPTIVE_FIELD_PX,
    InstanceNorm,
    OpticalToSar,
    PatchDiscriminator,
    Restoration,
    SarToOptical,
    clear_mean_start,
    fit_channels,
    initialise,
)
from unclouded.models.scaling import Scaling


def parameters_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def with_constant_residual(value: float, bands: int = 3) -> SarToOptical:
    """Return a generator whose last convolution has the same output everywhere."""
    network = SarToOptical(bands, width=2)
    initialise(network, torch.Generator().manual_seed(0))
    nn.init.zeros_(network.trunk[-1].weight)
    nn.init.constant_(network.trunk[-1].bias, value)
    return network


def answer(network: SarToOptical, cloudy: Tensor) -> Restoration:
    rows, columns = cloudy.shape[-2:]
    return network(torch.zeros(1, 3, rows, columns), cloudy, torch.ones(1, 1, rows, columns))


def test_the_generators_have_as_many_parameters_as_the_paper_implies() -> None:
    with torch.device("meta"):
        assert parameters_of(OpticalToSar()) == 11_378_179
        assert parameters_of(SarToOptical()) == 11_390_751


def test_thirteen_bands_go_in_and_out() -> None:
    sar = OpticalToSar(bands=13, width=2)(torch.rand(1, 13, 16, 20))
    restored = SarToOptical(bands=13, width=2)(sar, torch.rand(1, 13, 16, 20), torch.rand(1, 1, 16, 20))
    assert sar.shape == (1, 3, 16, 20)
    assert restored.optical.shape == restored.residual.shape == (1, 13, 16, 20)
    assert restored.cloud_map_estimate.shape == (1, 1, 16, 20)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_zero_residual_gives_back_every_stored_number(bf16: bool) -> None:
    stored = torch.arange(3 * 56 * 60).clamp(max=10_000).view(1, 3, 56, 60)
    scaling = Scaling()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        restored = answer(with_constant_residual(0.0), scaling.optical(stored.float() / 10_000))
    assert restored.residual.dtype == (torch.bfloat16 if bf16 else torch.float32)
    assert restored.optical.dtype == torch.float32
    assert (scaling.reflectance(restored.optical) * 10_000).round().long().equal(stored)


def test_a_residual_of_one_half_lifts_grey_to_the_tanh_of_one_half() -> None:
    restored = answer(with_constant_residual(0.5), torch.zeros(1, 3, 8, 8))
    torch.testing.assert_close(restored.optical, torch.full((1, 3, 8, 8), math.tanh(0.5)))


def test_saturated_pixels_can_still_be_changed() -> None:
    network = with_constant_residual(-1.0)
    assert answer(network, torch.ones(1, 3, 8, 8)).optical.max() < 1 - 1e-6
    answer(network, torch.ones(1, 3, 8, 8)).optical.sum().backward()
    gradient = network.trunk[-1].bias.grad
    assert gradient.isfinite().all()
    assert (gradient > 0).all()


def test_the_cloud_map_is_one_linear_3x3_convolution_of_the_residual() -> None:
    network = with_constant_residual(0.5)
    nn.init.ones_(network.cloud_map.weight)
    nn.init.zeros_(network.cloud_map.bias)
    estimate = answer(network, torch.zeros(1, 3, 8, 8)).cloud_map_estimate[0, 0]
    assert estimate[4, 4].item() == 13.5  # 9 px x 3 bands x 0.5, beyond 1: nothing squashes it
    assert estimate[0, 0].item() == 6.0  # 4 of the 9 px are inside


def test_radar_stays_between_minus_1_and_1() -> None:
    network = OpticalToSar(width=2)
    nn.init.constant_(network.trunk[-1].bias, 3.0)
    nn.init.zeros_(network.trunk[-1].weight)
    torch.testing.assert_close(network(torch.rand(1, 3, 8, 8)), torch.full((1, 3, 8, 8), math.tanh(3.0)))


def test_there_is_an_instance_norm_after_every_convolution_but_the_last() -> None:
    layers = list(OpticalToSar(width=1).modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [layer for layer in layers if isinstance(layer, InstanceNorm)]
    assert len(convolutions) == 24  # 3 down, 9 x 2, 2 up, 1 out
    assert len(norms) == 23


def test_a_pixel_sees_169_px_when_statistics_are_left_aside() -> None:
    network = OpticalToSar(bands=1, width=1).double()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, InstanceNorm):
                setattr(parent, name, nn.Identity())
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1 if parameter.ndim > 1 else 0.0)  # nothing cancels, no ReLU is dead
    optical = torch.ones(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
    output = network.trunk(optical)
    seen = []
    for column in range(126, 130):  # one pixel of every phase of the stride
        (gradient,) = torch.autograd.grad(output[0, 0, 128, column].sum(), optical, retain_graph=True)
        columns = gradient[0, 0].abs().sum(dim=0).nonzero().flatten()
        seen.append((column - int(columns[0]), int(columns[-1]) - column))
    assert max(max(pair) for pair in seen) <= 84  # so 85 px away nothing is felt
    assert max(left + 1 + right for left, right in seen) <= RECEPTIVE_FIELD_PX
    assert max(left for left, _ in seen) + 1 + max(right for _, right in seen) == RECEPTIVE_FIELD_PX


def test_samples_of_a_batch_do_not_know_each_other() -> None:
    rng = torch.Generator().manual_seed(0)
    network = SarToOptical(width=2)
    initialise(network, rng)
    network.double()
    sar, cloudy, cloud_map = (torch.rand(2, channels, 16, 16, generator=rng).double() for channels in (3, 3, 1))
    together = network(sar, cloudy, cloud_map).optical
    alone = torch.cat([network(sar[i : i + 1], cloudy[i : i + 1], cloud_map[i : i + 1]).optical for i in (0, 1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


def test_both_memory_layouts_teach_the_same() -> None:
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network = OpticalToSar(width=4)
        initialise(network, torch.Generator().manual_seed(0))
        network.to(memory_format=layout)
        optical = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        network(optical.contiguous(memory_format=layout)).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.ndim > 1]))
    # rounding leaves 1.0000; the wrong gradient of instance_norm in channels_last leaves 0.45
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9999


def test_channels_are_repeated_in_their_order_until_there_are_enough() -> None:
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    assert fit_channels(image, 5).flatten().tolist() == [1, 2, 3, 1, 2]
    assert fit_channels(image, 2).flatten().tolist() == [1, 2]
    assert fit_channels(image, 3) is image


def test_the_extended_skip_starts_from_the_mean_of_the_clear_pixels() -> None:
    cloudy = torch.tensor([[[[-0.8, -0.6, 0.9, 0.7]]]])
    cloud_map = torch.tensor([[[[0.0, 0.0, 1.0, 1e-9]]]])
    assert clear_mean_start(cloudy, cloud_map).flatten().tolist() == pytest.approx([-0.8, -0.6, -0.7, -0.7])


def test_the_extended_skip_starts_from_dark_land_where_nothing_is_clear() -> None:
    assert clear_mean_start(torch.ones(1, 2, 1, 1), torch.ones(1, 1, 1, 1)).unique().tolist() == [DARK_LAND]


def test_a_bias_in_front_of_a_norm_changes_nothing_and_does_not_learn() -> None:
    network = OpticalToSar(width=2)
    initialise(network, torch.Generator().manual_seed(0))
    optical = torch.rand(1, 3, 16, 16)
    before = network(optical)
    with torch.no_grad():
        network.trunk[1].bias.fill_(5.0)
    after = network(optical)
    assert torch.equal(before, after)
    after.sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is not None and p.ndim == 1] == ["trunk.26.bias"]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_in_bfloat16_are_those_of_float64(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda x, weight: (calls.append(x.dtype), convolve(x, weight))[1])
    gradients = []
    for bf16 in (False, True):
        network = OpticalToSar(width=8)
        initialise(network, torch.Generator().manual_seed(0))
        network.to(torch.float32 if bf16 else torch.float64).to(memory_format=layout)
        winograd.use_winograd(network)
        optical = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            sar = network(optical.to(network.trunk[1].weight.dtype))
        (sar.double() - 0.5).square().mean().backward()
        gradients.append(torch.cat([p.grad.double().flatten() for p in network.parameters() if p.ndim > 1]))
    assert calls == [torch.bfloat16] * 18  # every convolution of the nine blocks, and none in float64
    assert torch.cosine_similarity(*gradients, dim=0) > 0.95


def discriminator(width: int = 2) -> PatchDiscriminator:
    network = PatchDiscriminator(3, width)
    initialise(network, torch.Generator().manual_seed(0))
    return network


@pytest.mark.parametrize("channels, expected", [(3, 2_764_737), (4, 2_765_761)])
def test_the_discriminators_have_as_many_parameters_as_the_paper_implies(channels: int, expected: int) -> None:
    assert sum(parameter.numel() for parameter in PatchDiscriminator(channels).parameters()) == expected


@pytest.mark.parametrize("side, scores", [(256, 30), (200, 23)])
def test_a_side_gives_so_many_scores(side: int, scores: int) -> None:
    assert discriminator(1)(torch.zeros(1, 3, side, side)).shape == (1, 1, scores, scores)


def test_a_score_depends_on_70_by_70_px() -> None:
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    scores = discriminator().eval()(image)
    scores[0, 0, 7, 7].backward()
    felt = image.grad[0].abs().sum(dim=0) > 0
    assert int(felt.any(dim=0).sum()) == int(felt.any(dim=1).sum()) == 70


def test_weights_of_any_size_act_with_singular_values_of_at_most_1() -> None:
    network = discriminator(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1000.0)
    for _ in range(50):
        network(torch.rand(1, 3, 32, 32))
    for layer in network.eval().layers[::2]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.01)


def test_scores_are_not_squashed() -> None:
    network = discriminator()
    torch.nn.init.constant_(network.layers[-1].bias, 7.0)
    assert network(torch.zeros(1, 3, 32, 32)).min() > 6.0


def test_training_goes_on_from_a_state_dict_bit_for_bit() -> None:
    straight, image = discriminator(), torch.rand(1, 3, 40, 40)
    for _ in range(3):
        straight(image)
    resumed = PatchDiscriminator(3, 2)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in straight.state_dict().items()})
    for _ in range(2):
        assert resumed(image).equal(straight(image))


def test_judging_without_training_changes_nothing() -> None:
    network, image = discriminator().eval(), torch.rand(1, 3, 40, 40)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(image)
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())


def test_the_spectral_norm_is_found_in_full_precision_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    network, multiply, reduced = discriminator(), torch.mv, []
    monkeypatch.setattr(torch, "mv", lambda a, b: (reduced.append(torch.is_autocast_enabled("cpu")), multiply(a, b))[1])
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(torch.rand(1, 3, 32, 32))
    assert scores.dtype == torch.bfloat16
    assert reduced == [False] * 3 * 5  # twice a power iteration and once for the norm, in five layers


def seeded(seed: int, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    initialise(network, torch.Generator().manual_seed(seed))
    return network.state_dict()


def test_weights_have_a_standard_deviation_of_one_fiftieth_and_biases_are_zero() -> None:
    state = seeded(0, SarToOptical(width=8))
    weights = torch.cat([tensor.flatten() for name, tensor in state.items() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)  # 184 thousand draws
    assert weights.mean().item() == pytest.approx(0.0, abs=2e-4)
    assert all(not tensor.any() for name, tensor in state.items() if name.endswith("bias"))


@pytest.mark.parametrize("make", [lambda: SarToOptical(width=1), lambda: PatchDiscriminator(4, width=2)])
def test_the_generator_alone_decides_every_number(make) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    first = seeded(5, make())
    torch.manual_seed(2)
    again, other = seeded(5, make()), seeded(6, make())
    assert all(again[name].equal(first[name]) for name in first)
    assert any(not other[name].equal(first[name]) for name in first)


def test_spectral_normalisation_starts_at_the_largest_singular_value_of_the_new_weights() -> None:
    network = PatchDiscriminator(3, width=8)
    initialise(network, torch.Generator().manual_seed(0))
    for layer in network.eval().layers[::2]:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.05)


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
