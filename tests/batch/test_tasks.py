import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from filelock import FileLock

from unclouded.batch.storage import file_states
from unclouded.batch.tasks import Row, TaskLedger, content_id, release
from unclouded.errors import InputError, InterruptedRunError, MachineError


@dataclass
class Counting:
    """Task that counts its runs and raises each of ``troubles`` once."""

    name: str
    troubles: list[Exception] = field(default_factory=list)
    runs: int = 0

    @property
    def id(self) -> str:
        return content_id("counting", self.name)

    def run(self) -> Sequence[Row]:
        self.runs += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return [{"name": self.name}]


def test_a_task_is_done_once(tmp_path: Path) -> None:
    task = Counting("one")
    assert [TaskLedger(tmp_path).attempt(task) for _ in range(3)] == ["done", "already_done", "already_done"]
    assert task.runs == 1
    assert TaskLedger(tmp_path).rows([task]) == [{"name": "one"}]


def test_rows_are_in_the_order_of_names_not_of_completion(tmp_path: Path) -> None:
    tasks = [Counting(name) for name in ("c", "a", "b")]
    for task in tasks:
        TaskLedger(tmp_path).attempt(task)
    assert [row["name"] for row in TaskLedger(tmp_path).rows(tasks)] == ["a", "b", "c"]


def test_bad_input_fails_at_once_with_its_reason(tmp_path: Path) -> None:
    task = Counting("bad", [InputError("a.tif is cut\nshort")])
    assert [TaskLedger(tmp_path).attempt(task) for _ in range(2)] == ["failed", "failed"]
    assert task.runs == 1
    assert TaskLedger(tmp_path).failures([task]) == {"bad": "a.tif is cut short"}


def test_a_temporary_error_is_retried(tmp_path: Path) -> None:
    task = Counting("shaky", [OSError("busy"), OSError("busy")])
    assert [TaskLedger(tmp_path, attempts=3).attempt(task) for _ in range(3)] == ["retry", "retry", "done"]


def test_a_repeated_error_fails_with_its_place(tmp_path: Path) -> None:
    task = Counting("broken", [KeyError("B99")] * 9)
    assert [TaskLedger(tmp_path, attempts=2).attempt(task) for _ in range(3)] == ["retry", "failed", "failed"]
    assert task.runs == 2
    reason = TaskLedger(tmp_path).failures([task])["broken"]
    assert reason.startswith("KeyError in test_tasks.py, line ") and reason.endswith("'B99' (2 attempts)")


def test_fault_38_a_task_that_kills_its_workers_fails(tmp_path: Path) -> None:
    class KilledError(BaseException):
        """Stands for SIGKILL: nothing after it is done."""

    task = Counting("deadly", [KilledError()] * 9)  # type: ignore[list-item]
    folder = TaskLedger(tmp_path, attempts=2)
    for _ in range(2):
        with pytest.raises(KilledError):
            folder.attempt(task)
    assert folder.attempt(task) == "failed"
    assert "2 attempts were killed before they ended" in folder.failures([task])["deadly"]


@pytest.mark.parametrize("interruption", [InterruptedRunError(15, "SIGTERM came"), KeyboardInterrupt()])
def test_fault_04_an_interrupted_attempt_does_not_count(tmp_path: Path, interruption: Exception) -> None:
    task, folder = Counting("preempted", [interruption] * 5), TaskLedger(tmp_path, attempts=1)
    for _ in range(5):
        with pytest.raises(type(interruption)):
            folder.attempt(task)
        assert (tmp_path / "attempts" / task.id).read_text() == ""
    assert folder.attempt(task) == "done"


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/a.tif")


def wrapped() -> InputError:
    error = InputError("a.tif is no good")
    error.__cause__ = full()
    return error


@pytest.mark.parametrize(
    "fault", [full(), OSError(errno.EROFS, "read-only"), MachineError("the disk is full"), wrapped()], ids=str
)
def test_fault_32_a_full_disk_is_never_the_fault_of_a_task(tmp_path: Path, fault: Exception) -> None:
    task, folder = Counting("innocent", [fault] * 5), TaskLedger(tmp_path, attempts=1)
    for _ in range(5):
        with pytest.raises(MachineError):
            folder.attempt(task)
        assert (tmp_path / "attempts" / task.id).read_text() == "" and folder.pending([task]) == [task]
    assert folder.attempt(task) == "done"


