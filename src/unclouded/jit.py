"""Compiled functions, kept on disk wherever there is a private place for them."""

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
    """Compile a function at its first call; other threads run beside it.

    The machine code is kept beside the source, else in the user's cache folder, or in ``NUMBA_CACHE_DIR``. A folder
    that belongs to another user, or that others may write, is not used, because whoever writes there decides which
    code runs: the code is kept in the cache folder of this package instead. Where there is no place, each process
    compiles anew. A change of a compiled function is noticed in its own file only: call no compiled function of
    another file.
    """
    return _compiled(function)


def compiled_in_lanes(function: F) -> F:
    """Compile a function as :func:`compiled` does, and let it take its sums in any order, so in several lanes at once.

    The order is the same at every call on one machine.
    """
    return _compiled(function, fastmath={"reassoc", "contract"})


def compiled_parallel(function: F) -> F:
    """Compile a function as :func:`compiled` does, with the turns of its ``prange`` on several threads."""
    return _compiled(function, parallel=True)


def _compiled(function: F, **options: Any) -> F:
    for chosen in ("", str(default_folder() / "compiled")):
        if (kept := _kept(function, chosen, options)) is not None:
            return cast("F", kept)
    _logger.debug("no private folder for the machine code of %s: every process compiles it anew", function.__name__)
    return cast("F", numba.njit(function, nogil=True, **options))


def _kept(function: Callable[..., Any], chosen: str, options: dict[str, Any]) -> Any:
    """Return a function whose machine code is kept in a private folder, None where there is none.

    Args:
        function: The function.
        chosen: Folder for machine code; numba's own choice if empty.
        options: Options of numba.
    """
    before = numba.config.CACHE_DIR
    try:
        if chosen:
            Path(chosen).mkdir(mode=0o700, parents=True, exist_ok=True)
            numba.config.CACHE_DIR = chosen
        kept = numba.njit(function, nogil=True, cache=True, **options)
        folder = Path(kept._cache.cache_path)
        if chosen and is_private(Path(chosen)):
            folder.chmod(0o700)
    except (RuntimeError, OSError):  # numba found no folder to write
        return None
    finally:
        numba.config.CACHE_DIR = before
    return kept if is_private(folder) else None


def is_private(folder: Path) -> bool:
    """Return whether a folder and all that is in it belongs to this user, and nobody else may write there."""
    if os.name != "posix":
        return True
    own = os.geteuid()
    try:
        there = folder.lstat()
        private = stat.S_ISDIR(there.st_mode) and there.st_uid == own and not there.st_mode & 0o022
        return private and all(entry.stat(follow_symlinks=False).st_uid == own for entry in list(os.scandir(folder)))
    except OSError:
        return False
