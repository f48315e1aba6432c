"""What a dask worker does with the tasks it is at when it is told to stop: it gives them back.

A worker that is killed cannot, and one that is stopped for its memory does not, so that a task which is too large for
any worker is found out.
"""

import os
import signal
from contextlib import suppress
from typing import Any

from distributed import WorkerPlugin

from unclouded.scale.tasks import give_back

FULL = 0.8
"""Share of a worker's memory above which its end is taken for one for memory; dask ends it at 0.95, by SIGTERM."""


class GivingBack(WorkerPlugin):  # type: ignore[misc]
    """Lets an end that is not the fault of a task cost it no attempt."""

    name = "unclouded-giving-back"

    def setup(self, worker: Any) -> None:
        """Begin to listen to SIGTERM, where nobody else does."""

        def end(number: int, _: Any) -> None:
            if not is_full(worker):
                give_back()
            os._exit(128 + number)

        with suppress(ValueError):  # a worker in a thread leaves signals to whoever started it
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, end)

    def teardown(self, worker: Any) -> None:
        """Give back; the worker ends in order."""
        give_back()


def is_full(worker: Any) -> bool:
    """Say whether the process of a worker has about as much memory as it may have."""
    limit = worker.memory_manager.memory_limit
    return bool(limit) and worker.monitor.get_process_memory() > FULL * limit
