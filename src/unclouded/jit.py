"""Functions compiled by numba, with their machine code cached on disk in private folders only."""

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from unclouded.io.array_cache import default_folder

F = TypeVar("F", bound=Callable[..., Any])

_logger = logging.getLogger(__name__)


def compiled(function: F) -> F:
    """Compile a function at its first call; it releases the GIL.

    The machine code is cached beside the source, else in the user's cache folder, or in ``NUMBA_CACHE_DIR``. A folder
    that belongs to another user, or that others may write, is not used, because its contents are executed; the cache
    folder of this package is used instead. Without any private folder, each process compiles again. numba detects
    changes in the file of a compiled function only, so a compiled function must not call one of another file.
    """
    return _compiled(function)


def compiled_in_lanes(function: F) -> F:
    """Compile a function like :func:`compiled`, with sums in any order, so that they use vector instructions.

    The order is the same for every call on one machine.
    """
    return _compiled(function, fastmath={"reassoc", "contract"})


def compiled_parallel(function: F) -> F:
    """Compile a function like :func:`compiled`, with its ``prange`` loops on several threads."""
    return _compiled(function, parallel=True)


def _compiled(function: F, **options: Any) -> F:
    for folder in ("", str(default_folder() / "compiled")):
        if (cached := _cached(function, folder, options)) is not None:
            return cast("F", cached)
    _logger.debug("no private folder for the machine code of %s: every process compiles it again", function.__name__)
    return cast("F", numba.njit(function, nogil=True, **options))


def _cached(function: Callable[..., Any], chosen: str, options: dict[str, Any]) -> Any:
    """Return the function with its machine code cached in a private folder; None if the folder is not private.

    Args:
        function: Function to compile.
        chosen: Cache folder; numba's own choice if empty.
        options: Options of numba.
    """
    before = numba.config.CACHE_DIR
    try:
        if chosen:
            Path(chosen).mkdir(mode=0o700, parents=True, exist_ok=True)
            numba.config.CACHE_DIR = chosen
        cached = numba.njit(function, nogil=True, cache=True, **options)
        folder = Path(cached._cache.cache_path)
        if chosen and is_private(Path(chosen)):
            folder.chmod(0o700)
    except (RuntimeError, OSError):  # numba found no writable folder
        return None
    finally:
        numba.config.CACHE_DIR = before
    return cached if is_private(folder) else None


def is_private(folder: Path) -> bool:
    """Return whether a folder and its entries belong to this user, and no other user may write there."""
    if os.name != "posix":
        return True
    own = os.geteuid()
    try:
        there = folder.lstat()
        private = stat.S_ISDIR(there.st_mode) and there.st_uid == own and not there.st_mode & 0o022
        return private and all(entry.stat(follow_symlinks=False).st_uid == own for entry in list(os.scandir(folder)))
    except OSError:
        return False
