from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from unclouded.models import winograd
from unclouded.models.cyclegan import Restoration
from unclouded.models.network import NetworkSettings
from unclouded.models.scaling import Scaling
from unclouded.sensors import SENTINEL2
from unclouded.tensors.observation import Observation, Triplet
from unclouded.training.distributed import InPrecision, launch
from unclouded.training.losses import LossWeights
from unclouded.training.objectives import build_objective
from unclouded.training.settings import Device, TrainSettings
from unclouded.training.step import (
    CLEAR_RESIDUAL,
    Batch,
    Generated,
    ImagePool,
    Networks,
    Pools,
    build_networks,
    discriminator_terms,
    generator_terms,
    mean_on_clear,
)

NO_PERCEPTUAL = LossWeights(feature=0, style=0)


class Halve(nn.Module):
    """A radar translator that halves what it sees."""

    def forward(self, optical: Tensor) -> Tensor:
        return optical / 2


class TellTale(nn.Module):
    """A cloud remover whose residual tells what it was given, and who believes that half of everything is cloudy."""

    def forward(self, sar: Tensor, cloudy: Tensor, cloud_map: Tensor) -> Restoration:
        residual = sar / 10 + cloud_map / 5
        return Restoration(cloudy + residual, residual, torch.full_like(cloud_map, 0.5))


class FirstChannel(nn.Module):
    """A discriminator whose judgement is the first channel."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :1]


class FirstAndLast(nn.Module):
    """A discriminator whose judgement is the first channel and half the last one."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :1] + image[:, -1:] / 2


class LastChannel(nn.Module):
    """A discriminator whose judgement is the last channel."""

    def forward(self, image: Tensor) -> Tensor:
        return image[:, -1:]


@pytest.fixture
def networks() -> Networks:
    return Networks(Halve(), TellTale(), FirstChannel(), FirstAndLast())


def batch(m: float, *, paired: bool = False) -> Batch:
    """Radar -0.4, cloudy 0.8, clear 0.2, everywhere."""

    def constant(value: float, channels: int) -> Tensor:
        return torch.full((1, channels, 2, 2), value)

    return Batch(constant(-0.4, 3), constant(0.8, 3), constant(0.2, 3), constant(m, 1), (paired,), "hand-made")


def test_every_term_of_section_ii_c_by_hand(networks: Networks) -> None:
    terms, generated = generator_terms(networks, batch(0.25), NO_PERCEPTUAL, None)
    assert generated.sar.unique().tolist() == pytest.approx([0.4])  # S1^ = 0.8 / 2
    assert generated.optical.unique().tolist() == pytest.approx([0.81])  # S2^ = 0.8 - 0.4 / 10 + 0.25 / 5
    expected = {
        "adversarial": (0.4 - 1) ** 2 + (0.81 + 0.25 / 2 - 1) ** 2,
        "cycle": 0.25 * abs(-0.4 - 0.81 / 2) + 0.75 * abs(0.8 - (0.8 + 0.4 / 10 + 0.05)),  # S1^ in the radar's place
        "identity": 0.25 * abs(-0.4 + 0.4 / 2) + 0.25 * abs(0.2 - (0.2 + 0.2 / 10 + 0.05)),  # clear in both places
        "auxiliary": 0.75 * abs(0.25 - 0.5),
    }
    assert {name: terms[name].item() for name in expected} == pytest.approx(expected)
    assert "pixel" not in terms


def test_a_pair_adds_the_pixel_term(networks: Networks) -> None:
    terms, _ = generator_terms(networks, batch(0.25, paired=True), NO_PERCEPTUAL, None)
    assert terms["pixel"].item() == pytest.approx(0.81 - 0.2)


def test_a_batch_with_one_pair_measures_only_that_pair(networks: Networks) -> None:
    one, other = batch(0.0), batch(0.0)
    two = Batch(
        torch.cat([one.sar, other.sar]),
        torch.cat([one.cloudy, other.cloudy - 0.6]),
        torch.cat([one.clear, other.clear]),
        torch.cat([one.cloud_map, other.cloud_map]),
        (False, True),
        "two",
    )
    terms, _ = generator_terms(networks, two, NO_PERCEPTUAL, None)
    assert terms["pixel"].item() == pytest.approx(abs(0.2 - 0.04 - 0.2))


def test_terms_of_weight_zero_are_not_computed(networks: Networks) -> None:
    terms, _ = generator_terms(networks, batch(0.25), LossWeights(cycle=0, identity=0), None)
    assert not {"cycle", "identity"} & set(terms)


def test_the_mean_residual_on_clear_pixels_is_watched(networks: Networks) -> None:
    assert generator_terms(networks, batch(0.0), NO_PERCEPTUAL, None)[0][CLEAR_RESIDUAL].item() == pytest.approx(0.04)
    assert generator_terms(networks, batch(0.5), NO_PERCEPTUAL, None)[0][CLEAR_RESIDUAL].isnan()


