import pytest
import torch
from torch import Tensor
from torchvision.models import vgg16

from unclouded.errors import InputError
from unclouded.vgg.network import Vgg16
from unclouded.vgg.weights import VggSource

NOWHERE = VggSource("invented.pth", "0" * 64)


@pytest.fixture(scope="module")
def convolutions() -> dict[str, Tensor]:
    """Invented weights of all convolutions, with a variance that keeps activations alive."""
    rng = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {f"features.{name}": tensor.shape for name, tensor in vgg16().features.state_dict().items()}
    return {
        name: torch.randn(shape, generator=rng) * (2 / (9 * shape[1])) ** 0.5 if len(shape) == 4 else torch.zeros(shape)
        for name, shape in shapes.items()
    }


def test_the_papers_layers_have_256_512_and_512_channels_at_a_quarter_an_eighth_and_a_sixteenth(
    convolutions: dict[str, Tensor],
) -> None:
    maps = Vgg16(convolutions, NOWHERE)(torch.rand(2, 3, 32, 48), (11, 20, 29))
    assert [tuple(one.shape) for one in maps] == [(2, 256, 8, 12), (2, 512, 4, 6), (2, 512, 2, 3)]
    assert all(one.min() == 0 for one in maps)  # ReLUs


def test_rgb_is_normalised_as_imagenet(convolutions: dict[str, Tensor]) -> None:
    single = {name: torch.zeros_like(tensor) for name, tensor in convolutions.items()}
    single["features.0.weight"][0, 0, 1, 1] = 1.0  # red itself
    single["features.0.weight"][1, 2, 1, 1] = 1.0  # blue itself
    rgb = torch.tensor([0.714, 0.5, 0.631]).view(1, 3, 1, 1)
    (map_,) = Vgg16(single, NOWHERE)(rgb, (1,))
    assert map_[0, :2].flatten().tolist() == pytest.approx([1.0, 1.0])  # 0.485 + 0.229, 0.406 + 0.225


def test_it_is_frozen_but_lets_gradients_through(convolutions: dict[str, Tensor]) -> None:
    network, rgb = Vgg16(convolutions, NOWHERE), torch.rand(1, 3, 16, 16, requires_grad=True)
    network(rgb, (11,))[0].sum().backward()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert rgb.grad is not None
    assert rgb.grad.any()


def test_the_4096_d_feature_is_the_second_fully_connected_layer_after_its_relu() -> None:
    with torch.device("meta"):
        network = Vgg16(vgg16().state_dict(), NOWHERE)
        assert network.fc2(torch.rand(2, 3, 224, 224)).shape == (2, 4096)
    assert network.classifier is not None
    linear = [layer.out_features for layer in network.classifier if isinstance(layer, torch.nn.Linear)]
    assert linear == [4096, 4096]
    assert isinstance(network.classifier[-1], torch.nn.ReLU)


def test_without_a_classifier_the_4096_d_feature_is_refused(convolutions: dict[str, Tensor]) -> None:
    message = r"needs VGG16 with its classifier, found only convolutions in invented.pth; .*vgg16-397923af.pth"
    with pytest.raises(InputError, match=message):
        Vgg16(convolutions, NOWHERE).fc2(torch.rand(1, 3, 32, 32))


def test_weights_of_another_network_are_refused(convolutions: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=r"invented.pth is no VGG16: features.0.weight is absent, expected \[64, 3, 3"):
        Vgg16({}, NOWHERE)
    with pytest.raises(InputError, match=r"features.28.bias is \[7\], expected \[512\]"):
        Vgg16(convolutions | {"features.28.bias": torch.zeros(7)}, NOWHERE)
