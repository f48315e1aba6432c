"""What the machine has: how many processes suit it, and memory that ran out, whoever reports it."""

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
"""Words for it in exceptions that are no MemoryError; oneDNN only tells what it could not create."""
_DEVICE = re.compile(r"(?i)\b(?:CUDA|HIP|MPS|CUBLAS|CUDNN)")
_WANTED = re.compile(r"(?i)(?:allocate|mmap|allocating)\D{0,12}?(\d+(?:\.\d+)?) ?(bytes|B|[KMGTPE]i?B)?\b")
_UNITS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


PROCESSES_A_CORE = 4
"""More processes than this for each core only cost memory."""


def most_processes() -> int:
    """Return the most processes that suit this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return PROCESSES_A_CORE * cores


def capped(name: str, wanted: int, share: int = 1) -> tuple[int, str]:
    """Return how many processes to start, and a remark where that is fewer than wanted.

    Args:
        name: Of the option or setting.
        wanted: Its value.
        share: Callers on this machine that each start as many.
    """
    most = max(1, most_processes() // share)
    if wanted <= most:
        return wanted, ""
    return most, f"{name} is {wanted:,}, more than suits this machine; {most:,} are started"


def memory_fault(error: BaseException) -> OutOfMemoryError | None:
    """Return the one line for memory that ran out; None for any other exception.

    Args:
        error: Any exception; causes are for the caller to look through.
    """
    if isinstance(error, ValueError | KeyError):  # bad input, whatever its words
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
    wanted, used, allowed = _wanted(text), used_bytes(), allowed_bytes()
    more = f"at least {_gib(used + wanted)} are needed: {_gib(wanted)} more than" if wanted else "more is needed than"
    return OutOfMemoryError(f"memory ran out: {more} the {_gib(used)} in use of {_gib(allowed)}")


def used_bytes() -> int:
    """Return the memory of this process: its addresses where they are limited (``ulimit -v``), else resident memory."""
    if not (status := Path("/proc/self/statm")).is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    addresses, resident = (int(pages) * resource.getpagesize() for pages in status.read_text().split()[:2])
    return addresses if _limit() is not None else resident


def allowed_bytes() -> int:
    """Return the memory that this process may have: the limit of its addresses or of its group, else the machine's."""
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


def _wanted(text: str) -> int:
    if not (found := _WANTED.search(text)):
        return 0
    return int(float(found[1]) * 2 ** _UNITS[(found[2] or "b")[0].lower()])


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{max(1, count >> 20)} MiB"


def _first(text: str) -> str:
    return " ".join(text.split())[:160].rsplit(". ", 1)[0]
