from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.sensors import RGB, SENTINEL2
from unclouded.training.devices import launch
from unclouded.training.objectives import build_objective
from unclouded.training.preset import described, preset_names
from unclouded.training.settings import Device, TrainSettings, train_settings

NAMES = ("cpu-sample", "cpu-smoke", "gpu-8gb", "paper", "paper-13-bands")


def test_the_presets_and_what_they_are_for() -> None:
    assert preset_names() == NAMES
    assert described("cpu-smoke").startswith("Does everything work here?")


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_builds_its_networks(name: str) -> None:
    without_vgg = ("loss.feature=0", "loss.style=0")
    settings = train_settings(name, ["patches=somewhere", *without_vgg])
    objective = build_objective(settings, launch(Device(accelerator="cpu", precision=settings.device.precision)))
    parameters = sum(p.numel() for p in objective.restorer.parameters())
    expected = {"gpu-8gb": 11_390_751, "paper": 11_390_751}
    assert parameters == expected.get(name, parameters)
    assert objective.restorer.cloud_map.in_channels == len(settings.network.bands)


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


def test_mistakes_are_told_with_the_presets_name() -> None:
    with pytest.raises(InputError, match="cpu-smoke is not a valid TrainSettings: patches is missing"):
        train_settings("cpu-smoke")
