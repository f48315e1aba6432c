"""Lock of a folder, so that only one process writes there; the error for the others names that process."""

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
    """Lock a folder for the duration of the block, and delete the unfinished files of killed processes.

    The kernel releases the lock when its process dies.

    Args:
        folder: Folder to lock; created if it is missing.

    Raises:
        BusyError: Another process holds the lock; the message names it, unless it has just started.
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The folder cannot be created.
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
        with suppress(OSError):  # on a read-only disk the name may stay; it is read only while the lock is held
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _holder(owner: Path) -> str:
    try:
        return read_small(owner).decode(errors="replace") or "another process"
    except InputError:  # the process has not written its name yet
        return "another process"
