"""The same tasks one by one, in processes, or as one shard of n; the outcome is the same.

For a dask cluster see :mod:`unclouded.batch.executors`.
"""

import multiprocessing
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from distributed import WorkerPlugin

from unclouded.batch.tasks import AttemptStatus, Task, TaskLedger, release
from unclouded.errors import InputError, InterruptedRunError, MachineError
from unclouded.files import require_writable

PAUSE_S = 0.2
"""Wait before tasks that somebody else holds are looked at again."""

MOST_EARLY_DEATHS = 3
"""Worker processes in a row that may end before they begin a task."""

T = TypeVar("T", bound=Task)

ProgressCallback = Callable[[int, int], object]

Runner = Callable[[TaskLedger, Sequence[Task]], Iterator[AttemptStatus]]
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
    tasks: Sequence[Task], folder: TaskLedger, runner: Runner, on_progress: ProgressCallback = lambda done, total: None
) -> dict[str, str]:
    """Attempt tasks until each is done or set aside; return the reasons of those set aside, by name.

    Args:
        tasks: What to do; names and ids are unique.
        folder: What is known of them; what is done already is not done again.
        runner: Who does them.
        on_progress: Called with how many are settled and how many there are.

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
            on_progress(settled, len(tasks))
        if not moved:
            time.sleep(PAUSE_S)
    on_progress(len(tasks), len(tasks))
    return folder.failures(tasks)


def serially(folder: TaskLedger, tasks: Sequence[Task]) -> Iterator[AttemptStatus]:
    """Attempt tasks in this process."""
    return map(folder.attempt, tasks)


def in_processes(count: int) -> Runner:
    """Return a runner with so many worker processes; a killed one costs one attempt of its own task alone."""

    def run(folder: TaskLedger, tasks: Sequence[Task]) -> Iterator[AttemptStatus]:
        idle: SimpleQueue[_Worker] = SimpleQueue()

        def attempt(task: Task) -> AttemptStatus:
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
        InterruptedRunError: One of them came.
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
    raise InterruptedRunError(
        number, f"{signal.Signals(number).name} came; the same command goes on where this one was"
    )


class _Worker:
    """One worker process, replaced when it dies; a pool of many would take the innocent ones along."""

    def __init__(self) -> None:
        self._pool = self._start()
        self._died_early = 0

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def attempt(self, folder: TaskLedger, task: Task) -> AttemptStatus:
        before = folder.begun(task)
        try:
            return self._pool.submit(_attempt, folder, _pickled(task), task.name).result()
        except BrokenProcessPool:
            self._died_early = 0 if folder.begun(task) > before else self._died_early + 1
            if self._died_early >= MOST_EARLY_DEATHS:
                raise MachineError(
                    f"{self._died_early} worker processes in a row ended before they began {task.name}; is there "
                    "enough memory? run with --processes 1"
                ) from None
            self._pool = self._start()
            return "again"

    def stop(self) -> None:
        """Interrupt what the process is at."""
        for process in list((self._pool._processes or {}).values()):  # public from Python 3.14 on
            process.terminate()

    @staticmethod
    def _start() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_live_with_parent)


def _pickled(task: Task) -> bytes:
    try:
        return pickle.dumps(task)
    except Exception as error:
        raise _not_portable(task.name, error) from error


def _not_portable(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return InputError(
        f"{name} cannot be handed to another process ({type(error).__name__}: {reason}); run with --processes 1"
    )


def _attempt(folder: TaskLedger, pickled: bytes, name: str) -> AttemptStatus:
    """Attempt a task in a worker; SIGTERM interrupts it in order.

    The task is unpickled here: an exception while the pool itself unpickles it would only break the pool.
    """
    try:
        task: Task = pickle.loads(pickled)  # noqa: S301 - made by our own parent process
    except Exception as error:
        raise _not_portable(name, error) from error
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return folder.attempt(task)
    except InterruptedRunError:
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


# Tasks on a dask cluster, somebody's or one of our own; the outcome is that of :mod:`unclouded.batch.executors`.


LOOK_S = 2.0
"""How often a dask cluster is asked for its workers while nothing ends."""

WITHOUT_WORKERS_S = 120.0
"""How long a dask cluster may be without workers."""


def on_dask(client: Any) -> Runner:
    """Return a runner on a dask cluster.

    Args:
        client: A ``distributed.Client``; its workers see the same folders.
    """

    def run(folder: TaskLedger, tasks: Sequence[Task]) -> Iterator[AttemptStatus]:
        from distributed import CancelledError, KilledWorker, wait

        client.register_plugin(ReleaseOnStop())
        task_of = {client.submit(folder.attempt, task, pure=False, retries=0): task for task in tasks}
        left = set(task_of)
        last_seen = time.monotonic()
        while left:
            try:
                ended, left = wait(left, timeout=LOOK_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                last_seen = _require_workers(client, last_seen)
                continue
            for fault in (one.exception() for one in ended if one.status == "error"):
                if not isinstance(fault, KilledWorker | CancelledError):  # the next task would meet it, too
                    client.cancel(list(left))
                    raise fault if isinstance(fault, MachineError) else _not_portable("a task", fault)
            for future in ended:  # what it returned may be lost with its worker; the folder knows
                yield "again" if folder.left([task_of[future]]) else "done"

    return run


def _require_workers(client: Any, last_seen: float) -> float:
    """Bring back lost workers of a cluster of our own; return when there was a worker last.

    Raises:
        InputError: There was none for long.
    """
    if client.scheduler_info(n_workers=-1)["workers"]:
        last_seen = time.monotonic()
    elif client.cluster is not None:
        client.cluster.scale(len(client.cluster.worker_spec))
    if time.monotonic() - last_seen > WITHOUT_WORKERS_S:
        raise InputError("the dask cluster has lost all its workers; start some and run again, it goes on")
    return last_seen


@contextmanager
def dask_client(address: str | None, workers: int) -> Iterator[Any]:
    """Connect to a dask scheduler, or start a cluster on this machine.

    Args:
        address: Of the scheduler, such as ``tcp://host:8786``; None for a cluster of our own.
        workers: Processes of our own cluster.

    Raises:
        InputError: dask is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError("dask is not installed; install 'unclouded[scale]'") from error
    if address is not None:
        try:
            client = Client(address, timeout=10)
        except (OSError, ValueError) as error:
            raise InputError(f"no dask scheduler answers at {address[:200]}; check the address") from error
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,  # 8787 may be taken
        Client(cluster) as own,
    ):
        yield own


# What a dask worker does with the tasks it is at when it is told to stop: it gives them back.
#
# A worker that is killed cannot, and one that is stopped for its memory does not, so that a task which is too large
# for any worker is found out.


FULL = 0.8
"""Share of a worker's memory above which its end is taken for one for memory; dask ends it at 0.95, by SIGTERM."""


class ReleaseOnStop(WorkerPlugin):  # type: ignore[misc]
    """Lets an end that is not the fault of a task cost it no attempt."""

    name = "unclouded-giving-back"

    def setup(self, worker: Any) -> None:
        """Begin to listen to SIGTERM, where nobody else does."""

        def end(number: int, _: Any) -> None:
            if not is_full(worker):
                release()
            os._exit(128 + number)

        with suppress(ValueError):  # a worker in a thread leaves signals to whoever started it
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, end)

    def teardown(self, worker: Any) -> None:
        """Give back; the worker ends in order."""
        release()


def is_full(worker: Any) -> bool:
    """Say whether the process of a worker has about as much memory as it may have."""
    limit = worker.memory_manager.memory_limit
    return bool(limit) and worker.monitor.get_process_memory() > FULL * limit
