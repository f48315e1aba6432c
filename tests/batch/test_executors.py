import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from unclouded.batch import executors
from unclouded.batch.dask_plugin import is_full
from unclouded.batch.executors import Shard, in_processes, run_tasks, serially
from unclouded.batch.tasks import Row, TaskLedger, content_id
from unclouded.errors import InputError, MachineError

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


def test_every_task_is_done_or_has_failed(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    failures = run_tasks(
        TASKS, TaskLedger(tmp_path), serially, lambda stage, done, total: progress.append((done, total))
    )
    assert failures == {"04": "number 4 is none"}
    assert progress[0] == (1, 10) and progress[-1] == (10, 10)
    assert [row["number"] for row in TaskLedger(tmp_path).rows(TASKS)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_shards_share_all_tasks_and_none_twice(tmp_path: Path) -> None:
    shards = [Shard(number, 3).of(TASKS) for number in (1, 2, 3)]
    assert [len(shard) for shard in shards] == [4, 3, 3]
    assert sorted(task.number for shard in shards for task in shard) == list(range(10))
    for shard in shards:
        run_tasks(shard, TaskLedger(tmp_path), serially)
    assert len(TaskLedger(tmp_path).rows(TASKS)) == 9


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "-1/3", "1/3/5", ""])
def test_an_invalid_shard_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match="expected a shard such as 3/8"):
        Shard.parse(text)


@dataclass(frozen=True)
class Unloadable(Numbered):
    exits: bool = False

    def __reduce__(self) -> tuple[Callable[..., None], tuple[int | str]]:
        return (os._exit, (1,)) if self.exits else (exec, ("import plug_in",))


def test_a_task_that_no_worker_can_load_ends_the_run_without_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "MOST_EARLY_DEATHS", 1)
    refused = "01 cannot be sent to another process .*No module named 'plug_in'.*; run with --processes 1"
    for task, kind, message in (
        (Unloadable(1), InputError, refused),
        (Unloadable(1, exits=True), MachineError, "1 worker processes in a row ended before they started 01"),
    ):
        with pytest.raises(kind, match=message):
            run_tasks([task], TaskLedger(tmp_path), in_processes(1))
        assert TaskLedger(tmp_path).bytes_of_attempts(task) == 0 and not TaskLedger(tmp_path).failures([task])


def test_a_worker_that_dies_now_and_then_between_tasks_is_replaced_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six of twelve processes die before they start a task, but never two in a row; three in a row end a run."""
    died = iter([True, False] * 6)

    def submit(work: Callable[..., str], *arguments: object) -> SimpleNamespace:
        def result() -> str:
            if next(died):
                raise BrokenProcessPool
            return work(*arguments)

        return SimpleNamespace(result=result)

    pool = SimpleNamespace(submit=submit, shutdown=lambda cancel_futures: None)
    monkeypatch.setattr(executors._Worker, "_start", lambda *_: pool)
    worker = executors._Worker()
    statuses = [worker.attempt(TaskLedger(tmp_path), Numbered(number // 2 + 10)) for number in range(12)]
    assert statuses == ["retry", "done"] * 6


@pytest.mark.parametrize("deaths", [0, 4, 5])
def test_a_dask_worker_that_dies_while_plugins_are_registered_ends_no_run(
    deaths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler's broadcast fails with an OSError; the fifth failure in a row is an error of the machine."""
    calls: list[object] = []

    def register(plugin: object) -> None:
        calls.append(plugin)
        if len(calls) <= deaths:
            raise OSError("Stream is closed")

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    refused = pytest.raises(MachineError, match=r"died during 5 connections in a row \(Stream is closed\)")
    with refused if deaths == 5 else nullcontext():
        executors._register_plugin(SimpleNamespace(register_plugin=register))
    assert len(calls) == min(deaths + 1, 5)


_WRITING = """
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unclouded.errors import MachineError
from unclouded.files import write_text
from unclouded.batch.executors import dask_client, on_dask
from unclouded.batch.executors import in_processes, run_tasks, serially
from unclouded.batch.tasks import TaskLedger

@dataclass(frozen=True)
class Writing:
    name: str
    folder: Path

    @property
    def id(self):
        return self.name

    def run(self):
        write_text(self.folder / f"{self.name}.txt", "x" * 30_000)
        return [{"name": self.name}]

@contextmanager
def dask():
    with dask_client(None, 2) as client:
        yield on_dask(client)

if __name__ == "__main__":
    disk = Path(sys.argv[1])
    ways = {"serially": lambda: nullcontext(serially), "processes": lambda: nullcontext(in_processes(2)), "dask": dask}
    tasks, folder = [Writing(name, disk / "out") for name in "abcdefghijkl"], TaskLedger(disk / "ledger", attempts=1)
    try:
        with ways[sys.argv[2]]() as runner:
            run_tasks(tasks, folder, runner)
    except MachineError as error:
        print(error, file=sys.stderr)
    print(*(row["name"] for row in folder.rows(tasks)), "failed:", *folder.failures(tasks))
"""


@pytest.mark.parametrize("way", ["serially", "processes", "dask"])
def test_fault_32_on_a_full_disk_a_run_ends_and_the_next_run_does_the_pending_tasks(
    way: str, tmp_path: Path, mount_disk: Callable[[int], Path]
) -> None:
    disk, program = mount_disk(256), tmp_path / "writing.py"
    program.write_text(_WRITING)

    def run(way: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, program, disk, way], capture_output=True, text=True, check=True)

    on_full = run(way)
    assert "cannot be written (No space left on device); free some space" in on_full.stderr
    assert 2 < len(on_full.stdout.split()) < 12 and on_full.stdout.endswith("failed:\n")
    assert not [path for path in disk.rglob("*") if ".partial" in path.name]
    subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
    assert run("serially").stdout == "a b c d e f g h i j k l failed:\n"


def test_fault_33_on_a_read_only_disk_no_task_starts(mount_disk: Callable[[int], Path]) -> None:
    disk = mount_disk(256)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(MachineError, match="Read-only file system"):
        run_tasks(TASKS, TaskLedger(disk / "ledger"), lambda *_: pytest.fail("started"))


def test_two_tasks_with_the_same_name_are_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two tasks have the same name"):
        run_tasks([*TASKS, Numbered(3)], TaskLedger(tmp_path), serially)


def test_fault_02_killed_workers_change_no_byte_of_the_manifest(tmp_path: Path) -> None:
    """The proof, small: twelve tasks in processes, two random kills, and one task that kills its worker."""
    command = [sys.executable, PROOF, tmp_path, "--tasks=12", "--kills=2", "--ways=processes", "--attempts=5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "the same manifest" in result.stdout


_PARENT = """
import os, sys, time
from unclouded.batch.executors import _Worker
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
    """Return whether a process has ended, even if its parent, such as process 1, has not waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:  # just gone, or a system without /proc
        return False


_INTERRUPTED = """
import sys, time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unclouded.errors import InterruptedRunError
from unclouded.batch.executors import dask_client, on_dask
from unclouded.batch.executors import in_processes, run_tasks, serially, stoppable
from unclouded.batch.tasks import TaskLedger

@dataclass(frozen=True)
class Slow:
    name: str

    @property
    def id(self):
        return self.name

    def run(self):
        time.sleep(600)
        return []

@contextmanager
def dask():
    with dask_client(None, 2) as client:
        yield on_dask(client)

if __name__ == "__main__":
    ways = {"serially": lambda: nullcontext(serially), "processes": lambda: nullcontext(in_processes(2)), "dask": dask}
    try:
        with stoppable(), ways[sys.argv[2]]() as runner:
            run_tasks([Slow(name) for name in "abcdef"], TaskLedger(Path(sys.argv[1])), runner)
    except InterruptedRunError as error:
        print(error, flush=True)
        sys.exit(128 + error.signal)
"""


@pytest.mark.parametrize(
    "way, asked, everybody",
    [
        ("serially", signal.SIGTERM, False),
        ("processes", signal.SIGTERM, False),
        ("processes", signal.SIGINT, False),
        ("dask", signal.SIGTERM, True),
    ],
)
def test_fault_04_a_signal_ends_tasks_at_once_and_costs_no_attempt(
    tmp_path: Path, way: str, asked: signal.Signals, everybody: bool
) -> None:
    """As batch systems send it, to the command or to its workers, too."""
    (tmp_path / "slow.py").write_text(_INTERRUPTED)
    command, count = [sys.executable, tmp_path / "slow.py", tmp_path / "notes", way], 1 if way == "serially" else 2
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as run:
        while len(_attempts(tmp_path)) < count:
            assert run.poll() is None
            time.sleep(0.01)
        (os.killpg if everybody else os.kill)(run.pid, asked)
        output, troubles = run.communicate(timeout=300)
    assert run.returncode == 128 + asked, troubles
    assert output == f"{asked.name} received; run the same command again to resume\n" and "Traceback" not in troubles
    assert all(path.read_text() == "" for path in _attempts(tmp_path)) and len(_attempts(tmp_path)) == count
    assert not (tmp_path / "notes" / "failed").exists()


def _attempts(folder: Path) -> list[Path]:
    return list((folder / "notes" / "attempts").glob("[a-f]"))


@pytest.mark.parametrize("text", ["9" * 5000 + "/2", "1/" + "9" * 5000, "٣/٤", "1_0/20", "²/3"])
def test_fault_25_a_shard_with_other_digits_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match="expected a shard such as 3/8"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("used", "limit", "full"), [(95, 100, True), (81, 100, True), (50, 100, False), (95, None, False)]
)
def test_fault_38_a_worker_terminated_for_its_memory_releases_no_task(used: int, limit: int | None, full: bool) -> None:
    """Dask ends it by SIGTERM, as batch systems do: were the task given back, it would be tried for ever."""
    memory, monitor = SimpleNamespace(memory_limit=limit), SimpleNamespace(get_process_memory=lambda: used)
    assert is_full(SimpleNamespace(memory_manager=memory, monitor=monitor)) is full


def test_closed_connections_of_a_dask_cluster_are_not_logged_with_their_traceback() -> None:
    def record(error: Exception) -> logging.LogRecord:
        try:
            raise error
        except type(error):
            return logging.LogRecord("distributed.batched", 40, "", 0, "", (), sys.exc_info())

    assert not executors._without_closed_connections(record(OSError("closed")))
    assert executors._without_closed_connections(record(ValueError("a fault")))
