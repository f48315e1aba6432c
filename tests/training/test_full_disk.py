"""A run on a disk that is full, too small or read-only: one line, the last saved state whole, and on it goes."""

import errno
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from unclouded.errors import MachineError
from unclouded.files import sha256
from unclouded.models.weights import read_record
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import TrainSettings


def fill(disk: Path, left: int) -> Path:
    """Leave so many bytes free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, max(0, ballast.stat().st_size - left))
    return ballast


@pytest.fixture
def straight(tiny_settings: TrainSettings, tmp_path: Path) -> RunFolder:
    """The run on a disk with room."""
    run = RunFolder(tmp_path / "straight")
    train(tiny_settings, run)
    return run


def test_fault_32_a_run_that_fills_the_disk_keeps_its_last_state_and_ends_with_the_same_bytes(
    tiny_settings: TrainSettings,
    straight: RunFolder,
    mount_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = mount_disk(4096)
    run, ballasts = RunFolder(disk / "run"), list[Path]()
    monkeypatch.setattr("unclouded.training.loop.require_room", lambda *_: None)

    def fill_up(stage: str, done: int, total: int) -> None:
        if stage == "training" and done == 3:  # the state after step 2 is there, that after step 4 is due
            ballasts.append(fill(disk, run.state.stat().st_size // 2))

    with pytest.raises(
        MachineError, match=r"state\.safetensors cannot be written \(No space .*; continue it with --resume$"
    ):
        train(tiny_settings, run, on_progress=fill_up)
    assert run.saved_step() == 2 and not list(run.path.glob(".*partial*"))
    ballasts[0].unlink()
    train(tiny_settings, run, resume=True)
    assert sha256(run.weights) == sha256(straight.weights) and sha256(run.state) == sha256(straight.state)
    assert [entry["step"] for entry in run.read_log()] == [entry["step"] for entry in straight.read_log()]


@pytest.mark.parametrize("name", ["log.jsonl", "tensorboard"])
def test_fault_32_a_log_without_room_ends_the_run_in_one_line(
    name: str, tiny_settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, open_file = RunFolder(tmp_path / "run"), Path.open

    def full(path: Path, mode: str = "r", *more: object, **options: object) -> object:
        if "a" in mode and name in str(path) and run.state.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return open_file(path, mode, *more, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(MachineError, match=r"cannot be written \(No space left on device\); free some space"):
            train(tiny_settings, run)
    train(tiny_settings, run, resume=True)
    assert run.saved_step() == 10


def test_fault_32_a_disk_without_room_for_the_state_is_refused_before_the_first_step(
    tiny_settings: TrainSettings, straight: RunFolder, mount_disk: Callable[[int], Path]
) -> None:
    saved = straight.state.stat().st_size + straight.weights.stat().st_size
    disk = mount_disk(2048)
    ballast, run = fill(disk, saved), RunFolder(disk / "run")  # what is there at the end fits, replacing it does not
    with pytest.raises(MachineError, match=r"run has 0 MiB free, expected 1 MiB to save this run; free some space"):
        train(tiny_settings, run)
    assert not run.has_started()
    ballast.unlink()
    train(tiny_settings, run)  # the same call, not a resumed run
    assert sha256(run.weights) == sha256(straight.weights)


def test_fault_32_final_weights_that_found_no_space_are_written_on_resume(
    tiny_settings: TrainSettings, straight: RunFolder
) -> None:
    expected = sha256(straight.weights)
    straight.weights.unlink()
    train(tiny_settings, straight, resume=True)
    assert sha256(straight.weights) == expected
    assert read_record(straight.weights).training["steps"] == "10"


def test_fault_33_a_run_on_a_read_only_disk_is_refused_before_the_work(
    tiny_settings: TrainSettings, mount_disk: Callable[[int], Path]
) -> None:
    disk = mount_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(MachineError, match=r"Read-only file system.*run again$"):
        train(tiny_settings, RunFolder(disk / "run"), on_progress=lambda *_: pytest.fail("the work began"))
