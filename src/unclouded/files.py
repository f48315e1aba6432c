"""Files that are either whole or absent, whatever happens to the process that writes them."""

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unclouded.errors import InputError, MachineError
from unclouded.formats import found_clause

PARTIAL = ".partial"
"""What the name of an unfinished file ends with; whoever finds one may delete it."""


_MACHINE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "choose a folder that can be written",
    errno.EFBIG: "choose a disk that takes larger files, or raise 'ulimit -f',",
    errno.EIO: "check the disk",
    errno.ENODEV: "check the disk",
    errno.ENXIO: "check the disk",
    errno.ESTALE: "mount its disk anew",
    errno.EMFILE: "raise 'ulimit -n'",
    errno.ENFILE: "close other programs",
}
"""Faults of a machine, by error number, and what to do about them."""
_PLACE = {
    errno.EACCES: "choose a folder you may write",
    errno.EPERM: "choose a folder you may write",
    errno.EBUSY: "choose another folder",
}
"""Further faults of a place that is written; where something is read they are faults of the input."""
_NAME = {
    errno.ENOTDIR: "choose another name",
    errno.EEXIST: "choose another name",
    errno.EISDIR: "choose another name",
    errno.ELOOP: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""Faults of a name that was chosen for an output."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; at the end of the block it takes the place of ``path`` at once.

    The temporary file keeps the suffix of ``path`` (writers go by it). An exception inside the block removes it and
    leaves an older ``path`` as it was; a killed process leaves only a file whose name ends in ``.partial`` before its
    suffix.

    Raises:
        MachineError: The disk is full, or the place cannot be written.
        InputError: The name cannot be written.
    """
    partial = path.with_name(_partial_name(path))
    with explained(path):
        try:
            _make_folder(path.parent)
            yield partial
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):  # what kept it from being written keeps it from being there
                partial.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Write a byte into a folder and forget it, so that hours of work do not end where nothing can be written.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The folder cannot be made.
    """
    with explained(folder):
        _make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"?")
            probe.flush()
            os.fsync(probe.fileno())  # some file systems look for room only now


def require_new_file(path: Path) -> None:
    """Check before the work that a file can be written under this name; an older file may be there.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The folder cannot be made, or the name is that of a folder or none that a file can have.
    """
    with explained(path):
        if path.is_dir():
            raise InputError(f"{named(path)} is a folder, expected the name of a file; choose another name")
    require_writable(path.parent)


def require_room(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        folder: Where files will be written; may be absent yet.
        needed: Bytes.
        purpose: What the message says the bytes are for, such as "unpack product.zip".

    Raises:
        MachineError: Fewer bytes are free.
    """
    free = free_bytes(folder)
    if free < needed:
        raise MachineError(
            f"{named(folder)} has {as_room(free, math.floor)} free, expected {as_room(needed)} to {purpose}; "
            "free some space, or choose another folder"
        )


def free_bytes(path: Path) -> int:
    """Return the bytes that are free where a path lies, or will lie."""
    existing = next(place for place in (path, *path.absolute().parents) if _mode(place, lambda _: True))
    return shutil.disk_usage(existing).free


def as_room(count: int, rounded: Callable[[float], int] = math.ceil) -> str:
    """Return a number of bytes in words, such as ``25 MiB`` or ``9.6 GiB``; what is needed is rounded up."""
    mebibytes = rounded(count / 2**20)
    return f"{mebibytes:,} MiB" if mebibytes < 1000 else f"{rounded(10 * count / 2**30) / 10:.1f} GiB"


def require_apart(written: Path, source: Path) -> None:
    """Refuse to write over what is read, or into a folder that is read.

    Raises:
        InputError: Both paths lead to one file, or one lies within the folder of the other.
    """
    try:
        within = source.is_dir() and written.resolve().is_relative_to(source.resolve())
        same = written.exists() and written.samefile(source)
    except (OSError, ValueError):  # one of them is not there, or is no name at all
        return
    if same or within:
        found = "is the input itself" if same else f"lies in the input {named(source)}"
        raise InputError(f"{named(written)} {found}; choose another place for the output")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # all parents were made: a place where none can be, such as /proc
        raise InputError(f"{named(folder)} cannot be made here; choose another place and run again") from error


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what keeps a path from being written into one line, whichever library met it.

    Raises:
        MachineError: The disk is full, or the place cannot be written.
        InputError: The name cannot be written.
    """
    try:
        yield
    except (InputError, MachineError):
        raise
    except Exception as error:
        numbers = [number for one in _causes(error) if (number := _number(one)) is not None]
        if not numbers:
            raise
        if numbers[0] in _NAME:
            raise InputError(_unwritable(path, numbers[0], _NAME[numbers[0]])) from error
        raise MachineError(_unwritable(path, numbers[0], (_MACHINE | _PLACE)[numbers[0]])) from error


def machine_fault(error: BaseException) -> MachineError | None:
    """Return the fault of the machine that an exception comes from; None where it is the input's, or a bug.

    Args:
        error: Any exception; those that it was raised from are looked at, too.
    """
    for one in _causes(error):
        if isinstance(one, MachineError):
            return MachineError(str(one))  # a new one: an exception that is raised from itself has causes without end
        if isinstance(one, FileNotFoundError) and "No usable temporary directory" in str(one):
            return MachineError(f"{one.strerror or one}; free some space there, or set TMPDIR, and run again")
        if (number := _number(one)) in _MACHINE:
            place = one.filename if isinstance(one, OSError) and isinstance(one.filename, str | os.PathLike) else None
            return MachineError(_unwritable(Path(place) if place else None, number, _MACHINE[number]))
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def _number(error: BaseException) -> int | None:
    """Return the error number of the operating system, if it is one that is explained.

    Libraries that are not written in Python leave only its words in their messages.
    """
    known = (*_MACHINE, *_PLACE, *_NAME)
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in known else None
    if isinstance(error, InputError):
        return None
    return next((number for number in known if os.strerror(number) in str(error)), None)


def _unwritable(path: Path | None, number: int, remedy: str) -> str:
    room = f" ({as_room(free_bytes(path), math.floor)} left)" if path is not None and number in _FULL else ""
    what = "a file" if path is None else named(path)
    return f"{what} cannot be written ({os.strerror(number)}); {remedy}{room} and run again"


def unwritable(path: Path, reason: str) -> MachineError:
    """Return the error for a file that a library could not write and did not say why, which a full disk is likely.

    Args:
        path: The file.
        reason: What the library said.
    """
    room = as_room(free_bytes(path), math.floor)
    return MachineError(f"{named(path)} cannot be written ({reason}); is the disk full? It has {room} left")


def _partial_name(path: Path) -> str:
    """Return a temporary name of at most 255 bytes, which is all that file systems take."""
    stem = path.stem.encode()[:80].decode(errors="ignore")
    suffix = path.suffix if len(path.suffix.encode()) <= 20 else ""
    return f".{stem}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}{suffix}"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial_files(folder: Path, stems: Collection[str] | None = None) -> int:
    """Delete what killed writers left in ``folder``; return how many files that were.

    Only for who holds the folder's lock, or knows that nobody writes files of these names, for nothing tells a killed
    writer's file from a busy one's.

    Args:
        folder: Where.
        stems: Names without suffix, and without dots, of files whose remains are deleted; all if omitted.
    """
    found = [*folder.glob(f".*{PARTIAL}"), *folder.glob(f".*{PARTIAL}.*")]
    leftovers = [path for path in found if stems is None or path.name[1:].partition(".")[0] in stems]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN becomes null, for NaN is not JSON."""
    write_text(path, json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and (content != content or content in (float("inf"), float("-inf"))):
        return None
    return content


def named(path: Path) -> str:
    """Return a path as messages show it: on one line, and cut where no file system takes it anyway."""
    text = str(path)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-50:]}"


def require_file(path: Path) -> None:
    """Refuse everything that is not a regular file.

    Raises:
        InputError: There is nothing, a folder, a device, or a name that no file can have.
    """
    if not _mode(path, stat.S_ISREG):
        raise InputError(f"{named(path)} is not a file{found_clause(path)}; check the path")


def require_folder(path: Path) -> None:
    """Refuse everything that is not a folder.

    Raises:
        InputError: There is nothing, a file, or a name that no folder can have.
    """
    if not _mode(path, stat.S_ISDIR):
        raise InputError(f"{named(path)} is not a folder{found_clause(path)}; check the path")


def _mode(path: Path, wanted: Callable[[int], bool]) -> bool:
    try:
        return wanted(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return False


def read_small(path: Path, limit: int = 4 << 20) -> bytes:
    """Read a file that has no business being large.

    Raises:
        InputError: There is no such regular file, it may not be read, or it exceeds ``limit`` bytes.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except PermissionError as error:
        raise InputError(f"{named(path)} may not be read; check its permissions") from error
    if len(content) > limit:
        raise InputError(f"{named(path)} has more than {limit:,} bytes, expected fewer; is it the right file?")
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """Return a SHA-256 of a file, or of a folder's files with their names.

    Raises:
        InputError: There is neither file nor folder.
    """
    if not path.is_dir():
        require_file(path)
        return sha256(path)
    listed = (
        f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in sorted(path.rglob("*")) if file.is_file()
    )
    return hashlib.sha256("".join(listed).encode()).hexdigest()
