"""Runners of task lists: one by one, in worker processes, on a dask cluster; whole lists or shards of them.

All of them record the same results in the :class:`~unclouded.batch.tasks.TaskLedger`.
"""

import logging
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from unclouded.batch.tasks import AttemptStatus, Task, TaskLedger
from unclouded.errors import InputError, InterruptedRunError, MachineError
from unclouded.files import require_writable
from unclouded.progress import ProgressCallback, no_progress

PAUSE_S = 0.2
"""Pause before another look at tasks that other processes hold."""
POLL_S = 2.0
"""Interval between checks of a dask cluster's workers while no task ends."""
WITHOUT_WORKERS_S = 120.0
"""Longest time that a dask cluster may be without workers."""
MOST_EARLY_DEATHS = 3
"""Number of consecutive worker processes that may end before they start a task."""
MOST_REGISTRATIONS = 5
"""Number of attempts to register a plugin on all workers of a dask cluster, of which any may die meanwhile."""

T = TypeVar("T", bound=Task)

Runner = Callable[[TaskLedger, Sequence[Task]], Iterator[AttemptStatus]]
"""Attempts each of the given tasks once and yields the statuses of the attempts in any order."""


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count``: every ``count``-th task in the order of names.

    Attributes:
        number: Number of the shard, from 1 to ``count``.
        count: Number of shards.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(f"expected a shard such as 3/8, from 1/n to n/n, found {self.number}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse ``i/n``.

        Raises:
            InputError: The text is not a shard.
        """
        if not (match := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)):
            raise InputError(f"expected a shard such as 3/8, found {text[:40]!r}")
        return cls(int(match[1]), int(match[2]))

    def of(self, tasks: Sequence[T]) -> list[T]:
        """Return the tasks of this shard."""
        return sorted(tasks, key=lambda task: task.name)[self.number - 1 :: self.count]


def run_tasks(
    tasks: Sequence[Task],
    ledger: TaskLedger,
    runner: Runner,
    on_progress: ProgressCallback = no_progress,
    stage: str = "running tasks",
) -> dict[str, str]:
    """Attempt tasks until each is done or has failed; return the reasons of failed tasks by name.

    Args:
        tasks: Tasks with unique names and ids.
        ledger: Records of the tasks; done tasks do not run again.
        runner: Runner of the attempts.
        on_progress: Called with (stage, completed, total) after every attempt.
        stage: Stage passed to ``on_progress``.

    Raises:
        MachineError: The disk is full or read-only, or similar; pending tasks stay pending.
        ValueError: Two tasks share a name or an id.
    """
    if ledger.pending(tasks):
        require_writable(ledger.path)
    if len({task.name for task in tasks}) < len(tasks) or len({task.id for task in tasks}) < len(tasks):
        raise ValueError("two tasks have the same name or the same id")
    while pending := ledger.pending(tasks):
        completed = len(tasks) - len(pending)
        moved = False
        for status in runner(ledger, pending):
            completed += status in ("done", "already_done", "failed")
            moved = moved or status != "busy"
            on_progress(stage, completed, len(tasks))
        if not moved:
            time.sleep(PAUSE_S)
    on_progress(stage, len(tasks), len(tasks))
    return ledger.failures(tasks)


def serially(ledger: TaskLedger, tasks: Sequence[Task]) -> Iterator[AttemptStatus]:
    """Attempt tasks in this process."""
    return map(ledger.attempt, tasks)


def in_processes(count: int) -> Runner:
    """Return a runner with ``count`` worker processes; a killed worker costs one attempt of its own task only."""

    def run(ledger: TaskLedger, tasks: Sequence[Task]) -> Iterator[AttemptStatus]:
        idle: SimpleQueue[_Worker] = SimpleQueue()

        def attempt(task: Task) -> AttemptStatus:
            worker = idle.get()
            try:
                return worker.attempt(ledger, task)
            finally:
                idle.put(worker)

        with ExitStack() as stack, ThreadPoolExecutor(count) as threads:
            workers = [stack.enter_context(_Worker()) for _ in range(count)]
            for worker in workers:
                idle.put(worker)
            try:
                attempts = [threads.submit(attempt, task) for task in tasks]
                yield from (future.result() for future in as_completed(attempts))
            except BaseException:  # a signal, or the generator was closed: start no further task
                threads.shutdown(wait=False, cancel_futures=True)
                for worker in workers:
                    worker.stop()
                raise

    return run


@contextmanager
def stoppable() -> Iterator[None]:
    """Context in which SIGTERM and Ctrl-C interrupt tasks cleanly: interrupted attempts do not count.

    Batch systems send SIGTERM before they reclaim a machine, which is not the task's fault.

    Raises:
        InterruptedRunError: One of the signals arrived.
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
    raise InterruptedRunError(number, f"{signal.Signals(number).name} received; run the same command again to resume")


class _Worker:
    """Pool of one process, replaced when the process dies; in a larger pool all tasks would fail with that one."""

    def __init__(self) -> None:
        self._pool = self._start()
        self._died_early = 0

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def attempt(self, ledger: TaskLedger, task: Task) -> AttemptStatus:
        before = ledger.bytes_of_attempts(task)
        try:
            status = self._pool.submit(_attempt, ledger, _pickled(task), task.name).result()
        except BrokenProcessPool:
            self._died_early = 0 if ledger.bytes_of_attempts(task) > before else self._died_early + 1
            if self._died_early >= MOST_EARLY_DEATHS:
                raise MachineError(
                    f"{self._died_early} worker processes in a row ended before they started {task.name}; is there "
                    "enough memory? run with --processes 1"
                ) from None
            self._pool = self._start()
            return "retry"
        self._died_early = 0
        return status

    def stop(self) -> None:
        """Interrupt the running task."""
        for process in list((self._pool._processes or {}).values()):  # public from Python 3.14 on
            process.terminate()

    @staticmethod
    def _start() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_exit_with_parent)


def _pickled(task: Task) -> bytes:
    try:
        return pickle.dumps(task)
    except Exception as error:
        raise _not_portable(task.name, error) from error


def _not_portable(name: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return InputError(
        f"{name} cannot be sent to another process ({type(error).__name__}: {reason}); run with --processes 1"
    )


def _attempt(ledger: TaskLedger, pickled: bytes, name: str) -> AttemptStatus:
    """Attempt a task in a worker; SIGTERM interrupts it cleanly.

    The task is unpickled here, since an exception while the pool itself unpickles it would only break the pool.
    """
    try:
        task: Task = pickle.loads(pickled)  # noqa: S301 - made by our own parent process
    except Exception as error:
        raise _not_portable(name, error) from error
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return ledger.attempt(task)
    except InterruptedRunError:
        return "retry"
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_with_parent() -> None:
    """Exit with the parent process, even if it is killed; a worker would wait for work for ever.

    Ctrl-C reaches all processes of a terminal and is left to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow(parent: Any) -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, args=(multiprocessing.parent_process(),), daemon=True).start()


def on_dask(client: Any) -> Runner:
    """Return a runner on a dask cluster.

    Args:
        client: A ``distributed.Client`` whose workers have access to the same folders.
    """

    def run(ledger: TaskLedger, tasks: Sequence[Task]) -> Iterator[AttemptStatus]:
        from distributed import CancelledError, KilledWorker, wait

        logging.getLogger("distributed.batched").addFilter(_without_closed_connections)
        _register_plugin(client)
        task_of = {client.submit(ledger.attempt, task, pure=False, retries=0): task for task in tasks}
        left = set(task_of)
        last_seen = time.monotonic()
        while left:
            try:
                ended, left = wait(left, timeout=POLL_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                last_seen = _require_workers(client, last_seen)
                continue
            for fault in (one.exception() for one in ended if one.status == "error"):
                if not isinstance(fault, KilledWorker | CancelledError):  # the next task would fail, too
                    client.cancel(list(left))
                    raise fault if isinstance(fault, MachineError) else _not_portable("a task", fault)
            for future in ended:  # its result may be lost with its worker; the ledger has the status
                yield "retry" if ledger.pending([task_of[future]]) else "done"

    return run


def _without_closed_connections(record: logging.LogRecord) -> bool:
    """Drop the tracebacks of connections to dead workers: the runner notices the loss itself."""
    return not (record.exc_info and isinstance(record.exc_info[1], OSError))


def _register_plugin(client: Any) -> None:
    """Register the plugin that releases tasks; repeated, because a worker that dies meanwhile breaks the broadcast.

    Raises:
        MachineError: Workers died at every repetition.
    """
    from unclouded.batch.dask_plugin import ReleaseOnStop

    for _ in range(MOST_REGISTRATIONS):
        try:
            client.register_plugin(ReleaseOnStop())
            return
        except OSError as error:  # distributed's CommClosedError
            fault = error
            time.sleep(POLL_S)
    raise MachineError(
        f"workers of the dask cluster died during {MOST_REGISTRATIONS} connections in a row ({fault}); is there enough "
        "memory? check the workers and run again"
    ) from fault


def _require_workers(client: Any, last_seen: float) -> float:
    """Restart lost workers of a local cluster; return the time at which a worker was last seen.

    Raises:
        InputError: The cluster has been without workers for too long.
    """
    if client.scheduler_info(n_workers=-1)["workers"]:
        last_seen = time.monotonic()
    elif client.cluster is not None:
        client.cluster.scale(len(client.cluster.worker_spec))
    if time.monotonic() - last_seen > WITHOUT_WORKERS_S:
        raise InputError(
            "the dask cluster has lost all its workers; start new ones and run the command again to resume"
        )
    return last_seen


@contextmanager
def dask_client(address: str | None, workers: int) -> Iterator[Any]:
    """Connect to a dask scheduler, or start a cluster on this machine.

    Args:
        address: Address of the scheduler, such as ``tcp://host:8786``; None to start a local cluster.
        workers: Number of processes of the local cluster.

    Raises:
        InputError: dask is not installed, or no scheduler responds at the address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError("dask is not installed; install 'unclouded[scale]'") from error
    if address is not None:
        try:
            client = Client(address, timeout=10)
        except (OSError, ValueError) as error:
            raise InputError(f"no dask scheduler responds at {address[:200]}; check the address") from error
        with client:
            yield client
        return
    dashboard = "127.0.0.1:0"  # any free port: the default, 8787, may be in use
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=dashboard) as cluster,
        Client(cluster) as local,
    ):
        yield local
