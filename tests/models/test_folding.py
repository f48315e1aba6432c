import pytest
import torch
from torch import Tensor, nn

from unclouded.models.folding import ChannelStatistics, Trunk, folded, joint_statistics
from unclouded.models.generator import Convolution, SarToOptical, Upsampling
from unclouded.models.normalisation import InstanceNorm


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
