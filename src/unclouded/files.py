"""Files that are either whole or absent, whatever happens to the process that writes them."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unclouded.errors import InputError

PARTIAL = ".partial"
"""What the name of an unfinished file ends with; whoever finds one may delete it."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; at the end of the block it takes the place of ``path`` at once.

    The temporary file keeps the suffix of ``path`` (writers go by it). An exception inside the block removes it and leaves an older ``path`` as
    it was; a killed process leaves only a file whose name ends in ``.partial`` before its suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem[:80]}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}{path.suffix}")
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial_files(folder: Path) -> int:
    """Delete what killed writers left in ``folder``; return how many files that were."""
    leftovers = [*folder.glob(f".*{PARTIAL}"), *folder.glob(f".*{PARTIAL}.*")]
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


def read_small(path: Path, limit: int = 4 << 20) -> bytes:
    """Read a file that has no business being large.

    Raises:
        InputError: There is no such regular file, or it exceeds ``limit`` bytes.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; check the path")
    if (size := path.stat().st_size) > limit:
        raise InputError(f"{path} has {size:,} bytes, expected at most {limit:,}; is it the right file?")
    return path.read_bytes()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
