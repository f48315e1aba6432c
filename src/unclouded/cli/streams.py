"""Robust standard streams: full, closed, not UTF-8, or a pipe without a reader."""

import io
import os
import sys
from typing import Any, TextIO

from unclouded.errors import MachineError


def guard_streams() -> None:
    """Replace standard output and error by streams that fail in one line.

    Writing to standard output raises one :class:`MachineError` at most. Standard error that cannot be written is
    ignored, so that the work continues. Characters that the encoding lacks are escaped.
    """
    _open_closed_descriptors()
    if sys.stdout is sys.__stdout__:  # not if a test or a notebook has replaced it
        sys.stdout = _guarded(sys.__stdout__, _Output(1, "w", closefd=False))
    if sys.stderr is sys.__stderr__:
        sys.stderr = _guarded(sys.__stderr__, _Messages(2, "w", closefd=False))


def _open_closed_descriptors() -> None:
    """Open closed descriptors 0 to 2 on the null device, so that no result file is opened under one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _guarded(stream: TextIO | None, raw: io.FileIO) -> TextIO:
    encoding = stream.encoding if stream else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )


class _Output(io.FileIO):
    """Standard output that raises once if it cannot be written and discards everything afterwards."""

    failed = False

    def write(self, content: Any, /) -> int:
        if not self.failed:
            try:
                return super().write(content)
            except OSError as error:
                self.failed = True
                raise MachineError(
                    f"standard output cannot be written ({error.strerror}); redirect it elsewhere and run again"
                ) from error
        return memoryview(content).nbytes


class _Messages(io.FileIO):
    """Standard error that discards what cannot be written."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes
