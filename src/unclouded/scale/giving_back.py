"""What a dask worker does with the tasks it is at when it is told to stop: it gives them back.

A worker that is killed cannot, so that a task which kills its workers is found out.
"""

import os
import signal
from contextlib import suppress
from typing import Any

from distributed import WorkerPlugin

from unclouded.scale.tasks import give_back


class GivingBack(WorkerPlugin):  # type: ignore[misc]
    """Lets an end that is not the fault of a task cost it no attempt."""

    name = "unclouded-giving-back"

    def setup(self, worker: Any) -> None:
        """Begin to listen to SIGTERM, where nobody else does."""
        with suppress(ValueError):  # a worker in a thread leaves signals to whoever started it
            if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _end)

    def teardown(self, worker: Any) -> None:
        """Give back; the worker ends in order."""
        give_back()


def _end(number: int, _: Any) -> None:
    give_back()
    os._exit(128 + number)
