"""Compiled functions, kept on disk wherever a place for them can be written."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function at its first call; other threads run beside it.

    The machine code is kept beside the source, else in the user's cache folder, or where ``NUMBA_CACHE_DIR`` says;
    where none of these can be written, each process compiles anew. A change of a compiled function is noticed in its
    own file only: call no compiled function of another file.
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
    try:
        return cast("F", numba.njit(function, nogil=True, cache=True, **options))
    except RuntimeError:  # numba found no folder to write
        return cast("F", numba.njit(function, nogil=True, **options))
