"""Cloud probabilities on disk, each computed once: found by content, whole or absent, limited in size."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from unclouded.clouds.detector import Detector, select_bands
from unclouded.io.array_cache import ArrayStore, content_key, default_folder

LIMIT_BYTES = 40 << 30
"""Room for the probabilities of the 122,218 patches of SEN12MS-CR, 0.25 MiB each, with some to spare."""


class ProbabilityCache:
    """A folder of cloud probabilities.

    An entry is found by the pixels that the detector reads, their shape, and the detector's name and version: other
    pixels or another version never meet an old answer. Any number of processes may share the folder.

    Attributes:
        store: Where the entries are.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.store = ArrayStore((folder or default_folder()) / "cloud-probability", limit_bytes)

    @property
    def folder(self) -> Path:
        """Where the entries are."""
        return self.store.folder

    def probability(
        self, reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], detector: Detector
    ) -> Float32[np.ndarray, "y x"]:
        """Return the detector's probability, from disk where it was computed before.

        Args:
            reflectance: TOA reflectance; NaN where there is no data.
            bands: Its band names.
            detector: What tells the probability if nobody asked before.

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

    def size(self) -> int:
        """Return the bytes of all entries."""
        return self.store.size()

    def clear(self) -> int:
        """Delete all entries; return how many there were."""
        return self.store.clear()