def test_the_mean_residual_is_over_clear_pixels_and_all_bands() -> None:
    residual = torch.tensor([[[[1.0, 7.0]], [[-3.0, torch.nan]]]])  # two bands, a clear pixel and a cloudy one
    assert mean_on_clear(residual, torch.tensor([[[[0.0, 0.5]]]])).item() == 2.0


def test_the_discriminators_terms_by_hand(networks: Networks) -> None:
    pools = Pools(ImagePool(0), ImagePool(0), torch.Generator().manual_seed(0))
    generated = Generated(sar=torch.full((1, 3, 2, 2), 0.4), optical=torch.full((1, 3, 2, 2), 0.9))
    terms = discriminator_terms(networks, batch(0.25), generated, pools)
    assert terms["sar_discriminator"].item() == pytest.approx(0.5 * ((-0.4 - 1) ** 2 + 0.4**2))
    m_half = 0.25 / 2
    assert terms["optical_discriminator"].item() == pytest.approx(0.5 * ((0.2 + m_half - 1) ** 2 + (0.9 + m_half) ** 2))


def test_the_optical_discriminator_sees_the_unpaired_clear_image(networks: Networks) -> None:
    pools = Pools(ImagePool(0), ImagePool(0), torch.Generator().manual_seed(0))
    generated = Generated(sar=torch.full((1, 3, 2, 2), 0.4), optical=torch.full((1, 3, 2, 2), 0.9))
    other = replace(batch(0.25, paired=True), real=torch.full((1, 3, 2, 2), 0.6))  # its own clear image is 0.2
    terms = discriminator_terms(networks, other, generated, pools)
    m_half = 0.25 / 2
    assert terms["optical_discriminator"].item() == pytest.approx(0.5 * ((0.6 + m_half - 1) ** 2 + (0.9 + m_half) ** 2))


def test_pooled_and_real_image_get_the_map_of_the_pooled_one() -> None:
    networks = Networks(Halve(), TellTale(), FirstChannel(), LastChannel())
    pools = Pools(ImagePool(1), ImagePool(1), torch.Generator().manual_seed(0))
    generated = Generated(sar=torch.zeros(1, 3, 2, 2), optical=torch.zeros(1, 3, 2, 2))
    discriminator_terms(networks, batch(0.25), generated, pools)
    seen = [
        discriminator_terms(networks, batch(0.75), generated, pools)["optical_discriminator"].item() for _ in range(8)
    ]
    under = {m: 0.5 * ((m - 1) ** 2 + m**2) for m in (0.25, 0.75)}  # real and generated see the same m
    assert {round(value, 6) for value in seen} <= {round(value, 6) for value in under.values()}


def test_physical_units_become_network_values() -> None:
    seen = Observation(
        torch.tensor([-25.0, 0.0]).view(1, 2, 1, 1), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), ("B04",)
    )
    scaled = Batch.of(Triplet("one", seen, torch.ones(1, 1, 1, 1)), (True,), Scaling())
    assert scaled.sar.flatten().tolist() == [-1, 1, 0]  # VV, VH and their mean
    assert (scaled.cloudy.item(), scaled.clear.item(), scaled.cloud_map.item()) == (-1, 1, 1)


def test_one_seed_makes_one_ensemble() -> None:
    first, second = (build_networks(NetworkSettings(width=2), 2, torch.Generator().manual_seed(5)) for _ in range(2))
    for one, other in zip(first.named().values(), second.named().values(), strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name])


def test_the_optical_discriminator_has_one_more_input_channel() -> None:
    networks = build_networks(NetworkSettings(bands=SENTINEL2.bands, width=1), 1, torch.Generator().manual_seed(0))
    assert networks.optical_discriminator(torch.zeros(1, 14, 64, 64)).shape == (1, 1, 6, 6)


def test_every_weight_is_transformed_once_a_step_however_often_its_network_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    transformed = winograd.transformed
    monkeypatch.setattr(winograd, "transformed", lambda weight: (made.append(weight), transformed(weight))[1])
    bare = build_networks(NetworkSettings(width=8), 2, torch.Generator().manual_seed(0))
    for network in bare.named().values():
        winograd.use_winograd(network)
    device = Device(precision="bf16-mixed")
    networks = Networks(**{name: InPrecision(network, device) for name, network in bare.named().items()})
    images = [torch.rand(1, channels, 32, 32, generator=torch.Generator().manual_seed(1)) for channels in (3, 3, 3, 1)]
    seen = Batch(*images, paired=(False,), names="random")
    terms, _ = generator_terms(networks, seen, NO_PERCEPTUAL, None)
    assert len(made) == 2 * 18  # the 3 x 3 convolutions of nine blocks, in two generators that run three times each
    assert terms["cycle"].dtype == torch.float32
    exactly, _ = generator_terms(bare, seen, NO_PERCEPTUAL, None)
    for name in ("adversarial", "cycle", "identity", "auxiliary"):
        assert terms[name].item() == pytest.approx(exactly[name].item(), rel=0.05)


