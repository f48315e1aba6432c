"""A small U-Net of another package is trained, loaded by name, and used on images with gaps."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from unclouded.errors import InputError
from unclouded.models.external_generator import build_external_generator
from unclouded.models.loading import load_remover
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.weights import load_network, save_weights
from unclouded.prediction.auto_remover import RemoverSpec
from unclouded.sensors import RGB
from unclouded.settings import settings_from
from unclouded.tensors.observation import Observation

UNET = """
from pathlib import Path
import torch
from torch import nn

Path(__file__).with_name("imported").touch()

class UNet(nn.Module):
    inputs = ("cloudy", "sar")
    stride_px = 2
    margin_px = 8

    def __init__(self, bands, width):
        super().__init__()
        self.down = nn.Conv2d(len(bands) + 3, width, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(width, len(bands), 2, stride=2)

    def forward(self, cloudy, sar):
        return (cloudy + self.up(self.down(torch.cat([cloudy, sar], dim=1)).relu())).tanh()

class Normed(UNet):
    def __init__(self, bands, width):
        super().__init__(bands, width)
        self.norm = nn.BatchNorm2d(width)

class Blind(UNet):
    inputs = ("optical",)

class Half(UNet):
    def forward(self, cloudy, sar):
        return cloudy[..., ::2]

number = 3
"""


@pytest.fixture
def unet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the package."""
    (tmp_path / "their_unet.py").write_text(UNET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    yield tmp_path
    sys.modules.pop("their_unet", None)


def seen(side: int = 21) -> Observation:
    rng = torch.Generator().manual_seed(0)
    sar, cloudy = -20 * torch.rand(1, 2, side, side, generator=rng), torch.rand(1, 3, side, side, generator=rng)
    return Observation(sar, cloudy, torch.ones(1, 1, side, side), RGB)


SETTINGS = settings_from(NetworkSettings, {"width": 2, "architecture": "their_unet:UNet"})


def test_weights_of_another_network_run_its_code_only_if_it_is_named(unet: Path) -> None:
    network = SETTINGS.build()
    save_weights(unet / "mine.safetensors", network, SETTINGS, {})
    (unet / "imported").unlink()
    del sys.modules["their_unet"]
    with pytest.raises(InputError, match=r"runs only if it is named; give their_unet:UNet@mine\.safetensors"):
        load_remover("mine.safetensors")
    assert not (unet / "imported").exists()
    remover = load_remover("their_unet:UNet@mine.safetensors")
    assert isinstance(remover, NetworkRemover)
    assert (remover.name, remover.margin_px, remover.align_px) == ("mine", 8, 2)
    assert torch.equal(remover(seen()), NetworkRemover(network, SETTINGS)(seen()))
    with pytest.raises(InputError, match="belongs to their_unet:UNet"):
        load_remover("their_unet:Half@mine.safetensors")
    with pytest.raises(InputError):
        load_network(unet / "mine.safetensors")


def test_another_process_finds_the_weights_from_any_folder(unet: Path) -> None:
    save_weights(unet / "mine.safetensors", SETTINGS.build(), SETTINGS, {})
    spec = RemoverSpec("their_unet:UNet@./mine.safetensors").pinned()
    assert spec.name == f"their_unet:UNet@{unet.resolve() / 'mine.safetensors'}"
    assert spec.find().name == "mine"


def test_gaps_of_a_window_have_no_result(unet: Path) -> None:
    observed = seen()
    observed.sar[0, 0, 5, 5] = torch.nan
    adapted = NetworkRemover(SETTINGS.build(), SETTINGS).adapt([observed])
    assert adapted(observed).isnan().any(dim=1).nonzero().tolist() == [[0, 5, 5]]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("their_unet:Normed", "has running statistics or other buffers, first norm.running_mean"),
        ("their_unet:Blind", "expected names among sar cloudy cloud_map"),
        ("their_unet:number", "is a int, expected a class or function"),
        ("their_unet:UNet.down", "no attribute 'UNet.down'"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(unet: Path, reference: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        build_external_generator(reference, RGB, 2)
    assert message in str(error.value)


def test_an_image_of_another_size_is_refused(unet: Path) -> None:
    network = build_external_generator("their_unet:Half", RGB, 2)
    with pytest.raises(InputError, match=r"their_unet:Half returned \[1, 3, 8, 4\], expected an image \[1, 3, 8, 8\]"):
        network(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))


def test_a_setting_that_is_no_reference_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected package\.module:Class"):
        settings_from(NetworkSettings, {"architecture": "unet"})
