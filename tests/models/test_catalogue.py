from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.models.catalogue import find_remover
from unclouded.models.network import NetworkSettings
from unclouded.models.scene_adapted import SceneAdapted
from unclouded.models.weights import save_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    settings = NetworkSettings(bands=("B04", "B08"), width=1)
    save_weights(tmp_path / "mine.safetensors", settings.build(), settings, {})
    return tmp_path / "mine.safetensors"


def test_a_baseline_is_found_by_its_name_with_the_bands_wanted() -> None:
    assert find_remover("clear-mean", ("B08",)).bands == ("B08",)
    assert find_remover("clear-mean", None).bands == ("B04", "B03", "B02")


def test_scene_adapted_is_found_by_its_name() -> None:
    assert find_remover("scene-adapted", ("B8", "b11")) == SceneAdapted(("B08", "B11"))
    assert find_remover("scene-adapted", None).bands == ("B04", "B03", "B02")


def test_a_network_is_found_by_its_file_with_its_own_bands(weights: Path) -> None:
    remover = find_remover(str(weights), None)
    assert (remover.name, remover.bands) == ("mine", ("B04", "B08"))


def test_a_network_of_other_bands_is_refused(weights: Path) -> None:
    with pytest.raises(InputError, match="restores B04 B08, expected B04 B03; choose its bands"):
        find_remover(str(weights), ("B04", "B03"))


def test_a_word_that_is_neither_name_nor_file_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'sar-regression'"):
        find_remover("sar-regresion", None)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"gone\.safetensors is not a file; check the path"):
        find_remover("gone.safetensors", None)
