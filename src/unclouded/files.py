"""Atomic file writing, checks of paths, and error messages for faults of the file system.

:func:`whole_file` writes a file completely or not at all. :func:`explained`, :func:`machine_fault` and
:func:`path_fault` turn errors of the operating system into one line that names the path and the remedy. The
``require_*`` functions check paths before the work begins.
"""

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
"""Ending of the name of an unfinished file; such files may be deleted."""

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
"""Remedies for faults of the machine, by error number."""
_PLACE = {
    errno.EACCES: "choose a folder you may write",
    errno.EPERM: "choose a folder you may write",
    errno.EBUSY: "choose another folder",
}
"""Remedies for further faults of an output path; for an input path they are faults of the input."""
_NAME = {
    errno.ENOTDIR: "choose another name",
    errno.EEXIST: "choose another name",
    errno.EISDIR: "choose another name",
    errno.ELOOP: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""Remedies for faults of an output name."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ONLY_WRITING = (*_FULL, errno.EROFS, errno.EFBIG)
"""Faults that reading never meets."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces ``path`` atomically at the end of the block.

    The temporary file keeps the suffix of ``path``, because writers choose the format by it. An exception inside the
    block deletes the temporary file and keeps an existing ``path``; a killed process leaves only a file whose name ends
    in ``.partial`` before its suffix.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The name is not valid for a file.
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
            with suppress(OSError):  # the cause of the first error can prevent the deletion as well
                partial.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Check, by writing a byte to a temporary file, that a folder can be written; create it if it is missing.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The folder cannot be created.
    """
    with explained(folder):
        _make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"?")
            probe.flush()
            os.fsync(probe.fileno())  # some file systems allocate blocks only now


def require_new_file(path: Path) -> None:
    """Check that a file can be written at a path; an existing file is allowed.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The folder cannot be created, or the path is a folder or not a valid name.
    """
    with explained(path):
        if path.is_dir():
            raise InputError(f"{named(path)} is a folder, expected the name of a file; choose another name")
    require_writable(path.parent)


def require_room(folder: Path, needed: int, purpose: str) -> None:
    """Check that a disk has enough free space.

    Args:
        folder: Output folder; it may not exist yet.
        needed: Required bytes.
        purpose: Purpose of the bytes, for the message, such as "unpack product.zip".

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
    """Return the free bytes of the disk of a path, which may not exist yet."""
    existing = next(place for place in (path, *path.absolute().parents) if _known_mode(place)[0])
    return shutil.disk_usage(existing).free


def as_room(count: int, rounded: Callable[[float], int] = math.ceil) -> str:
    """Return a number of bytes as text, such as ``25 MiB`` or ``9.6 GiB``; rounded up by default."""
    mebibytes = rounded(count / 2**20)
    return f"{mebibytes:,} MiB" if mebibytes < 1000 else f"{rounded(10 * count / 2**30) / 10:.1f} GiB"


def require_apart(written: Path, source: Path) -> None:
    """Check that an output is neither an input nor inside an input folder.

    Args:
        written: Output path.
        source: Input path.

    Raises:
        InputError: Both paths are the same file, or the output lies in the input folder.
    """
    try:
        within = source.is_dir() and resolved(written).is_relative_to(resolved(source))
        same = written.exists() and written.samefile(source)
    except (OSError, ValueError):  # one of them does not exist, or is not a valid path
        return
    if same or within:
        found = "is the input itself" if same else f"lies in the input {named(source)}"
        raise InputError(f"{named(written)} {found}; choose another place for the output")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # although parents are created: a file system such as /proc
        raise InputError(f"{named(folder)} cannot be made here; choose another place and run again") from error


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn write errors of any library in the block into one line with the path and the remedy.

    Args:
        path: Output path, for the message.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        InputError: The name is not valid for a file.
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
    """Return the fault of the machine that caused an exception; None for faults of the input and for bugs.

    Args:
        error: Any exception; its chain of causes is searched.
    """
    for one in _causes(error):
        if isinstance(one, MachineError):
            # a copy: an exception that is raised from itself would have an endless chain of causes
            return type(one)(str(one))
        if (memory := memory_fault(one)) is not None:
            return memory
        if isinstance(one, FileNotFoundError) and "No usable temporary directory" in str(one):
            return MachineError(f"{one.strerror or one}; free some space there, or set TMPDIR, and run again")
        if (number := _number(one)) in _MACHINE:
            place = one.filename if isinstance(one, OSError) and isinstance(one.filename, str | os.PathLike) else None
            use = "written" if number in _ONLY_WRITING else "read or written"
            return MachineError(_unwritable(Path(place) if place else None, number, _MACHINE[number], use))
    return None


def path_fault(error: BaseException) -> InputError | None:
    """Return the fault of a path that caused an exception, for paths that no earlier check covers.

    Args:
        error: Any exception; its chain of causes is searched.
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
    """Return the error number of the operating system; None if it is not one of those listed above.

    Libraries written in C keep only the text of the error in their messages.
    """
    known = (*_MACHINE, *_PLACE, *_NAME)
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in known else None
    if isinstance(error, InputError):
        return None
    return next((number for number in known if os.strerror(number) in str(error)), None)


def _unwritable(path: Path | None, number: int, remedy: str, use: str = "written") -> str:
    room = f" ({as_room(free_bytes(path), math.floor)} left)" if path is not None and number in _FULL else ""
    what = "a file" if path is None else named(path)
    return f"{what} cannot be {use} ({os.strerror(number)}); {remedy}{room} and run again"


def unwritable(path: Path, reason: str) -> MachineError:
    """Return the error for a file that a library failed to write without naming the cause, often a full disk.

    Args:
        path: Output file.
        reason: Message of the library.
    """
    advice = f"is the disk full? It has {as_room(free_bytes(path), math.floor)} left; free some space and run again"
    return MachineError(f"{named(path)} cannot be written ({reason}); {advice}")


def _partial_name(path: Path) -> str:
    """Return a temporary name of at most 255 bytes, the limit of file systems."""
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
    """Delete the unfinished files of killed writers in a folder; return their number.

    The caller must hold the lock of the folder, or know that no process writes files of these names, because unfinished
    files of killed and of running writers look alike.

    Args:
        folder: Folder to clean up.
        stems: File names without suffix and dots to delete unfinished files of; all if omitted.
    """
    found = [*folder.glob(f".*{PARTIAL}"), *folder.glob(f".*{PARTIAL}.*")]
    leftovers = [path for path in found if stems is None or path.name[1:].partition(".")[0] in stems]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with whole_file(path) as partial:
        partial.write_text(
            text, encoding="utf-8", errors="backslashreplace"
        )  # file names in the text need not be UTF-8


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, and bytes that are not UTF-8 are escaped."""
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
    """Escape the surrogates that stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def decoding(path: Path, fault: str, remedy: str = "fetch it again") -> Iterator[None]:
    """Turn every exception of a decoder into an :class:`InputError`.

    Decoders raise exceptions of any type for damaged or hostile bytes, so all are caught. The block must contain only
    calls of the decoder, so that bugs of our own stay visible.

    Args:
        path: File, for the message.
        fault: Fault of the file, for the message, such as ``is not a whole zip``.
        remedy: Next step for the user.

    Raises:
        InputError: The decoder raised an exception.
        MachineError: The cause is the machine, such as a disk that cannot be read.
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
    """Return a path for messages: on one line, and shortened if it is longer than file systems allow."""
    text = str(path)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-50:]}"


def require_file(path: Path) -> None:
    """Check that a path is a regular file; opening, for example, a named pipe would block.

    Raises:
        InputError: The path is missing, a folder, a device, a pipe, or not a valid name.
    """
    _require_kind(path, stat.S_ISREG, "a file")


def require_folder(path: Path) -> None:
    """Check that a path is a folder.

    Raises:
        InputError: The path is missing, a file, or not a valid name.
    """
    _require_kind(path, stat.S_ISDIR, "a folder")


def require_there(*paths: Path | None) -> None:
    """Check that paths exist, as files of any kind; None is ignored.

    Raises:
        InputError: A path is missing or cannot be accessed.
    """
    for path in paths:
        if path is not None and not _known_mode(path)[0]:
            require_file(path)


def is_file(path: Path) -> bool:
    """Return whether a path is a regular file; False for invalid names."""
    return _known_mode(path)[0] == stat.S_IFREG


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False for invalid names."""
    return _known_mode(path)[0] == stat.S_IFDIR


def resolved(path: Path) -> Path:
    """Return an absolute path without symbolic links.

    Raises:
        InputError: The path is not valid, or its links form a loop.
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
    """Return the type of a file, 0 if it is missing, and the reason if the type cannot be determined."""
    try:
        return stat.S_IFMT(path.stat().st_mode), ""
    except (FileNotFoundError, NotADirectoryError):
        return 0, ""
    except (OSError, ValueError) as error:
        return 0, f" ({_why(error)})"


def _why(error: Exception) -> str:
    """Return why a path cannot be used, in the words of the operating system if it has any."""
    return getattr(error, "strerror", None) or ("loop of links" if isinstance(error, RuntimeError) else str(error))


@contextmanager
def open_file(path: Path) -> Iterator[io.BufferedReader]:
    """Open a regular file for reading; the block must not access other files.

    Raises:
        InputError: The file is missing, not regular, or cannot be read.
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
    """Read a file with a limit on its size.

    Args:
        path: Regular file.
        limit: Maximum size, bytes.

    Raises:
        InputError: The file is missing, not regular, cannot be read, or exceeds ``limit``.
    """
    with open_file(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(
            f"{named(path)} has more than {limit:,} bytes, expected fewer; check that it is the right file"
        )
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: The file is missing, not regular, or cannot be read.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        InputError: The path is neither a file nor a folder.
    """
    if not is_folder(path):
        return sha256(path)
    listed = (
        f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in sorted(path.rglob("*")) if is_file(file)
    )
    return hashlib.sha256("".join(listed).encode(errors="surrogateescape")).hexdigest()
