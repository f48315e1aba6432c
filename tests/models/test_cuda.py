"""Networks on a graphics processor, without one; see :mod:`simulated_device`."""

from collections.abc import Iterator

import pytest
import torch
from simulated_device import CUDA, simulated_cuda
from torch import Tensor

from unclouded.models import inference, network
from unclouded.models.cyclegan import SarToOptical, mirrored
from unclouded.models.inference import dtype_of, freeze, supports_bfloat16
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.scaling import Scaling
from unclouded.sensors import RGB
from unclouded.tensors.observation import Observation

cuda_build = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch knows no CUDA")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A simulated device; checks of values are left out, as there are none."""
    monkeypatch.setattr(network, "_check", lambda *_: None)
    monkeypatch.setattr(inference, "_valid_pixels", lambda image, _: image[0].permute(1, 2, 0).flatten(0, 1).float())
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda *_: (8, 0))
    with simulated_cuda():  # torch.tensor would copy its numbers to the device
        monkeypatch.setattr("torch.tensor", lambda values, **place: torch.empty(len(values), **place))
        yield


def observation(place: torch.device | str) -> Observation:
    sar, cloudy, cloud_map = (torch.empty(1, channels, 40, 40, device=place) for channels in (2, 3, 1))
    return Observation(sar, cloudy, cloud_map, RGB)


@cuda_build
@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("place", ["cpu", CUDA])
def test_a_network_on_the_device_answers_where_its_images_are(place: torch.device | str) -> None:
    generator = SarToOptical(3, 1).to(CUDA)
    remover = NetworkRemover(generator, NetworkSettings(width=1))
    assert remover.compute_precision == "bfloat16"
    assert remover(observation(place)).device == torch.device(place)


@cuda_build
@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("skip", ["cloudy", "clear-mean"])
def test_a_network_adapted_to_a_scene_stays_on_the_device_and_answers_where_its_windows_are(skip: str) -> None:
    generator = SarToOptical(3, 1, skip)  # type: ignore[arg-type]
    frozen = freeze(generator.to(CUDA), Scaling(), RGB, [observation("cpu")])  # type: ignore[arg-type]
    assert isinstance(frozen.trunk, inference.Trunk)
    assert {(one.device, one.dtype) for one in frozen.trunk.parameters()} == {(CUDA, torch.bfloat16)}
    for place in ("cpu", CUDA):
        assert frozen(observation(place)).device == torch.device(place)


def test_bfloat16_is_chosen_by_the_device_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {0: (7, 5), 1: (8, 0)}  # Turing, Ampere
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: cards[device.index])
    assert [supports_bfloat16(torch.device("cuda", i)) for i in cards] == [False, True]
    assert [dtype_of("auto", torch.device("cuda", i)) for i in cards] == [torch.float32, torch.bfloat16]
    assert dtype_of("auto", torch.device("mps")) == torch.float32


def padded(image: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(image, (width,) * 4, mode="reflect")


@pytest.mark.parametrize("width", [1, 3])
def test_the_padding_with_a_repeatable_gradient_is_that_of_torch(width: int) -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 5, 7, generator=rng, dtype=torch.float64, requires_grad=True)
    assert mirrored(image, width).equal(padded(image, width))
    weight = torch.rand(2, 3, 5 + 2 * width, 7 + 2 * width, generator=rng, dtype=torch.float64)
    found, expected = (torch.autograd.grad((pad(image, width) * weight).sum(), image)[0] for pad in (mirrored, padded))
    torch.testing.assert_close(found, expected)
