"""Logging of the command line: messages of the logger ``unclouded`` on standard error and in a log file.

Informative messages are shown as they are, warnings with the prefix ``note:`` and errors with ``error:``. The console
is shared with the progress bars, which stay below the messages.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from unclouded.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("unclouded")

_PREFIXES = {logging.WARNING: "note: ", logging.ERROR: "error: "}


@lru_cache(maxsize=1)
def error_console() -> "Console":
    """Console of standard error, one for messages and progress bars."""
    from rich.console import Console

    return Console(stderr=True)


def is_quiet() -> bool:
    """Whether --quiet was given: no progress bars, no informative messages."""
    return _console_handler.level > logging.INFO


@contextmanager
def command_logging() -> Iterator[None]:
    """Show the messages of the package while a command runs; see :func:`configure_logging` for its options."""
    level = logger.level
    _console_handler.setLevel(logging.INFO)
    logger.addHandler(_console_handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for handler in [one for one in logger.handlers if isinstance(one, _ConsoleHandler | _LogFile)]:
            logger.removeHandler(handler)
            with suppress(OSError):
                handler.close()
        _console_handler.setLevel(logging.NOTSET)
        logger.setLevel(level)


def configure_logging(*, verbose: bool = False, quiet: bool = False, log_file: Path | None = None) -> None:
    """Apply the options of the command line.

    Args:
        verbose: Also show debug messages.
        quiet: Show warnings and errors only, and no progress bars.
        log_file: File to append all messages to.

    Raises:
        InputError: Both verbose and quiet.
        OSError: The log file cannot be written.
    """
    if verbose and quiet:
        raise InputError("expected --verbose or --quiet, got both; leave one out")
    _console_handler.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    if log_file is not None:
        logger.addHandler(_LogFile(log_file))
    logger.setLevel(logging.DEBUG if verbose or log_file is not None else _console_handler.level)


def log_failure(line: str) -> None:
    """Write the line that ends a command to the log file; the command prints it by itself."""
    logger.error(line, extra={"printed": True})


def printable(text: str) -> str:
    """Text with escapes for control characters, which file names may contain and a terminal would interpret."""
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


class _ConsoleHandler(logging.Handler):
    """Prints messages on standard error, above any progress bars, and never breaks lines."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "printed", False):
            return
        try:
            text = printable(self.format(record))
            error_console().print(text, markup=False, highlight=False, soft_wrap=True)
        except Exception:
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        if record.levelno < logging.INFO:
            return f"{record.name}: {super().format(record)}"
        return _PREFIXES.get(record.levelno, "") + super().format(record)


class _LogFile(logging.FileHandler):
    """Appends messages with time, level and logger to a file; a file that can no longer be written is given up."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        logger.removeHandler(self)
        with suppress(OSError):  # of the text that is still in its buffer
            self.close()
        logger.warning(f"{self.baseFilename} cannot be written; further messages are not logged")


_console_handler = _ConsoleHandler()
