"""Plugin of dask workers that releases their tasks on shutdown; a module of its own because dask is optional.

A worker that is killed cannot release its tasks, and one that is terminated for its memory must not: a task too large
for any worker has to fail in the end.
"""

import os
import signal
from contextlib import suppress
from typing import Any

from distributed import WorkerPlugin

from unclouded.batch.tasks import release

FULL = 0.8
"""Share of a worker's memory limit above which SIGTERM is attributed to memory; dask terminates at 0.95."""


class ReleaseOnStop(WorkerPlugin):  # type: ignore[misc]
    """Releases the running tasks of a worker that stops for a reason other than its memory."""

    name = "unclouded-release-on-stop"

    def setup(self, worker: Any) -> None:
        """Install a handler of SIGTERM unless the process has one."""

        def end(number: int, _: Any) -> None:
            if not is_full(worker):
                release()
            os._exit(128 + number)

        with suppress(ValueError):  # a worker in a thread cannot install handlers; its process handles signals
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, end)

    def teardown(self, worker: Any) -> None:
        """Release the running tasks on a regular shutdown."""
        release()


def is_full(worker: Any) -> bool:
    """Return whether the process of a worker uses about all the memory it may use."""
    limit = worker.memory_manager.memory_limit
    return bool(limit) and worker.monitor.get_process_memory() > FULL * limit
