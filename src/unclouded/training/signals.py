"""Signals that ask a run to end: it finishes its step, saves, and says by whose wish it ended."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = (signal.SIGTERM, signal.SIGINT)
"""SIGTERM comes from batch systems before they take a machine away, SIGINT from the keyboard."""


class Request:
    """Whether somebody asked the run to end.

    Attributes:
        signal: The number of the signal, None as long as there was none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None


@contextmanager
def heard_signals() -> Iterator[Request]:
    """Note the first signal that asks for an end; the second one takes its usual effect.

    Python hears signals in the main thread only; elsewhere none is noted.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in ASKING}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in ASKING:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def live_with_parent(parent: int, worker: int) -> None:
    """Let a process that reads patches live as long as its parent: a signal to the group is the parent's.

    A parent that was killed while the process started is not missed by torch, which takes whoever adopted the process
    for its parent: it would wait for ever.

    Args:
        parent: Identity of the process that started this one.
        worker: Number of this one, from torch.

    Raises:
        SystemExit: The parent is dead already.
    """
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    if os.name == "posix" and os.getppid() != parent:
        raise SystemExit(1)
