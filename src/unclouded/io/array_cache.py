"""Disk cache of arrays: content-addressed, checksummed, and evicted by least recent use."""

import hashlib
import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from platformdirs import user_cache_path

from unclouded.errors import InputError, MachineError
from unclouded.files import PARTIAL, whole_file

_DIGEST_BYTES = hashlib.sha256().digest_size
_ABANDONED_S = 3600  # a partial file this old belongs to a process that was killed


def default_folder() -> Path:
    """Return ``$UNCLOUDED_CACHE``, or ``unclouded`` in the user's cache folder of the operating system."""
    if chosen := os.environ.get("UNCLOUDED_CACHE"):
        return Path(chosen)
    return user_cache_path("unclouded", appauthor=False)


def content_key(description: str, array: NDArray[Any]) -> str:
    """Return the cache key of a result: the SHA-256 of a description and of the bytes of the input array.

    Args:
        description: Everything else that determines the result: algorithm, version, settings, shapes.
        array: Input array.
    """
    content = hashlib.sha256(f"{description}\n".encode())
    content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


class ArrayStore:
    """Folder of float32 arrays with a size limit.

    An entry is a ``.npy`` file followed by the SHA-256 of its bytes. Several processes may share the folder.

    Attributes:
        folder: Folder of the entries.
        limit_bytes: Largest total size; beyond it the least recently used entries are deleted.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._size: int | None = None  # total size, counted once and then updated by this process

    def get(self, key: str) -> Float32[np.ndarray, "..."] | None:
        """Return an entry and mark it as used; None if it is missing or damaged."""
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
        """Store an array, unless it is larger than the limit.

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
        """Return the total size of the entries in bytes."""
        return sum(bytes_ for _, bytes_, _ in self._entries())

    def clear(self) -> int:
        """Delete all entries and return their number."""
        entries = self._entries()
        for _, _, path in entries:
            path.unlink(missing_ok=True)
        self._size = None
        return len(entries)

    def _entry(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Return last use, size and path of every entry, least recently used first, with abandoned partial files."""
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
        """Delete the least recently used entries, down to 90 % of the limit so that the next writes need not evict."""
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
