"""Disk cache of cloud probabilities, keyed by content and limited in size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from unclouded.clouds.detector import Detector, select_bands
from unclouded.io.array_cache import ArrayStore, content_key, default_folder

LIMIT_BYTES = 40 << 30
"""Default limit: more than the probabilities of the 122,218 patches of SEN12MS-CR need, 0.25 MiB each."""


class ProbabilityCache:
    """A folder of cloud probabilities.

    The key of an entry is a hash of the pixels that the detector reads, their shape, and the detector's name and
    version, so an entry never becomes stale. Any number of processes may share the folder.

    Attributes:
        store: Store of the entries.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.store = ArrayStore((folder or default_folder()) / "cloud-probability", limit_bytes)

    @property
    def folder(self) -> Path:
        """Folder of the entries."""
        return self.store.folder

    def probability(
        self, reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], detector: Detector
    ) -> Float32[np.ndarray, "y x"]:
        """Return the cloud probability, from disk if it was computed before.

        Args:
            reflectance: TOA reflectance; NaN where there is no data.
            bands: Band names.
            detector: Detector that computes a missing entry.

        Raises:
            InputError: The detector lacks a band, or the folder cannot be written.
        """
        pixels = np.ascontiguousarray(select_bands(reflectance, bands, detector.bands, detector.name))
        key = content_key(f"{detector.name}\n{detector.version}\n{pixels.shape}", pixels)
        if (found := self.store.get(key)) is not None and found.shape == pixels.shape[1:]:
            return found
        probability = detector.probability(reflectance, bands)
        self.store.put(key, probability)
        return probability

    def caching(self, detector: Detector) -> Detector:
        """Return a detector whose probabilities are read from the cache where they exist."""
        return replace(detector, probability=lambda reflectance, bands: self.probability(reflectance, bands, detector))

    def size(self) -> int:
        """Return the size of all entries in bytes."""
        return self.store.size()

    def clear(self) -> int:
        """Delete all entries; return their number."""
        return self.store.clear()
