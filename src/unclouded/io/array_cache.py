"""Arrays on disk, each computed once: found by content, whole or absent, limited in size."""

import hashlib
import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from unclouded.errors import InputError, MachineError
from unclouded.files import PARTIAL, whole_file

_DIGEST_BYTES = hashlib.sha256().digest_size
_ABANDONED_S = 3600  # age of an unfinished file that nobody will finish


def default_folder() -> Path:
    """Return ``$UNCLOUDED_CACHE``, or ``unclouded`` in the user's cache folder."""
    if chosen := os.environ.get("UNCLOUDED_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unclouded"


def content_key(description: str, array: NDArray[Any]) -> str:
    """Return the SHA-256 of a description and of an array's bytes: what a stored answer is found by.

    Args:
        description: What was asked, in words: whoever answers, its version, shapes.
        array: What it was asked about.
    """
    content = hashlib.sha256(f"{description}\n".encode())
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


class ArrayStore:
    """A folder of float32 arrays.

    An entry is an exact ``.npy`` file followed by the SHA-256 of its bytes. Any number of processes may share the
    folder.

    Attributes:
        folder: Where the entries are.
        limit_bytes: Size to keep to; the entries that were not used for longest go first.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._size: int | None = None  # what this process knows of the folder's size

    def get(self, key: str) -> Float32[np.ndarray, "..."] | None:
        """Return an entry and mark it as used; None where it is absent or damaged."""
        entry = self._entry(key)
        try:
            content = entry.read_bytes()
            os.utime(entry)
        except OSError:
            return None
        array, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(array).digest() != digest:
            return None
        return np.asarray(np.load(io.BytesIO(array), allow_pickle=False), dtype=np.float32)

    def put(self, key: str, array: Float32[np.ndarray, "..."]) -> None:
        """Keep an array; one larger than the limit is not kept.

        Raises:
            MachineError: The disk is full, or the folder cannot be written.
        """
        content = _packed(array)
        if len(content) > self.limit_bytes:
            return
        try:
            with whole_file(self._entry(key)) as partial:
                partial.write_bytes(content)
        except (InputError, MachineError) as error:
            raise type(error)(f"{error}; UNCLOUDED_CACHE names another folder for the cache") from error
        self._size = self.size() if self._size is None else self._size + len(content)
        if self._size > self.limit_bytes:
            self._evict()

    def size(self) -> int:
        """Return the bytes of all entries."""
        return sum(bytes_ for _, bytes_, _ in self._entries())

    def clear(self) -> int:
        """Delete all entries; return how many there were."""
        entries = self._entries()
        for _, _, path in entries:
            path.unlink(missing_ok=True)
        self._size = None
        return len(entries)

    def _entry(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Last use, bytes and path of every entry, longest unused first; also what killed writers left an hour ago."""
        found = []
        for path in self.folder.glob("??/*.npy"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process deleted it
                continue
            if PARTIAL not in path.name or status.st_mtime < time.time() - _ABANDONED_S:
                found.append((status.st_mtime_ns, status.st_size, path))
        return sorted(found)

    def _evict(self) -> None:
        """Delete what was not used for longest, down to nine tenths of the limit: not every write has to look."""
        entries = self._entries()
        self._size = sum(bytes_ for _, bytes_, _ in entries)
        for _, bytes_, path in entries:
            if self._size <= self.limit_bytes * 0.9:
                return
            path.unlink(missing_ok=True)
            self._size -= bytes_


def _packed(array: Float32[np.ndarray, "..."]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()
