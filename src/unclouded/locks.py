"""One writer a folder: everybody else is told who writes there."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from unclouded.errors import BusyError, InputError
from unclouded.files import explained, named, read_small, remove_partial_files, require_writable, write_text


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes, and clean up what a killed one left in it.

    The lock is the kernel's, so that the lock of a dead process is no lock.

    Args:
        folder: Made where it is absent.

    Raises:
        BusyError: Another process holds it; names the process, unless that has only just begun.
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The folder cannot be made.
    """
    require_writable(folder)
    owner, lock = folder / "lock.owner", FileLock(folder / "lock", timeout=0)
    try:
        with explained(folder / "lock"):
            lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"{named(folder)} is being written by {_holder(owner)}; wait for it or choose another folder"
        ) from error
    try:
        with explained(owner):
            write_text(owner, f"process {os.getpid()} on {socket.gethostname()}")  # replaces links and pipes
            remove_partial_files(folder)
        yield
        with suppress(OSError):  # the disk became read-only; the name is looked at only while the lock is held
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _holder(owner: Path) -> str:
    try:
        return read_small(owner).decode(errors="replace") or "another process"
    except InputError:  # it holds the lock, but has not written its name yet
        return "another process"
