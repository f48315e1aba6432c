import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.scale.running import Shard, run_tasks, serially
from unclouded.scale.tasks import Row, TaskFolder, content_id

PROOF = Path(__file__).parents[2] / "proofs" / "task_kills.py"


@dataclass(frozen=True)
class Numbered:
    number: int

    @property
    def name(self) -> str:
        return f"{self.number:02d}"

    @property
    def id(self) -> str:
        return content_id(self.number)

    def run(self) -> list[Row]:
        if self.number == 4:
            raise InputError("number 4 is none")
        return [{"number": self.number}]


TASKS = [Numbered(number) for number in range(10)]


def test_every_task_is_done_or_set_aside(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    failures = run_tasks(TASKS, TaskFolder(tmp_path), serially, lambda done, total: told.append((done, total)))
    assert failures == {"04": "number 4 is none"}
    assert told[0] == (1, 10) and told[-1] == (10, 10)
    assert [row["number"] for row in TaskFolder(tmp_path).rows(TASKS)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_shards_share_all_tasks_and_none_twice(tmp_path: Path) -> None:
    shards = [Shard(number, 3).of(TASKS) for number in (1, 2, 3)]
    assert [len(shard) for shard in shards] == [4, 3, 3]
    assert sorted(task.number for shard in shards for task in shard) == list(range(10))
    for shard in shards:
        run_tasks(shard, TaskFolder(tmp_path), serially)
    assert len(TaskFolder(tmp_path).rows(TASKS)) == 9


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/3", "1/3/5", ""])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a shard such as 3/8"):
        Shard.parse(text)


def test_two_tasks_of_one_name_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two tasks have the same name"):
        run_tasks([*TASKS, Numbered(3)], TaskFolder(tmp_path), serially)


def test_fault_02_killed_workers_change_no_byte_of_the_manifest(tmp_path: Path) -> None:
    """The proof, small: twelve tasks in processes, two random kills, and one task that kills whoever takes it."""
    command = [sys.executable, PROOF, tmp_path, "--tasks=12", "--kills=2", "--ways=processes", "--attempts=5"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "the same manifest" in told.stdout


_PARENT = """
import os, sys, time
from unclouded.scale.running import _Worker
if __name__ == "__main__":
    with _Worker() as worker:
        print(worker._pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_fault_04_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(_PARENT)
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)  # lives
        parent.send_signal(signal.SIGKILL)
    with suppress(ProcessLookupError):
        while not _is_zombie(worker):
            os.kill(worker, 0)
            time.sleep(0.01)


def _is_zombie(pid: int) -> bool:
    """Say whether a process is over, though nobody has asked how it ended, as where process 1 does not."""
    about = Path(f"/proc/{pid}/stat")
    return about.is_file() and about.read_text().rsplit(")", 1)[1].split()[0] == "Z"
