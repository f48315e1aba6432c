"""A task, a pure and repeatable piece of work, and what a folder remembers of it, however often it dies.

FOLDER/done/ID.json        what the task found; created once, when all its outputs are on disk
FOLDER/failed/ID.json      why it was set aside
FOLDER/begun/ID            a line for every time that it was begun: by which process, on which machine
FOLDER/locks/ID            held while somebody works on it, who stands in the last line of begun/ID; the lock is the
                           kernel's, so that of a dead process is none
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
"""What a task says of one thing that it made or dropped; JSON values."""
MAX_RECORD_BYTES = 256 << 20
"""Longest note of a task; a region of 800 patches takes 1 MB."""


@runtime_checkable
class Task(Protocol):
    """One unit of work, such as one region of interest.

    A task can be pickled. Run twice, it leaves the same outputs; its outputs are whole files whose names no other task
    uses, or uses for the same content.
    """

    @property
    def name(self) -> str:
        """What reports call it; unique."""
        ...

    @property
    def id(self) -> str:
        """Hash of all that decides the outputs: inputs by content, settings, version; see :func:`content_id`."""
        ...

    def run(self) -> Sequence[Row]:
        """Do the work, write the outputs, and return what the manifest should say.

        Raises:
            InputError: The input cannot be used; the task is set aside at once, with this reason.
            MachineError: The disk is full, or the like: no fault of the task, and the end of the run.
        """
        ...


def content_id(*parts: Any) -> str:
    """Return the hash of JSON values, 64 hexadecimal digits; mappings count by content, not by order."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()  # names of files need not be UTF-8


_AT_WORK: dict[Path, int] = {}
"""Sizes of the notes of tasks before this process began them."""

AttemptStatus = Literal["done", "there", "failed", "busy", "again"]
"""How an attempt ended: done now, done before, set aside, in somebody else's hands, or to be tried again."""


@dataclass(frozen=True)
class TaskLedger:
    """What is known of tasks; any number of processes and machines may share it.

    Attributes:
        path: The folder.
        attempts: How often a task may be begun before it is set aside.
    """

    path: Path
    attempts: int = 3

    def attempt(self, task: Task) -> AttemptStatus:
        """Do a task unless it is done, set aside, or somebody is at it.

        A killed attempt leaves its line in ``begun``: a task that kills its workers is set aside, too.

        Raises:
            MachineError: The disk is full or read-only, or the like; the attempt does not count.
        """
        if self._done(task).is_file():
            return "there"
        if self._failed(task).is_file():
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
            return "there"
        note = self.path / "begun" / task.id
        _AT_WORK[note] = self.begun(task)
        try:
            return self._begin(task, note)
        except (InterruptedRunError, KeyboardInterrupt, MachineError):
            _release(note)
            raise
        finally:
            _AT_WORK.pop(note, None)

    def _begin(self, task: Task, note: Path) -> AttemptStatus:
        with explained(note):
            begun = _add_line(note, f"process {os.getpid()} on {socket.gethostname()}")
        if begun > self.attempts:
            return self._mark_failed(
                task, f"begun {self.attempts} times and never ended: killed, perhaps for its memory"
            )
        try:
            rows = list(task.run())
        except InterruptedRunError:
            raise
        except Exception as error:
            if fault := machine_fault(error):
                raise fault from error
            if isinstance(error, InputError):
                return self._mark_failed(task, str(error))
            if begun < self.attempts or note not in _AT_WORK:  # given back: the process is about to end
                return "again"
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}, line {last.lineno}"
            return self._mark_failed(task, f"{type(error).__name__} in {where}: {error} ({begun} attempts)")
        write_json(self._done(task), {"name": task.name, "id": task.id, "rows": rows})
        return "done"

    def begun(self, task: Task) -> int:
        """Return the bytes written about attempts that began; they grow with every attempt."""
        note = self.path / "begun" / task.id
        return note.stat().st_size if note.is_file() else 0

    def rows(self, tasks: Sequence[Task]) -> list[Row]:
        """Return the rows of all done tasks, in the order of their names: the same, whoever did them when."""
        return self.rows_of(task.id for task in _in_order(tasks))

    def rows_of(self, identities: Iterable[str]) -> list[Row]:
        """Return the rows of those that are done, in the order given."""
        done = (self._note(self.path / "done" / f"{identity}.json") for identity in identities)
        return [row for note in done if note for row in note["rows"]]

    def failures(self, tasks: Sequence[Task]) -> dict[str, str]:
        """Return why tasks were set aside, by name."""
        ledger = {task.name: self._note(self._failed(task)) for task in _in_order(tasks)}
        return {name: str(note["reason"]) for name, note in ledger.items() if note}

    def left(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks that are neither done nor set aside."""
        return [task for task in tasks if not self._done(task).is_file() and not self._failed(task).is_file()]

    def invalidate(self, tasks: Sequence[Task]) -> None:
        """Take tasks for undone, for their outputs are gone."""
        for task in tasks:
            for note in (self._done(task), self.path / "begun" / task.id):
                note.unlink(missing_ok=True)

    def retry_failed(self, tasks: Sequence[Task]) -> int:
        """Give tasks that were set aside another chance; return how many."""
        failed = [task for task in tasks if self._failed(task).is_file()]
        for task in failed:
            (self.path / "begun" / task.id).unlink(missing_ok=True)
            self._failed(task).unlink()
        return len(failed)

    def _mark_failed(self, task: Task, reason: str) -> AttemptStatus:
        content = {"name": task.name, "id": task.id, "reason": " ".join(reason.split())}
        write_json(self._failed(task), content)
        return "failed"

    def _done(self, task: Task) -> Path:
        return self.path / "done" / f"{task.id}.json"

    def _failed(self, task: Task) -> Path:
        return self.path / "failed" / f"{task.id}.json"

    def _note(self, path: Path) -> Mapping[str, Any] | None:
        if not path.is_file():
            return None
        return read_json_object(path, MAX_RECORD_BYTES)


def release() -> None:
    """Count the attempts that this process is at as not begun: it is about to end, for reasons that are not theirs."""
    for note in list(_AT_WORK):
        _release(note)


def _release(note: Path) -> None:
    if (before := _AT_WORK.pop(note, None)) is not None:
        with suppress(OSError):  # on a disk that became read-only the line stays: one attempt of several
            os.truncate(note, before)  # unlike writing it anew, this needs no room


def _in_order(tasks: Sequence[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: task.name)


def _add_line(path: Path, text: str) -> int:
    """Add a line to a file, on disk before anything can go wrong; return how many lines it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.write(f"{text}\n".encode())
        os.fsync(file.fileno())
        file.seek(0)
        return len(file.readlines())
