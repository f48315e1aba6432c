"""Kills, signals, dead workers and ranks, each in processes of its own; `make proof` runs the long versions."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from unclouded.models.weights import load_network
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import Schedule, TrainSettings

PROOFS = Path(__file__).parents[2] / "proofs"


def proved(script: str, *options: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, PROOFS / script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


SMALL = """
import sys
sys.path.insert(0, sys.argv[1])
import resume, two_ranks
sys.argv[1:] = ["--kills", "3", "--steps", "8"]
resume.main()
sys.argv[1:] = []
two_ranks.main()
"""


@pytest.fixture(scope="module")
def small_proofs() -> dict[str, dict[str, Any]]:
    """What two proofs find, one after the other in one process, which imports for both."""
    done = subprocess.run([sys.executable, "-c", SMALL, PROOFS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


def test_fault_01_a_run_killed_at_random_times_ends_with_the_same_bytes(
    small_proofs: dict[str, dict[str, Any]],
) -> None:
    found = small_proofs["resume"]
    assert found["killed"] + found["terminated"] == 3
    assert found["identical"]


@pytest.mark.proof
@pytest.mark.parametrize("options", [("--workers", "0"), ("--workers", "1"), ("--store",)])
def test_fault_01_twenty_kills_from_files_with_workers_and_from_a_store(options: tuple[str, ...]) -> None:
    assert proved("resume.py", "--kills", "20", *options)["identical"]


def test_two_ranks_share_every_epoch_and_agree_with_the_double_batch(
    small_proofs: dict[str, dict[str, Any]],
) -> None:
    found = small_proofs["two_ranks"]
    assert found["every_patch_once_an_epoch"] and found["same_first_weights"] and found["same_last_weights"]
    assert found["logged_once"] and found["saved_by_rank_0_only"] and found["resumed_to_the_same_bytes"]
    assert max(found["gradients_apart"].values()) < 1e-5


def command(settings: TrainSettings, run: RunFolder, *options: str) -> list[str]:
    toml = run.path.with_suffix(".toml")
    toml.write_text(tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True)))
    return [sys.executable, "-m", "unclouded", "train", str(toml), str(run.path), *options]


def living(session: int) -> list[int]:
    """Processes of a session that are not zombies, apart from Python's own that outlives its parent by a moment."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = status.read_text().rsplit(") ", 1)[1].split()[:4]
            words = status.with_name("cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_session) == session and state != "Z" and "resource_tracker" not in words:
            found.append(int(status.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are counted in /proc")
@pytest.mark.parametrize(
    ("number", "status", "workers"), [(signal.SIGTERM, 143, 1), pytest.param(signal.SIGINT, 130, 0)]
)
def test_fault_04_a_signal_to_all_processes_saves_the_run_and_leaves_none_of_them(
    tiny_settings: TrainSettings, tmp_path: Path, number: signal.Signals, status: int, workers: int
) -> None:
    device = tiny_settings.device.model_copy(update={"workers": workers})
    logging = tiny_settings.logging.model_copy(update={"checkpoint_every": 10_000})
    schedule = Schedule(epochs_constant=400, epochs_decay=0)
    settings = tiny_settings.model_copy(update={"schedule": schedule, "device": device, "logging": logging})
    run = RunFolder(tmp_path / "run")
    process = subprocess.Popen(
        command(settings, run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(run.read_log()) < 3 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    told = process.communicate()[1]
    assert process.returncode == status, told
    assert f"signal {int(number)} stopped the run after step" in told
    assert "Traceback" not in told
    deadline = time.monotonic() + 120  # one that is just ending may still be listed
    while living(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert living(process.pid) == []
    state = run.load_state()
    assert state is not None
    saved = int(state["step"])
    assert saved >= 3
    straight = RunFolder(tmp_path / "straight")
    end = saved + 2
    freeze_others = tiny_settings.model_copy(
        update={"logging": logging, "schedule": schedule.model_copy(update={"max_steps": end})}
    )
    train(freeze_others, straight)
    train(freeze_others, run, resume=True)
    assert run.state.read_bytes() == straight.state.read_bytes()


def started_by(process: int) -> list[int]:
    """Worker processes of a process; Python's resource tracker is none."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rsplit(") ", 1)[1].split()[1]
            words = status.with_name("cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process and "spawn_main" in words:
            found.append(int(status.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are found in /proc")
def test_fault_38_a_killed_worker_ends_the_command_with_advice_and_the_run_goes_on(
    tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    device = tiny_settings.device.model_copy(update={"workers": 1})
    schedule = Schedule(epochs_constant=400, epochs_decay=0)
    settings, run = (
        tiny_settings.model_copy(update={"device": device, "schedule": schedule}),
        RunFolder(tmp_path / "run"),
    )
    process = subprocess.Popen(
        command(settings, run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(run.read_log()) < 3 and process.poll() is None:
        time.sleep(0.02)
    (worker,) = started_by(process.pid)
    os.kill(worker, signal.SIGKILL)  # as the kernel does where memory runs out
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 1, told
    assert "a process that reads patches died" in told
    assert "memory runs out; lower device.workers, now 1, and continue with --resume" in told
    assert "Traceback" not in told
    saved = run.saved_step()
    assert saved >= 2
    again = tiny_settings.model_copy(update={"schedule": schedule.model_copy(update={"max_steps": saved + 2})})
    straight = RunFolder(tmp_path / "straight")
    train(again, straight)
    train(again, run, resume=True)
    assert run.state.read_bytes() == straight.state.read_bytes()


LITTLE_MEMORY = """
import resource, sys
import unclouded.cli.main, unclouded.cli.progress, unclouded.training.loop
from unclouded.machine import used_bytes
resource.setrlimit(resource.RLIMIT_AS, (2**62, -1))  # from now on addresses count
limit = used_bytes() + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, -1))
sys.argv[0] = "unclouded"
unclouded.cli.main.run()
"""


def test_fault_38_out_of_memory_is_reported_with_amounts_and_remedies(
    tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    short = tiny_settings.model_copy(update={"schedule": Schedule(max_steps=2)})
    arguments = command(short, run)[3:]
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, *arguments, "--set", "network.width=256"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "unclouded: memory ran out: at least" in last
    assert "lower schedule.batch, crop_px, network.width or device.workers" in last
    train(short, run)  # a smaller network, in the same folder: no step was taken
    assert load_network(run.weights).training["steps"] == "2"
