"""Tasks, which are pure and repeatable pieces of work, and the ledger of their attempts in a folder.

FOLDER/done/ID.json        rows of a finished task; created once, when all its outputs are on disk
FOLDER/failed/ID.json      reason of a task that failed for good, until its input files change
FOLDER/attempts/ID         one line per attempt: process and machine that started it
FOLDER/locks/ID            locked while a process works on the task, the one in the last line of attempts/ID; the
                           kernel releases the lock when that process dies
"""

import hashlib
import json
import os
import socket
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from filelock import FileLock, Timeout

from unclouded.errors import InputError, InterruptedRunError, MachineError
from unclouded.files import explained, machine_fault, write_json
from unclouded.strict_json import read_json_object

Row = dict[str, Any]
"""Facts of one output, or of one rejected candidate, of a task; JSON values."""
MAX_RECORD_BYTES = 256 << 20
"""Largest record of a task; a region of 800 patches takes 1 MB."""


@runtime_checkable
class Task(Protocol):
    """One unit of work, such as one region of interest.

    A task can be pickled. Run twice, it leaves the same outputs. Its outputs are whole files; no other task writes
    files of the same names, unless with the same content.
    """

    @property
    def name(self) -> str:
        """Unique name for reports."""
        ...

    @property
    def id(self) -> str:
        """Hash of everything that determines the outputs: input content, settings, version; see :func:`content_id`."""
        ...

    def run(self) -> Sequence[Row]:
        """Write the outputs and return their rows.

        Raises:
            InputError: The input cannot be used; the task fails without another attempt, with this reason.
            MachineError: The disk is full, or similar; the attempt does not count and the run ends.
        """
        ...


@runtime_checkable
class InputTask(Task, Protocol):
    """Task with input files; a failure is valid only until one of them changes."""

    def inputs_state(self) -> str:
        """Return a hash of names, sizes and times of all input files, whose content the id need not cover."""
        ...


def content_id(*parts: Any) -> str:
    """Return the SHA-256 of JSON values as 64 hexadecimal digits; the order of keys in mappings does not matter."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()  # names of files need not be UTF-8


_RUNNING: dict[Path, int] = {}
"""Attempts of this process that are under way: file of attempts, and its size before this one."""

AttemptStatus = Literal["done", "already_done", "failed", "busy", "retry"]
"""Result of an attempt: done now, done before, failed for good, locked by another process, or to be retried."""


@dataclass(frozen=True)
class TaskLedger:
    """Folder with the records of tasks; any number of processes and machines may share it.

    Attributes:
        path: Folder.
        attempts: Number of attempts after which a task has failed.
    """

    path: Path
    attempts: int = 3

    def attempt(self, task: Task) -> AttemptStatus:
        """Run a task unless it is done, has failed, or is locked by another process.

        A killed attempt leaves its line in ``attempts``, so a task that kills its workers fails in the end, too.

        Raises:
            MachineError: The disk is full or read-only, or similar; the attempt does not count.
        """
        if self._done(task).is_file():
            return "already_done"
        if self._failure(task):
            return "failed"
        lock = self.path / "locks" / task.id
        held = FileLock(lock, timeout=0)
        try:
            with explained(lock):
                lock.parent.mkdir(parents=True, exist_ok=True)
                held.acquire()
        except Timeout:
            return "busy"
        try:
            return self._attempt(task)
        finally:
            held.release()

    def _attempt(self, task: Task) -> AttemptStatus:
        if self._done(task).is_file():
            return "already_done"
        self._expire(task)
        attempts = self._attempts(task)
        _RUNNING[attempts] = self.bytes_of_attempts(task)
        try:
            return self._run(task, attempts)
        except (InterruptedRunError, KeyboardInterrupt, MachineError):
            _release(attempts)
            raise
        finally:
            _RUNNING.pop(attempts, None)

    def _expire(self, task: Task) -> None:
        """Remove the record of a failure whose input files have changed since."""
        if self._failed(task).is_file() and not self._failure(task):
            self.retry_failed([task])

    def _run(self, task: Task, attempts: Path) -> AttemptStatus:
        state = _state_of(task)  # before the files are read
        with explained(attempts):
            number = _add_line(attempts, f"process {os.getpid()} on {socket.gethostname()}")
        if number > self.attempts:
            return self._mark_failed(
                task, f"{self.attempts} attempts were killed before they ended, possibly for lack of memory", state
            )
        try:
            rows = list(task.run())
        except InterruptedRunError:
            raise
        except Exception as error:
            if fault := machine_fault(error):
                raise fault from error
            if isinstance(error, InputError):
                return self._mark_failed(task, str(error), state)
            if number < self.attempts or attempts not in _RUNNING:  # released: the process is about to exit
                return "retry"
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            reason = f"{type(error).__name__} in {where}: {error} ({number} attempts)"
            return self._mark_failed(task, reason, state)
        write_json(self._done(task), {"name": task.name, "id": task.id, "rows": rows})
        return "done"

    def bytes_of_attempts(self, task: Task) -> int:
        """Return the size of the record of a task's attempts, which grows with every attempt that starts."""
        attempts = self._attempts(task)
        return attempts.stat().st_size if attempts.is_file() else 0

    def rows(self, tasks: Sequence[Task]) -> list[Row]:
        """Return the rows of all done tasks in the order of their names, independent of how and when they ran."""
        return self.rows_of(task.id for task in _in_order(tasks))

    def rows_of(self, identities: Iterable[str]) -> list[Row]:
        """Return the rows of those tasks of these ids that are done, in the order given."""
        records = (self._record(self.path / "done" / f"{identity}.json") for identity in identities)
        return [row for record in records if record for row in record["rows"]]

    def failures(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Return the reasons of failed tasks by task name; failures from before a change of the input do not count."""
        records = {task.name: self._failure(task) for task in _in_order(tasks)}
        return {name: str(record["reason"]) for name, record in records.items() if record}

    def pending(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks that are neither done nor failed."""
        return [task for task in tasks if not self._done(task).is_file() and not self._failure(task)]

    def restore(self, identity: str, name: str, rows: Sequence[Row]) -> None:
        """Write the record of a task that is done elsewhere and whose outputs were copied."""
        write_json(self.path / "done" / f"{identity}.json", {"name": name, "id": identity, "rows": list(rows)})

    def invalidate(self, tasks: Sequence[Task]) -> None:
        """Remove the records of done tasks whose outputs are lost, so that they run again."""
        for task in tasks:
            for record in (self._done(task), self._attempts(task)):
                record.unlink(missing_ok=True)

    def retry_failed(self, tasks: Sequence[Task]) -> int:
        """Make failed tasks pending again, with all their attempts; return their number."""
        failed = [task for task in tasks if self._failed(task).is_file()]
        for task in failed:
            self._attempts(task).unlink(missing_ok=True)
            self._failed(task).unlink()
        return len(failed)

    def _mark_failed(self, task: Task, reason: str, state: str) -> AttemptStatus:
        content = {"name": task.name, "id": task.id, "reason": " ".join(reason.split()), "inputs": state}
        write_json(self._failed(task), content)
        return "failed"

    def _done(self, task: Task) -> Path:
        return self.path / "done" / f"{task.id}.json"

    def _failed(self, task: Task) -> Path:
        return self.path / "failed" / f"{task.id}.json"

    def _failure(self, task: Task) -> Mapping[str, Any] | None:
        """Return the record of a failed task; None if its input files have changed since."""
        record = self._record(self._failed(task))
        return record if record and record.get("inputs", "") == _state_of(task) else None

    def _attempts(self, task: Task) -> Path:
        return self.path / "attempts" / task.id

    def _record(self, path: Path) -> Mapping[str, Any] | None:
        if not path.is_file():
            return None
        return read_json_object(path, MAX_RECORD_BYTES)


def release() -> None:
    """Remove the running attempts of this process from their count, for an exit that is not the tasks' fault."""
    for attempts in list(_RUNNING):
        _release(attempts)


def _release(attempts: Path) -> None:
    if (before := _RUNNING.pop(attempts, None)) is not None:
        with suppress(OSError):  # on a disk that became read-only the line stays: one attempt of several
            os.truncate(attempts, before)  # unlike rewriting, truncation needs no free space


def _state_of(task: Task) -> str:
    return task.inputs_state() if isinstance(task, InputTask) else ""


def _in_order(tasks: Sequence[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: task.name)


def _add_line(path: Path, text: str) -> int:
    """Append a line to a file, synced to disk before the attempt starts; return the number of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.write(f"{text}\n".encode())
        os.fsync(file.fileno())
        file.seek(0)
        return len(file.readlines())
