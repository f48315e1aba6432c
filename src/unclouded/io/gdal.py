"""GDAL configuration of this package: fixed options, file names in any encoding, readable log messages."""

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning

from unclouded.errors import InputError
from unclouded.files import resolved

GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_NUM_THREADS": "1",  # a truncated file raises only where one thread decodes
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no side-car file changes what is read
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GTIFF_SRS_SOURCE": "EPSG",
    "GDAL_CACHEMAX": 256 << 20,  # bytes; by default a twentieth of the memory, however much that is
}
"""GDAL options that override those of the environment."""


@contextmanager
def gdal_session(**options: str) -> Iterator[None]:
    """Context in which GDAL uses :data:`GDAL_OPTIONS` and does not warn about images without georeference.

    Args:
        options: Further GDAL options.
    """
    _log_undecodable_messages()
    with rasterio.Env(**GDAL_OPTIONS, **options), _UNLOCATED.ignored():
        yield


class _SharedFilter:
    """Warning filter shared by the sessions of all threads.

    ``warnings.catch_warnings`` restores the filters of the whole process on exit, so the first thread to exit would
    enable the warnings of the others again. This filter is removed when the last session ends.
    """

    def __init__(self, category: type[Warning]) -> None:
        self._category = category
        self._lock = threading.Lock()
        self._sessions = 0
        self._added = False

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Ignore the warnings in a block."""
        entry = ("ignore", None, self._category, None, 0)
        with self._lock:
            self._sessions += 1
            if entry not in warnings.filters:
                warnings.simplefilter("ignore", self._category)
                self._added = True
        try:
            yield
        finally:
            with self._lock:
                self._sessions -= 1
                if not self._sessions and self._added:
                    self._added = False
                    with suppress(ValueError):  # other code has restored older filters meanwhile
                        warnings.filters.remove(entry)  # type: ignore[attr-defined]  # a list, typed as a sequence


_UNLOCATED = _SharedFilter(NotGeoreferencedWarning)


@contextmanager
def gdal_path(path: Path) -> Iterator[Path]:
    """Context with a path that GDAL can open: GDAL requires UTF-8, file systems allow any bytes.

    Args:
        path: Existing file, or new file in an existing folder; the name of a new file has to be UTF-8.

    Yields:
        The absolute path, or a path through a temporary symbolic link that is removed at the end of the block.
    """
    folder, name = os.path.split(os.fsencode(resolved(path)))
    try:
        direct = Path(os.path.join(folder, name).decode())  # noqa: PTH118  (bytes)
    except UnicodeDecodeError:
        direct = None
    if direct is not None:
        yield direct
        return
    with tempfile.TemporaryDirectory(prefix="unclouded-") as links:
        link = Path(links, "link")
        try:
            named = link / name.decode()
        except UnicodeDecodeError:
            link.symlink_to(os.fsdecode(os.path.join(folder, name)))  # noqa: PTH118
            yield link
        else:
            link.symlink_to(os.fsdecode(folder))
            yield named


@cache
def require_projections() -> None:
    """Check that PROJ finds its database: without it GDAL reads and writes images without CRS.

    Raises:
        InputError: PROJ_DATA or PROJ_LIB, which installers of other programs set, points to another PROJ version.
    """
    try:
        CRS.from_epsg(4326)
    except CRSError as error:
        given = ", ".join(f"{name}={os.environ[name]}" for name in ("PROJ_DATA", "PROJ_LIB") if name in os.environ)
        found = given or gdal_reason(error)
        raise InputError(
            f"PROJ finds no coordinate systems ({found}); unset PROJ_DATA and PROJ_LIB and run again"
        ) from error


def gdal_reason(error: Exception) -> str:
    """Return the root cause of a GDAL error, on one line."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return " ".join(str(cause).split())[:160]


@cache
def _log_undecodable_messages() -> None:
    """Log GDAL messages that quote bytes of a damaged file; rasterio 1.4 prints tracebacks instead.

    Its callback decodes messages as UTF-8. A failure there cannot be caught by any caller: Cython first passes it to
    ``sys.excepthook``, without traceback, then to ``sys.unraisablehook``.
    """
    print_uncaught, print_unraisable = sys.excepthook, sys.unraisablehook

    def uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not (kind is UnicodeDecodeError and traceback is None):
            print_uncaught(kind, error, traceback)

    def unraisable(report: Any) -> None:
        error = report.exc_value
        if isinstance(error, UnicodeDecodeError) and str(report.object).startswith("rasterio._env"):
            logging.getLogger("rasterio._env").warning(error.object.decode(errors="backslashreplace"))
        else:
            print_unraisable(report)

    sys.excepthook, sys.unraisablehook = uncaught, unraisable
