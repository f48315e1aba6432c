"""Six errors that are not bugs; every other exception is one."""


class InputError(ValueError):
    """Bad input or settings: the message says what was expected, what was found, what to do next.

    Commands print the message on one line, without a traceback, and end with status 2.
    """


class MachineError(Exception):
    """The machine, not the input, keeps a command from going on: a full or read-only disk, a folder of another user.

    It is no :class:`InputError`, so that code that passes over bad input never passes over a full disk. Commands print
    the message on one line and end with status 2; the same command goes on once the cause is gone.
    """


class OutOfMemoryError(MachineError):
    """Memory ran out: of the machine, of a limit such as ``ulimit -v``, or of a graphics card."""


class BusyError(RuntimeError):
    """Somebody else holds the lock of a folder; commands end with status 3."""


class StoppedError(RuntimeError):
    """A run stopped itself for a reason it names, with its last good state on disk; commands end with status 1."""


class InterruptedRunError(RuntimeError):
    """A signal asked a run to end, and it did, with its state on disk; commands end with status 128 + its number.

    Args:
        signal: Number of the signal.
        message: What to do next.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal
