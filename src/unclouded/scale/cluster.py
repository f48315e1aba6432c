"""Tasks on a dask cluster, somebody's or one of our own; the outcome is that of :mod:`unclouded.scale.running`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from unclouded.errors import InputError, MachineError
from unclouded.scale.running import Runner
from unclouded.scale.tasks import Ending, Task, TaskFolder

LOOK_S = 2.0
"""How often a dask cluster is asked for its workers while nothing ends."""
WITHOUT_WORKERS_S = 120.0
"""How long a dask cluster may be without workers."""


def on_dask(client: Any) -> Runner:
    """Return a runner on a dask cluster.

    Args:
        client: A ``distributed.Client``; its workers see the same folders.
    """

    def run(folder: TaskFolder, tasks: Sequence[Task]) -> Iterator[Ending]:
        from distributed import wait

        from unclouded.scale.giving_back import GivingBack

        client.register_plugin(GivingBack())
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
                if isinstance(fault, MachineError):  # the next task would meet it, too
                    client.cancel(list(left))
                    raise fault
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
