import contextlib
import errno
import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from unclouded.clouds.map import PAPER, PRODUCT, CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError, MachineError
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import baseline
from unclouded.models.cloud_map import TrainedMap, same_map
from unclouded.models.cyclegan import initialise
from unclouded.models.loading import load_remover
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.weights import RECORD, choose_map, load_network, name_of, read_record, save_weights
from unclouded.sensors import RGB
from unclouded.settings import settings_from
from unclouded.tensors.observation import Observation

SETTINGS = settings_from(NetworkSettings, {"bands": ["B08", "B04"], "width": 1, "scaling": {"vh_db": [-32.5, 0.0]}})

METADATA = {RECORD: json.dumps({"settings": SETTINGS.model_dump(mode="json"), "training": {}})}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "spring.safetensors"
    generator = SETTINGS.build()
    initialise(generator, torch.Generator().manual_seed(0))
    save_weights(path, generator, SETTINGS, {"steps": "7"})
    return path


def changed(path: Path, metadata: dict[str, str] | None = METADATA, **tensors: torch.Tensor | None) -> Path:
    """Write the file again with some tensors replaced, added, or (None) left out; ``__`` stands for a dot."""
    stored = load_file(path)
    for name, tensor in tensors.items():
        stored.pop(name.replace("__", "."), None)
        if tensor is not None:
            stored[name.replace("__", ".")] = tensor
    save_file(stored, path, metadata)
    return path


