"""Cloud probabilities on disk, each computed once: found by content, whole or absent, limited in size."""

import hashlib
import io
import os
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from unclouded.clouds.detector import Detector, select_bands
from unclouded.errors import InputError
from unclouded.files import PARTIAL, whole_file

LIMIT_BYTES = 40 << 30
"""Room for the probabilities of the 122,218 patches of SEN12MS-CR, 0.25 MiB each, with some to spare."""
_DIGEST_BYTES = hashlib.sha256().digest_size
_ABANDONED_S = 3600  # age of an unfinished file that nobody will finish


def default_folder() -> Path:
    """Return ``$UNCLOUDED_CACHE``, or ``unclouded`` in the user's cache folder."""
    if chosen := os.environ.get("UNCLOUDED_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unclouded"


class ProbabilityCache:
    """A folder of cloud probabilities.

    An entry is an exact float32 ``.npy`` file followed by the SHA-256 of its bytes. Its name is the SHA-256 of the
    pixels that the detector reads, their shape, and the detector's name and version: other pixels or another version
    never meet an old answer. Any number of processes may share the folder.

    Attributes:
        folder: Where the entries are.
        limit_bytes: Size to keep to; the entries that were not used for longest go first.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = (folder or default_folder()) / "cloud-probability"
        self.limit_bytes = limit_bytes
        self._size: int | None = None  # what this process knows of the folder's size

    def probability(
        self, reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], detector: Detector
    ) -> Float32[np.ndarray, "y x"]:
        """Return the detector's probability, from disk where it was computed before.

        Raises:
            InputError: The detector lacks a band, or the folder cannot be written.
        """
        pixels = np.ascontiguousarray(select_bands(reflectance, bands, detector.bands, detector.name))
        entry = self._entry(pixels, detector)
        if (found := _read(entry)) is not None and found.shape == pixels.shape[1:]:
            return found
        probability = detector.probability(reflectance, bands)
        self._write(entry, probability)
        return probability

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

    def _entry(self, pixels: Float32[np.ndarray, "band y x"], detector: Detector) -> Path:
        content = hashlib.sha256(f"{detector.name}\n{detector.version}\n{pixels.shape}\n".encode())
        content.update(pixels.data)
        key = content.hexdigest()
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

    def _write(self, entry: Path, probability: Float32[np.ndarray, "y x"]) -> None:
        content = _packed(probability)
        if len(content) > self.limit_bytes:
            return
        try:
            with whole_file(entry) as partial:
                partial.write_bytes(content)
        except InputError as error:
            raise InputError(f"{error}; UNCLOUDED_CACHE names another folder for the cache") from error
        self._size = self.size() if self._size is None else self._size + len(content)
        if self._size > self.limit_bytes:
            self._evict()

    def _evict(self) -> None:
        """Delete what was not used for longest, down to nine tenths of the limit: not every write has to look."""
        entries = self._entries()
        self._size = sum(bytes_ for _, bytes_, _ in entries)
        for _, bytes_, path in entries:
            if self._size <= self.limit_bytes * 0.9:
                return
            path.unlink(missing_ok=True)
            self._size -= bytes_


def _packed(probability: Float32[np.ndarray, "y x"]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, probability, allow_pickle=False)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def _read(entry: Path) -> Float32[np.ndarray, "y x"] | None:
    """Return an entry and mark it as used; None where it is absent or damaged."""
    try:
        content = entry.read_bytes()
        os.utime(entry)
    except OSError:
        return None
    array, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(array).digest() != digest:
        return None
    return np.asarray(np.load(io.BytesIO(array), allow_pickle=False), dtype=np.float32)