@pytest.mark.parametrize(("faster", "layers"), [(True, 18), (False, 0)])
@pytest.mark.parametrize(("objective", "generators"), [("cycle", 2), ("residual", 1)])
def test_a_run_uses_winograd_in_its_generators_where_it_is_faster(
    tiny_settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    generators: int,
    faster: bool,
    layers: int,
) -> None:
    monkeypatch.setattr(winograd, "is_faster", lambda: faster)
    network = tiny_settings.network.model_copy(update={"width": 8})  # 32 channels in the residual blocks
    settings = tiny_settings.model_copy(update={"objective": objective, "network": network})
    networks = build_objective(settings, launch(settings.device)).networks
    kinds = [type(layer) for one in networks.values() for layer in one.modules()]
    assert kinds.count(winograd.WinogradConvolution) == generators * layers


@pytest.mark.parametrize(
    ("precision", "layout"), [("32-true", torch.contiguous_format), ("bf16-mixed", torch.channels_last)]
)
def test_channels_lie_side_by_side_where_convolutions_are_bfloat16(
    tiny_settings: TrainSettings, precision: Literal["32-true", "bf16-mixed"], layout: torch.memory_format
) -> None:
    device = tiny_settings.device.model_copy(update={"precision": precision})
    settings = tiny_settings.model_copy(update={"device": device})
    weight = build_objective(settings, launch(device)).generator.get_parameter("trunk.4.weight")
    assert weight.dtype == torch.float32
    assert weight.is_contiguous(memory_format=layout)


def image(value: float) -> Tensor:
    return torch.full((1, 3, 2, 2), float(value))


def numbers(pool: ImagePool) -> list[float]:
    return pool.state_dict()["images"].flatten(1)[:, 0].tolist()


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_until_it_is_full_each_image_is_kept_and_returned() -> None:
    pool, random = ImagePool(3), rng()
    assert [pool.draw(image(i), random).flatten()[0].item() for i in (1, 2, 3)] == [1, 2, 3]
    assert numbers(pool) == [1, 2, 3]


def test_then_an_image_is_returned_or_takes_the_place_of_the_one_that_is() -> None:
    pool, random = ImagePool(3), rng()
    pool.draw(torch.cat([image(i) for i in (1, 2, 3)]), random)
    returned_itself = 0
    for new in range(4, 404):
        before = numbers(pool)
        drawn = pool.draw(image(new), random).flatten()[0].item()
        if drawn == new:
            returned_itself += 1
            assert numbers(pool) == before
        else:
            assert numbers(pool) == [new if number == drawn else number for number in before]
    assert 160 <= returned_itself <= 240  # half of 400, within 4 standard deviations of 10


def test_every_place_is_drawn_from() -> None:
    pool, random = ImagePool(3), rng()
    for new in range(40):
        pool.draw(image(new), random)
    assert min(numbers(pool)) > 2


def test_a_batch_is_a_row_of_single_images() -> None:
    together, one_by_one = ImagePool(2), ImagePool(2)
    images = torch.cat([image(i) for i in range(8)])
    expected, random = [], rng()
    for single in images.split(1):
        expected.append(one_by_one.draw(single, random))
    assert together.draw(images, rng()).equal(torch.cat(expected))


def test_stored_images_carry_no_gradient_and_follow_no_later_change() -> None:
    pool, new = ImagePool(1), image(1).requires_grad_()
    assert not pool.draw(new, rng()).requires_grad
    new.data.fill_(9)
    assert numbers(pool) == [1]


def test_without_places_every_image_is_returned() -> None:
    pool, random = ImagePool(0), rng()
    assert [pool.draw(image(i), random).flatten()[0].item() for i in range(5)] == list(range(5))


def test_it_goes_on_from_its_state_bit_for_bit() -> None:
    straight, random = ImagePool(2), rng()
    straight.draw(torch.rand(5, 3, 2, 2, generator=rng(1)), random)
    resumed, later = ImagePool(2), rng()
    resumed.load_state_dict(straight.state_dict())
    later.set_state(random.get_state())
    for step in range(20):
        new = torch.rand(1, 3, 2, 2, generator=rng(step))
        assert resumed.draw(new, later).equal(straight.draw(new, random))


def test_an_empty_pool_has_a_state_too() -> None:
    resumed = ImagePool(2)
    resumed.load_state_dict(ImagePool(2).state_dict())
    assert len(resumed) == 0