def test_fault_32_without_room_for_records_a_run_leaves_no_attempts(
    tmp_path: Path, mount_disk: Callable[[int], Path]
) -> None:
    disk = mount_disk(64)
    task, folder = Counting("innocent", [KeyError("B99")]), TaskLedger(disk / "notes", attempts=2)
    assert folder.attempt(task) == "retry"
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    for _ in range(3):
        with pytest.raises(
            MachineError, match=r"cannot be written \(No space left on device\); free some space \(0 MiB"
        ):
            folder.attempt(task)
    ballast.unlink()
    assert len((disk / "notes" / "attempts" / task.id).read_text().splitlines()) == 1
    assert folder.attempt(task) == "done"


def test_fault_04_an_attempt_released_before_the_process_ends_does_not_count(tmp_path: Path) -> None:
    class AttemptStatus(Counting):
        def run(self) -> Sequence[Row]:
            release()
            raise RuntimeError("cannot schedule new futures after shutdown")  # the trouble of a process that ends

    folder, note = TaskLedger(tmp_path, attempts=1), tmp_path / "attempts" / AttemptStatus("stopped").id
    for _ in range(3):
        assert folder.attempt(AttemptStatus("stopped")) == "retry" and note.read_text() == ""
    assert folder.attempt(Counting("stopped")) == "done"
    release()  # at work on nothing
    assert len(note.read_text().splitlines()) == 1


def test_a_task_that_another_process_runs_is_left_alone(tmp_path: Path) -> None:
    task = Counting("busy")
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / task.id):
        assert TaskLedger(tmp_path).attempt(task) == "busy"
    assert task.runs == 0


_HOLD = """
import os, sys
from pathlib import Path
from unclouded.batch.tasks import TaskLedger, content_id
class Deadly:
    name, id = "deadly", content_id("counting", "deadly")
    def run(self):
        os.kill(os.getpid(), 9)
TaskLedger(Path(sys.argv[1])).attempt(Deadly())
"""


def test_fault_34_a_dead_worker_holds_no_lock_and_its_owner_is_recorded(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", _HOLD, tmp_path])
    assert dead.wait() == -9
    task = Counting("deadly")
    attempts = tmp_path / "attempts" / task.id
    assert (tmp_path / "locks" / task.id).is_file()
    assert attempts.read_text() == f"process {dead.pid} on {socket.gethostname()}\n"
    assert TaskLedger(tmp_path).attempt(task) == "done"
    assert len(attempts.read_text().splitlines()) == 2


def test_failed_tasks_can_be_retried(tmp_path: Path) -> None:
    task, folder = Counting("mended", [InputError("no")]), TaskLedger(tmp_path)
    assert folder.attempt(task) == "failed"
    assert folder.retry_failed([task]) == 1
    assert folder.pending([task]) == [task]
    assert folder.attempt(task) == "done"


def test_an_invalidated_task_is_pending_again(tmp_path: Path) -> None:
    task, folder = Counting("lost"), TaskLedger(tmp_path, attempts=1)
    assert folder.attempt(task) == "done"
    folder.invalidate([task])
    assert folder.pending([task]) == [task] and folder.rows([task]) == []
    assert folder.attempt(task) == "done"  # its earlier attempts are removed, too


def test_an_id_depends_on_content_only() -> None:
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    assert content_id({"a": 1}) != content_id({"a": 2})
    assert len(content_id()) == 64


@dataclass
class Reading(Counting):
    """Task with an input file."""

    path: Path = Path()

    def inputs_state(self) -> str:
        return content_id(file_states(self.path))


def test_a_failure_is_valid_until_an_input_file_changes(tmp_path: Path) -> None:
    path, folder = tmp_path / "product.zip", TaskLedger(tmp_path / "ledger", attempts=1)
    path.write_bytes(b"damaged")
    task = Reading("one", [InputError("product.zip is damaged")], path=path)
    assert [folder.attempt(task) for _ in range(2)] == ["failed", "failed"]
    assert folder.failures([task]) and not folder.pending([task])
    path.write_bytes(b"whole again")
    assert not folder.failures([task]) and folder.pending([task]) == [task]
    assert folder.attempt(task) == "done" and not folder.failures([task])


def test_the_state_of_a_product_names_each_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.SAFE" / "GRANULE").mkdir(parents=True)
    (tmp_path / "a.SAFE" / "GRANULE" / "b.jp2").write_bytes(b"123")
    ((name, size, _),) = file_states(tmp_path / "a.SAFE")
    assert (name, size) == ("a.SAFE/GRANULE/b.jp2", 3)
    assert file_states(tmp_path / "missing.SAFE") == file_states("s3://bucket/a.SAFE") == []
