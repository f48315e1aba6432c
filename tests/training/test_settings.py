from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.settings import settings_from
from unclouded.training.settings import Schedule, TrainSettings


def test_the_rate_falls_from_25_to_1_twenty_sixth() -> None:
    schedule = Schedule()
    assert schedule.rate_factor(0) == schedule.rate_factor(49) == 1.0
    assert schedule.rate_factor(50) == pytest.approx(25 / 26)
    assert schedule.rate_factor(74) == pytest.approx(1 / 26)


def test_the_defaults_are_the_papers() -> None:
    settings = TrainSettings(patches=Path("somewhere"))
    assert (settings.subset, settings.crop_px, settings.pool, settings.schedule.epochs) == (10_000, 200, 50, 75)
    schedule, loss = settings.schedule, settings.loss
    assert (schedule.learning_rate, schedule.epochs_constant, schedule.batch, schedule.accumulate) == (2e-4, 50, 1, 1)
    assert (schedule.clip_norm, schedule.moving_average, settings.validation.every) == (None, 0, 0)
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