def test_what_is_saved_comes_back_and_answers_alike(tmp_path: Path) -> None:
    generator = SETTINGS.build()
    save_weights(tmp_path / "spring.safetensors", generator, SETTINGS, {"steps": "7"})
    loaded = load_network(tmp_path / "spring.safetensors")
    assert (loaded.name, loaded.bands, loaded.settings) == ("spring", ("B08", "B04"), SETTINGS)
    assert loaded.training == {"steps": "7"}
    seen = Observation(
        -25 * torch.rand(1, 2, 16, 16), torch.rand(1, 2, 16, 16), torch.rand(1, 1, 16, 16), ("B08", "B04")
    )
    assert loaded(seen).equal(NetworkRemover(generator, SETTINGS)(seen))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/spring/weights.safetensors", "spring"),
        ("runs/spring/best.safetensors", "spring-best"),
        ("runs/weights.of.may.safetensors", "weights.of.may"),
    ],
)
def test_weights_of_a_run_are_called_after_the_run(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_equal_weights_make_equal_files_in_any_memory_layout(saved: Path, tmp_path: Path) -> None:
    generator = load_network(saved).generator.to(memory_format=torch.channels_last)
    save_weights(tmp_path / "again.safetensors", generator, SETTINGS, {"steps": "7"})
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.safetensors is not a file; check the path"):
        load_network(tmp_path / "gone.safetensors")


def test_an_error_of_reading_is_one_line(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("unclouded.models.weights.safe_open", fail)
    for read in (load_network, read_record):
        with pytest.raises(InputError, match=r"cannot be read \(\[Errno 22\] Invalid argument\); copy it again"):
            read(saved)


def test_a_disk_with_errors_is_a_fault_of_the_machine(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("unclouded.models.weights.safe_open", fail)
    with pytest.raises(MachineError, match="Input/output error"):
        load_network(saved)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name", ["evil.pth", "evil.safetensors"])
def test_fault_23_a_pickle_is_named_and_its_payload_does_not_run(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(InputError, match=r"is a pickle, expected safetensors; it was not opened because it can run"):
        load_network(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_fault_23_a_torch_checkpoint_is_named_and_its_payload_does_not_run(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "ran"), tmp_path / "evil.pth")
    with pytest.raises(InputError, match="is a zip archive, such as a torch checkpoint, expected safetensors"):
        load_network(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"not weights at all", bytes(100)])
def test_fault_24_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"is not a safetensors file( \(it is an? .*\))?; give the weights that 'unclouded train' writes",
    ):
        load_network(tmp_path / "other.safetensors")


def test_fault_24_a_header_of_a_million_million_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.safetensors").write_bytes(struct.pack("<Q", 10**12) + b"{}" + bytes(100))
    with pytest.raises(InputError, match=r"declares a header of 1,000,000,000,000 bytes, expected at most 1,048,576"):
        load_network(tmp_path / "big.safetensors")


def test_fault_24_a_million_entries_are_refused(tmp_path: Path) -> None:
    entry = '"{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    header = ("{" + ",".join(entry.format(i) for i in range(10**6)) + "}").encode()
    (tmp_path / "many.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="declares a header of"):
        load_network(tmp_path / "many.safetensors")


def test_fault_24_a_cut_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not a complete safetensors file"):
        load_network(saved)


@pytest.mark.parametrize("metadata", [None, {}, {RECORD: "[["}, {RECORD: "[" * 100_000}, {RECORD: '{"settings": 1}'}])
def test_fault_24_a_file_without_our_record_is_refused(saved: Path, metadata: dict[str, str] | None) -> None:
    with pytest.raises(InputError, match="has no record of bands and scaling"):
        load_network(changed(saved, metadata))


def test_fault_24_a_record_that_is_no_settings_is_refused_by_key(saved: Path) -> None:
    record = {"settings": {"bands": ["B08", "B04"], "widht": 1}, "training": {}}
    with pytest.raises(InputError, match=r"spring.safetensors is not a valid NetworkSettings: widht is not a key"):
        load_network(changed(saved, {RECORD: json.dumps(record)}))


def test_fault_24_settings_of_a_giant_cost_no_memory(saved: Path) -> None:
    record = {"settings": {"bands": ["B08", "B04"], "width": 1024}, "training": {}}
    message = r"trunk.1.weight is F32 \[1, 6, 7, 7\], expected F32 \[1024, 6, 7, 7\]"
    with pytest.raises(InputError, match=message):
        load_network(changed(saved, {RECORD: json.dumps(record)}))


def test_fault_24_a_missing_an_extra_and_a_misshapen_tensor_are_named(saved: Path) -> None:
    with pytest.raises(InputError, match=r"cloud_map.bias is absent, expected F32 \[1\]"):
        load_network(changed(saved, cloud_map__bias=None))
    with pytest.raises(InputError, match=r"cloud_map.bias is F32 \[2\], expected F32 \[1\]"):
        load_network(changed(saved, cloud_map__bias=torch.zeros(2)))
    with pytest.raises(InputError, match=r"surplus is F32 \[3\], expected no such entry"):
        load_network(changed(saved, cloud_map__bias=torch.zeros(1), surplus=torch.zeros(3)))
    with pytest.raises(InputError, match=r"cloud_map.bias is F16 \[1\], expected F32 \[1\]"):
        load_network(changed(saved, surplus=None, cloud_map__bias=torch.zeros(1).half()))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_fault_24_weights_that_are_no_numbers_are_refused(saved: Path, value: float) -> None:
    with pytest.raises(InputError, match=r"has weights that are not finite, first in cloud_map.bias"):
        load_network(changed(saved, cloud_map__bias=torch.tensor([value])))


@settings(max_examples=60)
@given(header=st.binary(max_size=200))
@example(header=b'{"__metadata__":{"unclouded":"{}"}}')
@example(header=b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}')
def test_fault_24_no_header_brings_anything_but_a_refusal(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fuzz.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError):
        load_network(path)


@settings(max_examples=60)
@given(data=st.data())
def test_fault_24_a_flipped_byte_of_the_header_is_refused_or_harmless(data: st.DataObject, saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    length = struct.unpack("<Q", content[:8])[0]
    content[data.draw(st.integers(0, 7 + length))] ^= data.draw(st.integers(1, 255))
    path = saved.with_name("flipped.safetensors")
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert load_network(path).settings.bands


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    settings = NetworkSettings(bands=("B04", "B08"), width=1)
    save_weights(tmp_path / "mine.safetensors", settings.build(), settings, {})
    return tmp_path / "mine.safetensors"


def test_a_baseline_is_found_by_its_name_for_the_given_bands() -> None:
    assert load_remover("clear-mean", ("B08",)).bands == ("B08",)
    assert load_remover("clear-mean", None).bands == ("B04", "B03", "B02")


def test_scene_adapted_is_found_by_its_name() -> None:
    assert load_remover("scene-adapted", ("B8", "b11")) == SceneAdapted(("B08", "B11"))
    assert load_remover("scene-adapted", None).bands == ("B04", "B03", "B02")


def test_a_network_is_found_by_its_file_with_its_own_bands(weights: Path) -> None:
    remover = load_remover(str(weights), None)
    assert (remover.name, remover.bands) == ("mine", ("B04", "B08"))


def test_a_network_of_other_bands_is_refused(weights: Path) -> None:
    with pytest.raises(InputError, match="restores B04 B08, expected B04 B03; choose its bands"):
        load_remover(str(weights), ("B04", "B03"))


def test_a_word_that_is_neither_name_nor_file_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'sar-regression'"):
        load_remover("sar-regresion", None)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"gone\.safetensors is not a file; check the path"):
        load_remover("gone.safetensors", None)


def trained(name: str, clouds: CloudMapSettings | None) -> NetworkRemover:
    settings = NetworkSettings(width=1)
    return NetworkRemover(settings.build(), settings, name, trained_map=clouds and TrainedMap(clouds))


STRICT = CloudMapSettings(detector="s2cloudless+shadow", threshold=0.7)


@pytest.mark.parametrize("clouds", [CloudMapSettings(mode="ones"), CloudMapSettings(mode="binary"), STRICT, PAPER])
def test_weights_are_used_with_the_map_of_their_training_in_silence(clouds: CloudMapSettings) -> None:
    choice = choose_map([trained("mine", clouds)])
    assert (choice.used, choice.trained, choice.remark) == (clouds, TrainedMap(clouds), "")


def test_a_choice_replaces_only_what_was_chosen_and_is_remarked_on_once() -> None:
    choice = choose_map([trained("mine", STRICT)], CloudMapSettings(detector="s2cloudless"))
    assert choice.used == CloudMapSettings(threshold=0.7)
    assert choice.remark == (
        "the cloud map is continuous (detector s2cloudless, threshold 0.7, sigma_px 2.0, resolution_m 10), but mine was"
        " trained with continuous (detector s2cloudless+shadow, threshold 0.7, sigma_px 2.0, resolution_m 10)"
    )


def test_a_choice_without_effect_is_not_remarked_on() -> None:
    assert choose_map([trained("mine", STRICT)], CloudMapSettings(mode="continuous")).remark == ""
    ones = CloudMapSettings(mode="ones")
    assert choose_map([trained("mine", ones)], CloudMapSettings(detector="s2cloudless+shadow")).remark == ""
    assert not same_map(PAPER, CloudMapSettings(threshold=0.5000001))


def test_weights_without_a_record_use_the_map_of_the_paper_with_a_warning() -> None:
    choice = choose_map([trained("mine", None)])
    assert choice.used == PAPER
    assert choice.remark.startswith("the weights of mine do not record the cloud map of their training; used is contin")
    assert choose_map([trained("mine", None)], CloudMapSettings(mode="ones")).remark == ""


def test_without_weights_the_map_is_that_of_the_paper_unless_chosen() -> None:
    assert choose_map([baseline("clear-mean")]).used == choose_map([]).used == PAPER
    assert choose_map([baseline("clear-mean")], CloudMapSettings(mode="ones")).used.mode == "ones"
    assert choose_map([baseline("clear-mean")], CloudMapSettings(mode="ones")).remark == ""


def test_weights_of_different_maps_are_used_together_only_with_a_map_of_choice() -> None:
    both = [trained("one", CloudMapSettings(mode="ones")), trained("other", PAPER)]
    with pytest.raises(
        InputError, match=r"one was trained with the cloud map ones \(m = 1 everywhere\), other with con"
    ):
        choose_map(both)
    assert "but other was trained with continuous" in choose_map(both, CloudMapSettings(mode="ones")).remark


def test_a_map_of_ones_is_remarked_on_where_the_user_brings_a_file() -> None:
    ones, usual = (trained("mine", clouds) for clouds in (CloudMapSettings(mode="ones"), PAPER))
    expected = "the cloud map is m.tif, but mine was trained with m = 1 everywhere"
    assert choose_map([ones], None, Path("m.tif")).remark == expected
    assert choose_map([usual], None, Path("m.tif")).remark == ""


def test_weights_keep_the_map_of_their_training_painted_clouds_included(tmp_path: Path) -> None:
    settings, path = NetworkSettings(width=1), tmp_path / "mine.safetensors"
    for painted in (None, SyntheticSettings(mode="copy")):
        save_weights(path, settings.build(), settings, {}, TrainedMap(STRICT, painted))
        remover = load_remover(str(path), None)
        assert isinstance(remover, NetworkRemover)
        assert remover.trained_map == TrainedMap(STRICT, painted)


def test_the_map_of_older_weights_is_read_from_the_settings_of_their_run(tmp_path: Path) -> None:
    settings, path = NetworkSettings(width=1), tmp_path / "mine.safetensors"
    save_weights(path, settings.build(), settings, {"settings": '{"clouds": {"mode": "ones"}, "synthetic": null}'})
    assert choose_map([load_remover(str(path), None)]).used.mode == "ones"


@pytest.mark.parametrize("clouds", ['{"clouds": 7}', '{"clouds": {"mode": "none"}}', '{"clouds": {}, "synthetic": 3}'])
def test_a_damaged_record_of_the_map_is_refused(clouds: str, tmp_path: Path) -> None:
    settings, path = NetworkSettings(width=1), tmp_path / "mine.safetensors"
    save_weights(path, settings.build(), settings, {"settings": clouds})
    with pytest.raises(InputError, match="cloud map"):
        load_remover(str(path), None)


def test_without_weights_the_product_map_is_used_unless_a_setting_of_another_map_is_given() -> None:
    plain = [baseline("clear-mean", RGB)]
    assert choose_map(plain).used == CloudMapSettings()
    assert choose_map(plain, without_weights=PRODUCT).used == PRODUCT
    assert choose_map(plain, CloudMapSettings(detector="csmask"), without_weights=PRODUCT).used.mode == "product"
    for chosen in (CloudMapSettings(threshold=0.7), CloudMapSettings(mode="continuous")):
        assert choose_map(plain, chosen, without_weights=PRODUCT).used == chosen
    assert choose_map([trained("mine", STRICT)], without_weights=PRODUCT).used == STRICT
    assert choose_map([trained("mine", None)], without_weights=PRODUCT).used == CloudMapSettings()
