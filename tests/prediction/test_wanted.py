import pickle
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.prediction.choice import BestOfScene
from unclouded.prediction.wanted import WantedRemover


def test_who_names_nothing_gets_the_best_of_the_scene() -> None:
    assert isinstance(WantedRemover().find(), BestOfScene)
    assert WantedRemover(bands=("B04", "B08")).find().bands == ("B04", "B08")
    assert WantedRemover("clear-mean").find().name == "clear-mean"


def test_a_network_is_found_again_in_another_process(tmp_path: Path) -> None:
    settings = NetworkSettings(width=2)
    save_weights(tmp_path / "w.safetensors", settings.build(), settings, {})
    wanted = WantedRemover(str(tmp_path / "w.safetensors"), precision="bfloat16", engine="openvino")
    remover = pickle.loads(pickle.dumps(wanted)).find()
    assert isinstance(remover, NetworkRemover) and (remover.precision, remover.engine) == ("bfloat16", "openvino")


def test_a_remover_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.safetensors"):
        WantedRemover(str(tmp_path / "absent.safetensors")).find()
