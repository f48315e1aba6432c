"""Exceptions with a message for the user; any other exception is a bug."""


class InputError(ValueError):
    """Invalid input or settings; the message states what was expected, what was found, and what to do next.

    Commands print the message on one line, without a traceback, and exit with status 2.
    """


class MachineError(Exception):
    """A fault of the machine rather than the input: a full or read-only disk, a folder of another user.

    It is not an :class:`InputError`, so that code that skips bad input never skips a full disk. Commands print the
    message on one line and exit with status 2; the same command resumes once the cause is removed.
    """


class OutOfMemoryError(MachineError):
    """Memory is exhausted: of the machine, of a limit such as ``ulimit -v``, or of a GPU."""


class BusyError(RuntimeError):
    """Another process holds the lock of a folder; commands exit with status 3."""


class StoppedError(RuntimeError):
    """A run stopped itself for the reason given, with its last good state on disk; commands exit with status 1."""


class InterruptedRunError(RuntimeError):
    """A run was stopped by a signal, with its state on disk; commands exit with status 128 + signal number.

    Args:
        signal: Signal number.
        message: Next step for the user.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal
