from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unclouded.errors import InputError
from unclouded.models.cyclegan import Convolution, InstanceNorm, SarToOptical, Upsampling
from unclouded.models.inference import MARGIN_PX, ChannelStatistics, Trunk, folded, joint_statistics
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import CloudRemover, SceneRemover
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.observation import Observation


def observation(height: int, width: int, seed: int = 0, bands: tuple[str, ...] = RGB) -> Observation:
    rng = torch.Generator().manual_seed(seed)
    cloud_map = (torch.rand(1, 1, height, width, generator=rng) - 0.3).clamp(0, 1)
    return Observation(
        torch.rand(1, 2, height, width, generator=rng) * -25,
        torch.rand(1, len(bands), height, width, generator=rng) * 0.4,
        cloud_map,
        bands,
    )


def network(skip: str = "cloudy", precision: str = "float32") -> NetworkRemover:
    torch.manual_seed(0)
    settings = NetworkSettings(width=2, skip=skip)
    generator = settings.build()
    torch.nn.init.normal_(generator.trunk[-1].weight, std=0.1)
    return NetworkRemover(generator, settings, precision=precision)


def cut(whole: Observation, top: int, left: int, bottom: int, right: int) -> Observation:
    images = (one[..., top:bottom, left:right] for one in (whole.sar, whole.cloudy, whole.cloud_map))
    return Observation(*images, whole.bands, (top, left))


def test_the_margin_holds_the_receptive_field() -> None:
    assert MARGIN_PX == 88


def test_networks_adapt_to_scenes() -> None:
    assert isinstance(network(), SceneRemover)
    assert isinstance(network().adapt([observation(16, 16)]), CloudRemover)


@pytest.mark.parametrize("skip", ["cloudy", "clear-mean"])
@pytest.mark.parametrize("size", [(32, 40), (33, 42)])
def test_adapted_to_the_whole_scene_a_network_is_the_plain_network(size: tuple[int, int], skip: str) -> None:
    seen, remover = observation(*size), network(skip)
    plain = remover(seen)
    assert (plain - seen.cloudy).abs().max() > 0.01
    assert (remover.adapt([seen])(seen) - plain).abs().max() < 1e-5  # a tenth of a stored step


def test_a_window_with_its_margin_answers_as_the_whole_scene() -> None:
    scene, remover = observation(236, 240), network()
    adapted = remover.adapt([cut(scene, 0, 0, 64, 64), cut(scene, 100, 100, 164, 164)])
    whole = adapted(scene)
    window = adapted(cut(scene, 12, 8, 212, 208))[..., MARGIN_PX : 200 - MARGIN_PX, MARGIN_PX : 200 - MARGIN_PX]
    expected = whole[..., 12 + MARGIN_PX : 212 - MARGIN_PX, 8 + MARGIN_PX : 208 - MARGIN_PX]
    assert (window - expected).abs().max() < 1e-5
    corner = adapted(cut(scene, 132, 132, 236, 240))[..., MARGIN_PX:, MARGIN_PX:]
    assert (corner - whole[..., 132 + MARGIN_PX :, 132 + MARGIN_PX :]).abs().max() < 1e-5


def test_pixels_without_data_are_nan_and_poison_no_others() -> None:
    seen = observation(32, 32)
    seen.sar[0, 0, 5, 6] = torch.nan
    seen.cloudy[0, 2, 20, 20:23] = torch.nan
    cleared = network().adapt([seen])(seen)
    assert cleared.isnan().any(dim=1).nonzero()[:, 1:].tolist() == [[5, 6], [20, 20], [20, 21], [20, 22]]


def test_pixels_far_from_a_gap_are_as_without_it() -> None:
    seen, remover = observation(24, 204), network()
    adapted = remover.adapt([seen])
    gap = replace(seen, sar=seen.sar.clone())
    gap.sar[..., :8] = torch.nan
    far = 8 + MARGIN_PX
    assert (adapted(gap)[..., far:] - adapted(seen)[..., far:]).abs().max() < 1e-5


def test_the_bands_are_found_by_name() -> None:
    seen = observation(16, 16, bands=SENTINEL2.bands)
    adapted = network().adapt([seen])
    assert torch.equal(adapted(seen), adapted(seen.select(RGB)))


def test_bfloat16_stays_near_float32() -> None:
    seen = observation(32, 32)
    exact, rough = (network(precision=one).adapt([seen])(seen) for one in ("float32", "bfloat16"))
    assert 0 < (rough - exact).abs().mean() < 0.01
    assert rough.dtype == torch.float32


def test_under_full_cover_the_extended_skip_starts_from_dark_land() -> None:
    seen = replace(observation(16, 16), cloud_map=torch.ones(1, 1, 16, 16))
    remover = network("clear-mean")
    torch.nn.init.zeros_(remover.generator.trunk[-1].weight)
    torch.nn.init.zeros_(remover.generator.trunk[-1].bias)
    assert remover.adapt([seen])(seen).allclose(torch.tensor(0.125), atol=1e-6)


