import os
from pathlib import Path

import pytest
import torch

from unclouded.errors import InputError
from unclouded.training.checkpoint import RunFolder
from unclouded.training.settings import TrainSettings


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    state = {"step": torch.tensor(3), "optimisers": {"discriminators": {0: {"exp_avg": torch.arange(4.0)}}}}
    run.save_state(state)
    found = run.load_state()
    assert found is not None
    assert found["step"].item() == 3
    assert found["optimisers"]["discriminators"]["0"]["exp_avg"].tolist() == [0, 1, 2, 3]


def test_equal_states_are_equal_bytes(tmp_path: Path) -> None:
    one, other = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other")
    for run in (one, other):
        run.save_state({"b": torch.ones(2), "a": {"c": torch.zeros(3)}})
    assert one.state.read_bytes() == other.state.read_bytes()


def test_a_run_without_a_state_has_none(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).load_state() is None


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_state({"a": torch.zeros(100)})
    run.state.write_bytes(run.state.read_bytes()[:200])
    with pytest.raises(InputError, match="is not the state of a run"):
        run.load_state()


def test_the_log_forgets_what_came_after_the_saved_state(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2, 3):
        run.write_log({"step": step})
    run.truncate_logs(2)
    assert [entry["step"] for entry in run.read_log()] == [1, 2]


def test_settings_round_trip_through_toml(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.path.mkdir(exist_ok=True)
    run.start(tiny_settings)
    assert run.resumed_settings(tiny_settings) == tiny_settings


@pytest.mark.parametrize(
    "state",
    [
        {"step": torch.zeros(3)},
        {"step": torch.tensor(float("nan"))},
        {"weights": torch.zeros(1)},
    ],
    ids=["three steps", "no number", "no step"],
)
def test_a_state_without_a_step_is_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    run = RunFolder(tmp_path)
    run.save_state(state)
    with pytest.raises(InputError, match=r"is not the state of a run .*; delete it to start anew"):
        run.saved_step()


def test_a_state_that_is_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.safetensors")
    for read in (RunFolder(tmp_path).saved_step, RunFolder(tmp_path).load_state):
        with pytest.raises(InputError, match=r"state\.safetensors is not a file"):
            read()


def test_bytes_that_are_no_text_end_a_log_and_refuse_a_list_of_patches(
    tmp_path: Path, tiny_settings: TrainSettings
) -> None:
    run = RunFolder(tmp_path)
    run.log.write_bytes(b'{"step": 1}\n{"step": 2, "\xe4')
    assert run.read_log() == [{"step": 1}]
    run.write_settings(tiny_settings)
    run.patches.write_bytes(b"\xff\n")
    with pytest.raises(InputError, match=r"patches\.txt is not the list of patches of a run .*; restore it"):
        run.resumed_settings(tiny_settings)
