"""Files that are either whole or absent, whatever happens to the process that writes them."""

import errno
import hashlib
import io
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
from unclouded.machine import memory_fault

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
    existing = next(place for place in (path, *path.absolute().parents) if _known_mode(place)[0])
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
        within = source.is_dir() and resolved(written).is_relative_to(resolved(source))
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
            # a new one: an exception that is raised from itself has causes without end
            return type(one)(str(one))
        if (memory := memory_fault(one)) is not None:
            return memory
        if isinstance(one, FileNotFoundError) and "No usable temporary directory" in str(one):
            return MachineError(f"{one.strerror or one}; free some space there, or set TMPDIR, and run again")
        if (number := _number(one)) in _MACHINE:
            place = one.filename if isinstance(one, OSError) and isinstance(one.filename, str | os.PathLike) else None
            return MachineError(_unwritable(Path(place) if place else None, number, _MACHINE[number]))
    return None


def path_fault(error: BaseException) -> InputError | None:
    """Return the fault of a path that an exception comes from, for paths that no earlier check has met.

    Args:
        error: Any exception; those that it was raised from are looked at, too.
    """
    for one in _causes(error):
        if isinstance(one, OSError) and one.strerror and isinstance(one.filename, str | bytes | os.PathLike):
            path = Path(os.fsdecode(one.filename))
            return InputError(f"{named(path)} cannot be used ({one.strerror}); check the path and its permissions")
        if isinstance(one, UnicodeEncodeError) and one.reason == "surrogates not allowed":
            return InputError(f"{one.object[:200]!a} is not UTF-8; choose another name")
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
    advice = f"is the disk full? It has {as_room(free_bytes(path), math.floor)} left; free some space and run again"
    return MachineError(f"{named(path)} cannot be written ({reason}); {advice}")


def _partial_name(path: Path) -> str:
    """Return a temporary name of at most 255 bytes, which is all that file systems take."""
    stem = os.fsdecode(os.fsencode(path.stem)[:80].decode(errors="ignore").encode())
    suffix = path.suffix if path.suffix.isascii() and len(path.suffix) <= 20 else ""
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
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN becomes null, and bytes of names that are no UTF-8 are escaped."""
    write_text(path, json.dumps(_as_json(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _as_json(content: Any) -> Any:
    if isinstance(content, dict):
        return {_unicode(str(key)): _as_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_as_json(value) for value in content]
    if isinstance(content, float) and (content != content or content in (float("inf"), float("-inf"))):
        return None
    return _unicode(content) if isinstance(content, str) else content


def _unicode(text: str) -> str:
    """Escape what Python keeps of bytes that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def decoding(path: Path, fault: str, remedy: str = "fetch it again") -> Iterator[None]:
    """Turn every exception of a decoder into an :class:`InputError`.

    A decoder that meets damaged or hostile bytes raises whatever its author did not foresee, so the exceptions are
    not listed. Only calls of the decoder belong in the block: a mistake of our own must stay visible.

    Args:
        path: Name of the file in the message.
        fault: What the message says of the file, such as ``is not a whole zip``.
        remedy: What to do next.

    Raises:
        InputError: The decoder raised an exception.
        MachineError: It comes from the machine, such as a disk that cannot be read.
    """
    try:
        yield
    except (InputError, MachineError, MemoryError):
        raise
    except Exception as error:
        if broken := machine_fault(error):
            raise broken from error
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{named(path)} {fault} ({reason}); {remedy}") from error


def named(path: Path) -> str:
    """Return a path as messages show it: on one line, and cut where no file system takes it anyway."""
    text = str(path)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-50:]}"


def require_file(path: Path) -> None:
    """Refuse everything that is not a regular file, before it is opened: opening a named pipe waits for its writer.

    Raises:
        InputError: There is nothing, a folder, a device, a pipe, or a name that no file can have.
    """
    _require_kind(path, stat.S_ISREG, "a file")


def require_folder(path: Path) -> None:
    """Refuse everything that is not a folder.

    Raises:
        InputError: There is nothing, a file, or a name that no folder can have.
    """
    _require_kind(path, stat.S_ISDIR, "a folder")


def require_there(*paths: Path | None) -> None:
    """Refuse paths at which there is nothing; what there is may be of any kind.

    Raises:
        InputError: There is nothing, or it cannot be looked at.
    """
    for path in paths:
        if path is not None and not _known_mode(path)[0]:
            require_file(path)


def is_file(path: Path) -> bool:
    """Return whether there is a regular file; a name that no file can have is none."""
    return _known_mode(path)[0] == stat.S_IFREG


def is_folder(path: Path) -> bool:
    """Return whether there is a folder; a name that no folder can have is none."""
    return _known_mode(path)[0] == stat.S_IFDIR


def resolved(path: Path) -> Path:
    """Return an absolute path without links.

    Raises:
        InputError: The name is no path, or its links form a loop.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links; ValueError: a zero byte
        raise InputError(f"{named(path)} is not a path ({_why(error)}); check its name and its links") from error


def _require_kind(path: Path, fits: Callable[[int], bool], expected: str) -> None:
    kind, reason = _known_mode(path)
    if not fits(kind):
        raise InputError(f"{named(path)} is not {expected}{reason or found_clause(path)}; check the path")


def _known_mode(path: Path) -> tuple[int, str]:
    """Return the type of a file, 0 where there is none, and why it cannot be known where that is no plain absence."""
    try:
        return stat.S_IFMT(path.stat().st_mode), ""
    except (FileNotFoundError, NotADirectoryError):
        return 0, ""
    except (OSError, ValueError) as error:
        return 0, f" ({_why(error)})"


def _why(error: Exception) -> str:
    """Return why a path cannot be used, in the words of the system where it has some."""
    return getattr(error, "strerror", None) or ("loop of links" if isinstance(error, RuntimeError) else str(error))


@contextmanager
def open_file(path: Path) -> Iterator[io.BufferedReader]:
    """Open a regular file; the block reads it and does nothing else with files.

    Raises:
        InputError: There is no such regular file, or it cannot be read.
    """
    require_file(path)
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        if fault := machine_fault(error):
            raise fault from error
        raise InputError(f"{named(path)} cannot be read ({error.strerror}); check its permissions") from error


def read_small(path: Path, limit: int = 4 << 20) -> bytes:
    """Read a file that has no business being large.

    Raises:
        InputError: There is no such regular file, it may not be read, or it exceeds ``limit`` bytes.
    """
    with open_file(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"{named(path)} has more than {limit:,} bytes, expected fewer; is it the right file?")
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: There is no such regular file, or it cannot be read.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """Return a SHA-256 of a file, or of a folder's files with their names.

    Raises:
        InputError: There is neither file nor folder.
    """
    if not is_folder(path):
        return sha256(path)
    listed = (
        f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in sorted(path.rglob("*")) if is_file(file)
    )
    return hashlib.sha256("".join(listed).encode(errors="surrogateescape")).hexdigest()
