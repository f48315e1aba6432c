import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from unclouded.errors import InputError
from unclouded.models.published.checkpoints import read_checkpoint, settings_of
from unclouded.models.published.dsen2cr import Dsen2crSettings
from unclouded.models.published.uncrtaints import UncrtaintsSettings

TINY = {
    "model": "uncrtaints",
    "encoder_widths": [4],
    "decoder_widths": [4],
    "n_head": 1,
    "d_model": 4,
    "loss": "l2",
    "pretrain": True,
    "input_t": 1,
    "scale_by": 10.0,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A mono-temporal UnCRtainTS of width 4, as its training program writes it."""
    network = settings_of(TINY, "conf.json").build()
    state = network.state_dict()
    (tmp_path / "conf.json").write_text(json.dumps(TINY))
    content = {"epoch": 7, "state_dict": {f"netG.{k}": v for k, v in state.items()}, "state_dict_G": state}
    torch.save(content, tmp_path / "model.pth.tar")
    return tmp_path / "model.pth.tar"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_checkpoint_is_loaded_with_its_configuration(checkpoint: Path) -> None:
    found = read_checkpoint(checkpoint)
    assert found.architecture == "uncrtaints"
    assert found.network.settings == UncrtaintsSettings(
        encoder_widths=(4,), decoder_widths=(4,), dates=1, heads=1, attention_channels=4, variance="none"
    )
    assert not found.network.training


def test_checkpoint_without_configuration_is_refused(checkpoint: Path) -> None:
    (checkpoint.parent / "conf.json").unlink()
    assert "lies without its training configuration" in refusal(checkpoint)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("agg_mode", "mean", "agg_mode is 'mean', supported is 'att_group'"),
        ("covmode", "full", "covmode is 'full', expected diag, uni or iso"),
        ("decoder_widths", [8], "expected float32"),
        ("encoder_widths", [6], "encoder_widths"),
        ("scale_by", 0, "scale_by"),
    ],
)
def test_configuration_that_does_not_fit_is_refused(checkpoint: Path, key: str, value: object, message: str) -> None:
    (checkpoint.parent / "conf.json").write_text(json.dumps(TINY | {key: value}))
    assert message in refusal(checkpoint)


def test_renamed_missing_and_superfluous_weights_are_named(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict_G"]["out_conv.extra"] = content["state_dict_G"].pop("out_conv.conv.conv.0.bias")
    torch.save(content, checkpoint)
    assert "'out_conv.conv.conv.0.bias' is absent, expected float32 [13]" in refusal(checkpoint)


def test_weights_that_are_not_finite_are_refused(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict_G"]["out_conv.conv.conv.0.bias"][3] = torch.nan
    torch.save(content, checkpoint)
    assert "out_conv.conv.conv.0.bias has NaN or infinite weights" in refusal(checkpoint)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_not_executed(tmp_path: Path, legacy: bool) -> None:
    bait = tmp_path / "executed"
    path = tmp_path / "model.pth.tar"
    torch.save({"state_dict": Payload(bait)}, path, _use_new_zipfile_serialization=not legacy)
    refusal(path)
    path.write_bytes(pickle.dumps(Payload(bait)))
    refusal(path)
    assert not bait.exists()


def test_compressed_archive_is_refused(checkpoint: Path) -> None:
    with zipfile.ZipFile(checkpoint) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "compressed zip" in refusal(checkpoint)


def read_mutations(path: Path, count: int, rng: np.random.Generator) -> None:
    """Read a file with random bytes changed and its end cut off, which must give a network or one line."""
    whole = path.read_bytes()
    for _ in range(count):
        changed = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 20)):
            changed[place] = rng.integers(256)
        path.write_bytes(changed[: rng.integers(len(whole) // 2, len(whole) + 1)] if rng.random() < 0.5 else changed)
        messages = []
        try:
            read_checkpoint(path)
        except InputError as error:
            messages.append(str(error))
        assert not any("\n" in message for message in messages)


def test_mutated_checkpoints_are_loaded_or_refused_in_one_line(checkpoint: Path) -> None:
    read_mutations(checkpoint, 500, np.random.default_rng(0))


# DSen2-CR


@pytest.fixture
def keras(tmp_path: Path) -> Path:
    """A Keras file of DSen2-CR with one block of width 2."""
    h5py = pytest.importorskip("h5py")
    tensors = Dsen2crSettings(width=2, blocks=1).build().state_dict()
    path = tmp_path / "model_SARcarl.hdf5"
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"input_1", *(f"conv2d_{n}".encode() for n in (5, 6, 7, 8))]
        group.create_group("input_1").attrs["weight_names"] = []
        names = ("model.0", "model.2.conv_block.0", "model.2.conv_block.2", "model.3")
        for number, name in zip((5, 6, 7, 8), names, strict=True):
            layer = group.create_group(f"conv2d_{number}")
            layer.attrs["weight_names"] = [f"conv2d_{number}/{kind}:0".encode() for kind in ("kernel", "bias")]
            layer[f"conv2d_{number}/kernel:0"] = tensors[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            layer[f"conv2d_{number}/bias:0"] = tensors[f"{name}.bias"].numpy()
    return path


def test_keras_layers_are_read_by_their_order_whatever_their_numbers(keras: Path) -> None:
    found = read_checkpoint(keras)
    assert found.network.settings == Dsen2crSettings(width=2, blocks=1)


def test_mutated_keras_files_are_loaded_or_refused_in_one_line(keras: Path) -> None:
    read_mutations(keras, 8, np.random.default_rng(0))


@pytest.mark.proof
def test_a_thousand_mutated_keras_files_are_loaded_or_refused_in_one_line(keras: Path) -> None:
    read_mutations(keras, 1000, np.random.default_rng(1))


def test_crash_of_the_hdf5_library_is_one_line(keras: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert "its reader crashed" in refusal(keras)


def test_external_links_and_data_of_hdf5_are_refused(keras: Path, tmp_path: Path) -> None:
    import h5py

    shutil.copy(keras, elsewhere := tmp_path / "elsewhere.hdf5")
    place = "model_weights/conv2d_5/conv2d_5/bias:0"
    with h5py.File(keras, "a") as file:
        del file[place]
        file[place] = h5py.ExternalLink(elsewhere.name, place)
    assert "is absent or a link" in refusal(keras)
    (tmp_path / "raw").write_bytes(bytes(8))
    with h5py.File(keras, "a") as file:
        del file[place]
        file.create_dataset(place, (2,), "float32", external=[(str(tmp_path / "raw"), 0, 8)])
    assert "refers to another file" in refusal(keras)


def test_truncated_keras_file_is_refused(keras: Path) -> None:
    keras.write_bytes(keras.read_bytes()[:2000])
    assert "is not a whole Keras file" in refusal(keras)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"some text", b"\x80\x04."])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert "is no checkpoint" in refusal(path)
