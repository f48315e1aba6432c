"""Limits of the machine: the number of processes, and memory errors of any library."""

import errno
import os
import re
import resource
from pathlib import Path

from unclouded.errors import OutOfMemoryError

_TEXTS = re.compile(
    r"(?i)out of memory|can(?:no|')t allocate memory|unable to (?:allocate|mmap)|bad_alloc|failed to map segment"
    r"|can't start new thread|could not create a (?:primitive|memory)|insufficient memory|memory allocation"
    r"|not enough memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
)
"""Messages of exceptions other than MemoryError; oneDNN only names what it could not create."""
_DEVICE = re.compile(r"(?i)\b(?:CUDA|HIP|MPS|CUBLAS|CUDNN)")
_REQUESTED = re.compile(r"(?i)(?:allocate|mmap|allocating)\D{0,12}?(\d+(?:\.\d+)?) ?(bytes|B|[KMGTPE]i?B)?\b")
_UNITS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


PROCESSES_A_CORE = 4
"""Maximum processes per core; more only cost memory."""


def most_processes() -> int:
    """Return the maximum number of processes for this machine."""
    return PROCESSES_A_CORE * _cores()


def threads() -> int:
    """Return the number of threads for work that scales: the usable cores, or ``OMP_NUM_THREADS`` if that is less."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return min(_cores(), max(int(allowed), 1)) if allowed.isdecimal() else _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def capped(name: str, requested: int, share: int = 1) -> tuple[int, str]:
    """Return the number of processes to start, and a warning if it is less than requested; empty otherwise.

    Args:
        name: Name of the option or setting, for the warning.
        requested: Requested number.
        share: Number of callers on this machine that each start as many.
    """
    most = max(1, most_processes() // share)
    if requested <= most:
        return requested, ""
    return most, f"{name} is {requested:,}, more than suits this machine; {most:,} are started"


def memory_fault(error: BaseException) -> OutOfMemoryError | None:
    """Return the error for exhausted memory; None for any other exception.

    Args:
        error: Any exception; its causes are not searched.
    """
    if isinstance(error, ValueError | KeyError):  # bad input, whatever its message
        return None
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if not (isinstance(error, MemoryError) or number == errno.ENOMEM or (number is None and _TEXTS.search(text))):
        return None
    if _DEVICE.search(text):
        return OutOfMemoryError(f"the memory of the device ran out ({_first(text)})")
    if isinstance(error, ImportError):
        return OutOfMemoryError(
            "memory ran out while libraries were loaded: they take about 4 GiB of addresses,"
            f" {_gib(allowed_bytes())} are allowed"
        )
    requested, used, allowed = _requested_bytes(text), used_bytes(), allowed_bytes()
    more = (
        f"at least {_gib(used + requested)} are needed: {_gib(requested)} more than"
        if requested
        else "more is needed than"
    )
    return OutOfMemoryError(f"memory ran out: {more} the {_gib(used)} in use of {_gib(allowed)}")


def used_bytes() -> int:
    """Return the memory of this process: address space if that is limited (``ulimit -v``), else resident memory."""
    if not (status := Path("/proc/self/statm")).is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    addresses, resident = (int(pages) * resource.getpagesize() for pages in status.read_text().split()[:2])
    return addresses if _limit() is not None else resident


def allowed_bytes() -> int:
    """Return the memory limit of this process: of its address space or control group, else of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (limit := _limit()) is not None:
        return limit
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if (path := Path(file)).is_file() and (text := path.read_text().strip()).isdigit():
            return min(int(text), machine)
    return machine


def _limit() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _requested_bytes(text: str) -> int:
    if not (found := _REQUESTED.search(text)):
        return 0
    return int(float(found[1]) * 2 ** _UNITS[(found[2] or "b")[0].lower()])


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{max(1, count >> 20)} MiB"


def _first(text: str) -> str:
    return " ".join(text.split())[:160].rsplit(". ", 1)[0]