def test_openvino_answers_as_torch_does_whatever_the_size() -> None:
    pytest.importorskip("openvino")
    seen = observation(33, 42)
    torch_one, other = (replace(network(), engine=engine).adapt([seen]) for engine in ("torch", "openvino"))
    for shown in (seen, cut(seen, 0, 0, 24, 20)):
        assert (other(shown) - torch_one(shown)).abs().max() < 1e-4  # a stored step


def test_openvino_in_bytes_stays_near_float32_in_every_window() -> None:
    pytest.importorskip("openvino")
    seen = observation(32, 40)
    sample = [seen, cut(seen, 0, 0, 24, 20)]
    exact = network().adapt(sample)
    rough = replace(network(), engine="openvino", precision="int8").adapt(sample)
    for shown in (seen, cut(seen, 4, 8, 20, 24)):
        assert 0 < (rough(shown) - exact(shown)).abs().mean() < 0.02


def test_torch_does_not_compute_in_bytes() -> None:
    with pytest.raises(InputError, match="'torch' does not compute in int8; choose the engine 'openvino'"):
        network(precision="int8")


def trunk(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return SarToOptical(1, width=2).trunk.eval()


def image(height: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(1, 5, height, width, generator=torch.Generator().manual_seed(seed))


def everywhere(one: Tensor) -> Tensor:
    return torch.ones_like(one[:, :1], dtype=torch.bool)


def test_two_images_have_the_mean_and_deviation_of_all_their_pixels() -> None:
    norm = nn.Sequential(InstanceNorm())
    norm[0].eps = 0.0
    images = [torch.tensor([[[[0.0, 0.0]]]]), torch.tensor([[[[4.0, 4.0, 4.0, 4.0, 4.0, 4.0]]]])]
    (found,) = joint_statistics(norm, images, [everywhere(one) for one in images])
    assert found.mean.item() == 3.0  # 2 pixels of 0 and 6 of 4
    assert found.deviation.item() == pytest.approx(3.0**0.5)  # (2 * 9 + 6 * 1) / 8; each by itself has 0


def test_pixels_without_data_do_not_count() -> None:
    valid = torch.tensor([[[[True, False, True]]]])
    (found,) = joint_statistics(nn.Sequential(InstanceNorm()), [torch.tensor([[[[1.0, 99.0, 3.0]]]])], [valid])
    assert found.mean.item() == 2.0


def test_a_window_without_any_data_changes_nothing() -> None:
    norm = nn.Sequential(InstanceNorm())
    images = [torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[50.0, 70.0]]]])]
    (found,) = joint_statistics(norm, images, [everywhere(images[0]), ~everywhere(images[1])])
    assert found.mean.item() == 2.0


def test_the_network_folded_with_its_own_statistics_is_the_network() -> None:
    network, shown = trunk(), image(32, 48)
    statistics = joint_statistics(network, [shown.clone()], [everywhere(shown)])
    assert len(statistics) == 23  # 3 down, 18 in the blocks, 2 up
    with torch.inference_mode():
        expected = network(shown)
        found = folded(network, statistics)(shown)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert not any(isinstance(layer, InstanceNorm) for layer in folded(network, statistics).modules())


@pytest.mark.parametrize("layer", [Convolution(1, 2, 3, stride=2, padding=1), Upsampling(1, 2)])
def test_a_folded_convolution_answers_as_convolution_and_norm_do(layer: nn.Module) -> None:
    nn.init.constant_(layer.bias, 3.0)  # the norm would take it away again
    statistics = ChannelStatistics(torch.tensor([1.0, -1.0]), torch.tensor([2.0, 4.0]))
    (convolution,) = folded(nn.Sequential(layer, InstanceNorm()), [statistics])
    shown = image(8, 8)[:, :1]
    expected = (layer(shown) - torch.tensor([1.0, -1.0]).view(-1, 1, 1)) / torch.tensor([2.0, 4.0]).view(-1, 1, 1)
    assert torch.allclose(convolution(shown), expected, atol=1e-6)


def test_in_bfloat16_a_network_stays_near() -> None:
    network, shown = trunk(), image(32, 40)
    layers = folded(network, joint_statistics(network, [shown], [everywhere(shown)]))
    with torch.inference_mode():
        expected = layers(shown)
        found = Trunk(layers, torch.bfloat16)(shown)
    assert found.dtype == torch.bfloat16
    assert 0 < (found.float() - expected).abs().mean() < 0.1 * expected.std()  # of 23 roundings to 8 bits


def test_the_inputs_of_statistics_stay_as_they_are() -> None:
    shown = image(16, 16)
    before = shown.clone()
    joint_statistics(trunk(), [shown], [everywhere(shown)])
    assert torch.equal(shown, before)
