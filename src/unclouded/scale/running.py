"""The same tasks one by one, in processes, or as one shard of n; the outcome is the same.

For a dask cluster see :mod:`unclouded.scale.cluster`.
"""

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from unclouded.errors import InputError, SignalledError
from unclouded.files import require_writable
from unclouded.scale.tasks import Ending, Task, TaskFolder

PAUSE_S = 0.2
"""Wait before tasks that somebody else holds are looked at again."""

T = TypeVar("T", bound=Task)
Told = Callable[[int, int], object]
Runner = Callable[[TaskFolder, Sequence[Task]], Iterator[Ending]]
"""Attempts each of some tasks once and yields how the attempts ended, in any order."""


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count``: every ``count``-th task in the order of names.

    Attributes:
        number: From 1 to ``count``.
        count: How many shards there are.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(f"expected a shard such as 3/8, from 1/n to n/n, found {self.number}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``i/n``.

        Raises:
            InputError: The text is no such thing.
        """
        if not (match := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)):
            raise InputError(f"expected a shard such as 3/8, found {text[:40]!r}")
        return cls(int(match[1]), int(match[2]))

    def of(self, tasks: Sequence[T]) -> list[T]:
        """Return the tasks of this shard."""
        return sorted(tasks, key=lambda task: task.name)[self.number - 1 :: self.count]


def run_tasks(
    tasks: Sequence[Task], folder: TaskFolder, runner: Runner, told: Told = lambda done, total: None
) -> dict[str, str]:
    """Attempt tasks until each is done or set aside; return the reasons of those set aside, by name.

    Args:
        tasks: What to do; names and ids are unique.
        folder: What is known of them; what is done already is not done again.
        runner: Who does them.
        told: Called with how many are settled and how many there are.

    Raises:
        MachineError: The disk is full or read-only, or the like; the tasks that are left stay as they were.
        ValueError: Two tasks share a name or an id.
    """
    if folder.left(tasks):
        require_writable(folder.path)
    if len({task.name for task in tasks}) < len(tasks) or len({task.id for task in tasks}) < len(tasks):
        raise ValueError("two tasks have the same name or the same id")
    while left := folder.left(tasks):
        settled = len(tasks) - len(left)
        moved = False
        for ending in runner(folder, left):
            settled += ending in ("done", "there", "failed")
            moved = moved or ending != "busy"
            told(settled, len(tasks))
        if not moved:
            time.sleep(PAUSE_S)
    told(len(tasks), len(tasks))
    return folder.failures(tasks)


def serially(folder: TaskFolder, tasks: Sequence[Task]) -> Iterator[Ending]:
    """Attempt tasks in this process."""
    return map(folder.attempt, tasks)


def in_processes(count: int) -> Runner:
    """Return a runner with so many worker processes; a killed one costs one attempt of its own task alone."""

    def run(folder: TaskFolder, tasks: Sequence[Task]) -> Iterator[Ending]:
        idle: SimpleQueue[_Worker] = SimpleQueue()

        def attempt(task: Task) -> Ending:
            worker = idle.get()
            try:
                return worker.attempt(folder, task)
            finally:
                idle.put(worker)

        with ExitStack() as workers, ThreadPoolExecutor(count) as waiting:
            crew = [workers.enter_context(_Worker()) for _ in range(count)]
            for worker in crew:
                idle.put(worker)
            try:
                attempts = [waiting.submit(attempt, task) for task in tasks]
                yield from (future.result() for future in as_completed(attempts))
            except BaseException:  # a signal, or nobody wants the rest: nothing more is begun
                waiting.shutdown(wait=False, cancel_futures=True)
                for worker in crew:
                    worker.stop()
                raise

    return run


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end tasks in order: what they interrupt counts as not begun, and its rows stay.

    Batch systems send SIGTERM before they take a machine away, which is no fault of the task.

    Raises:
        SignalledError: One of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: Any) -> None:
    raise SignalledError(number, f"{signal.Signals(number).name} came; the same command goes on where this one was")


class _Worker:
    """One worker process, replaced when it dies; a pool of many would take the innocent ones along."""

    def __init__(self) -> None:
        self._pool = self._start()

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def attempt(self, folder: TaskFolder, task: Task) -> Ending:
        try:
            return self._pool.submit(_attempt, folder, task).result()
        except BrokenProcessPool:
            self._pool = self._start()
            return "again"

    def stop(self) -> None:
        """Interrupt what the process is at."""
        for process in list((self._pool._processes or {}).values()):  # public from Python 3.14 on
            process.terminate()

    @staticmethod
    def _start() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_live_with_parent)


def _attempt(folder: TaskFolder, task: Task) -> Ending:
    """Attempt a task in a worker; SIGTERM interrupts it in order."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return folder.attempt(task)
    except SignalledError:
        return "again"
    finally:
        signal.signal(signal.SIGTERM, before)


def _live_with_parent() -> None:
    """Let this process end when its parent does, however that ended: it would wait for work for ever.

    Ctrl-C goes to all processes of a terminal; it is the parent's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow(parent: Any) -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, args=(multiprocessing.parent_process(),), daemon=True).start()
