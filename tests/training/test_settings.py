from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from unclouded.errors import InputError
from unclouded.sensors import RGB, SENTINEL2
from unclouded.settings import settings_from
from unclouded.training.distributed import launch
from unclouded.training.keys import KEYS, require_known_keys
from unclouded.training.objectives import build_objective
from unclouded.training.preset import described, preset_names
from unclouded.training.settings import Device, Schedule, TrainSettings, train_settings


def test_the_rate_falls_from_25_to_1_twenty_sixth() -> None:
    schedule = Schedule()
    assert schedule.lr_factor(0) == schedule.lr_factor(49) == 1.0
    assert schedule.lr_factor(50) == pytest.approx(25 / 26)
    assert schedule.lr_factor(74) == pytest.approx(1 / 26)


def test_the_defaults_are_the_papers() -> None:
    settings = TrainSettings(patches=Path("somewhere"))
    assert (settings.subset, settings.crop_px, settings.pool, settings.schedule.epochs) == (10_000, 200, 50, 75)
    schedule, loss = settings.schedule, settings.loss
    assert (schedule.learning_rate, schedule.epochs_constant, schedule.batch, schedule.accumulate) == (2e-4, 50, 1, 1)
    assert (schedule.clip_norm, schedule.ema_decay, settings.validation.every) == (None, 0, 0)
    assert (loss.adversarial, loss.cycle, loss.identity, loss.auxiliary) == (5, 10, 1, 10)
    assert (settings.network.bands, settings.network.width) == (("B04", "B03", "B02"), 64)


def test_paths_are_understood_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"patches": "root", "patch_list": "learn.txt", "vgg": "vgg.pth", "validation": {"patch_list": "val.txt"}}
    monkeypatch.chdir(tmp_path)
    anchored = settings_from(TrainSettings, content).anchored()
    monkeypatch.chdir("/")
    assert (anchored.patches, anchored.patch_list) == (tmp_path / "root", tmp_path / "learn.txt")
    assert (anchored.vgg, anchored.validation.patch_list) == (str(tmp_path / "vgg.pth"), tmp_path / "val.txt")
    assert anchored.start_from is None
    assert TrainSettings(patches=Path("x")).anchored().vgg == "auto"


def test_every_mistake_is_named_at_once_with_the_nearest_key() -> None:
    with pytest.raises(InputError) as error:
        settings_from(TrainSettings, {"loss": {"cylce": 1.0}}, origin="run.toml")
    assert str(error.value) == (
        "run.toml is not a valid TrainSettings: patches is missing; loss.cylce is not a key; did you mean 'cycle'?"
    )


def test_a_crop_that_no_network_can_halve_twice_is_refused() -> None:
    with pytest.raises(InputError, match="crop_px has to be a multiple of 4, at least 32, found 202"):
        settings_from(TrainSettings, {"patches": "x", "crop_px": 202})


NAMES = ("cpu-sample", "cpu-smoke", "gpu-8gb", "paper", "paper-13-bands")


def test_the_presets_and_what_they_are_for() -> None:
    assert preset_names() == NAMES
    assert described("cpu-smoke").startswith("A test of the installation")


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_builds_its_networks(name: str) -> None:
    without_vgg = ("loss.feature=0", "loss.style=0")
    settings = train_settings(name, ["patches=somewhere", *without_vgg])
    objective = build_objective(settings, launch(Device(accelerator="cpu", precision=settings.device.precision)))
    parameters = sum(p.numel() for p in objective.generator.parameters())
    expected = {"gpu-8gb": 11_390_751, "paper": 11_390_751}
    assert parameters == expected.get(name, parameters)
    assert objective.generator.cloud_map.in_channels == len(settings.network.bands)


def test_the_papers_preset_is_the_default_of_every_key() -> None:
    assert train_settings("paper", ["patches=somewhere"]) == TrainSettings(patches=Path("somewhere"))


def test_a_preset_may_start_from_another() -> None:
    settings = train_settings("paper-13-bands", ["patches=somewhere"])
    assert settings.network.bands == SENTINEL2.bands
    assert (settings.network.width, settings.paired_percent, settings.schedule.epochs) == (64, 100, 75)


def test_a_file_wins_over_the_preset_it_starts_from_and_set_wins_over_both(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('preset = "paper"\npatches = "here"\n[loss]\ncycle = 7.0\nidentity = 3.0\n')
    settings = train_settings(str(file), ["loss.identity=2.0"])
    assert (settings.loss.cycle, settings.loss.identity, settings.loss.adversarial) == (7.0, 2.0, 5.0)
    assert settings.network.bands == RGB


def test_an_unknown_preset_is_refused_with_the_names_of_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="papper is neither a file nor a preset; presets are cpu-sample, cpu-smoke"):
        train_settings("papper")
    file = tmp_path / "run.toml"
    file.write_text('preset = "papper"\n')
    with pytest.raises(InputError, match="preset = 'papper' is none; presets are cpu-sample"):
        train_settings(str(file))


def test_errors_contain_the_name_of_the_preset() -> None:
    with pytest.raises(InputError, match="cpu-smoke is not a valid TrainSettings: patches is missing"):
        train_settings("cpu-smoke")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif getattr(annotation, "__origin__", None) is not tuple:  # a list of groups has no keys of its own
        yield from chain.from_iterable(map(models_in, get_args(annotation)))


def groups_of(model: type[BaseModel], name: str = "") -> Iterator[tuple[str, str]]:
    yield name, " ".join(sorted(model.model_fields))
    for key, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            yield from groups_of(inner, f"{name}.{key}".strip("."))


def test_the_keys_that_are_known_without_torch_are_those_of_the_settings() -> None:
    assert dict(groups_of(TrainSettings)) == KEYS


def test_unknown_keys_are_named_wherever_they_stand() -> None:
    require_known_keys({"loss": {"cycle": 5.0}, "schedule": {"earlier": [{"odd": 1}]}}, ["loss.cycle=1", "x"[:0]], "a")
    with pytest.raises(InputError, match=r"a is not a valid TrainSettings: los is not a key; did you mean 'loss'"):
        require_known_keys({"los": {"cycle": 5.0}}, (), "a")
    with pytest.raises(InputError, match=r"network\.scaling\.vv is not a key; .*; loss\.cycles is not a key"):
        require_known_keys({"network": {"scaling": {"vv": 1}}}, ["loss.cycles=2"], "a")
