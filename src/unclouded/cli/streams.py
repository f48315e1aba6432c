"""Standard output and standard error as a command has to expect them: full, closed, not UTF-8, or without a reader."""

import io
import os
import sys
from typing import Any, TextIO

from unclouded.errors import MachineError


def guard_streams() -> None:
    """Let :func:`print` and its relatives raise only a :class:`MachineError` of one line, and that only once.

    What an encoding cannot show is escaped. Standard error that cannot be written is passed over: the work goes on.
    """
    _open_closed_descriptors()
    if sys.stdout is sys.__stdout__:  # not where a test or a notebook took its place
        sys.stdout = _guarded(sys.__stdout__, _Output(1, "w", closefd=False))
    if sys.stderr is sys.__stderr__:
        sys.stderr = _guarded(sys.__stderr__, _Messages(2, "w", closefd=False))


def _open_closed_descriptors() -> None:
    """Give the descriptors 0 to 2 to the null device where they are closed, lest a file of results gets one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _guarded(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    encoding = stream.encoding if stream else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )


class _Output(io.FileIO):
    """Raises where nothing can be written; afterwards it takes everything, so that the command can end in peace."""

    lost = False

    def write(self, content: Any, /) -> int:
        if not self.lost:
            try:
                return super().write(content)
            except OSError as error:
                self.lost = True
                raise MachineError(
                    f"standard output cannot be written ({error.strerror}); send it to another place and run again"
                ) from error
        return memoryview(content).nbytes


class _Messages(io.FileIO):
    """Passes over what cannot be written."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes
