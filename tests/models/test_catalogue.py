from pathlib import Path

import pytest

from unclouded.clouds.map import PAPER, CloudMapSettings
from unclouded.clouds.synthetic import SyntheticSettings
from unclouded.errors import InputError
from unclouded.models.baselines import baseline
from unclouded.models.catalogue import choose_map, find_remover
from unclouded.models.cloud_map import TrainedMap, same_map
from unclouded.models.network import NetworkRemover, NetworkSettings
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


def test_weights_without_a_record_use_the_map_of_the_paper_and_say_so() -> None:
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
        remover = find_remover(str(path), None)
        assert isinstance(remover, NetworkRemover)
        assert remover.trained_map == TrainedMap(STRICT, painted)


def test_older_weights_tell_their_map_in_the_settings_of_their_run(tmp_path: Path) -> None:
    settings, path = NetworkSettings(width=1), tmp_path / "mine.safetensors"
    save_weights(path, settings.build(), settings, {"settings": '{"clouds": {"mode": "ones"}, "synthetic": null}'})
    assert choose_map([find_remover(str(path), None)]).used.mode == "ones"


@pytest.mark.parametrize("clouds", ['{"clouds": 7}', '{"clouds": {"mode": "none"}}', '{"clouds": {}, "synthetic": 3}'])
def test_a_damaged_record_of_the_map_is_refused(clouds: str, tmp_path: Path) -> None:
    settings, path = NetworkSettings(width=1), tmp_path / "mine.safetensors"
    save_weights(path, settings.build(), settings, {"settings": clouds})
    with pytest.raises(InputError, match="cloud map"):
        find_remover(str(path), None)
