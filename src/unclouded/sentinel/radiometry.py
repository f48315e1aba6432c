"""Conversion between stored integers and reflectance of optical images: one rule for reading and writing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Integer
from numpy.typing import DTypeLike

QUANTIFICATION = 10_000.0
"""Stored steps of one unit of reflectance."""
NO_DATA = 0
"""Stored integer of pixels without data."""
SATURATED = 65_535
"""Stored integer of saturated pixels."""


@dataclass(frozen=True)
class Radiometry:
    """Scale, offset and nodata value of stored integers.

    Reflectance = (stored + offset) / 10 000; NaN for stored 0, 65535 and the nodata tag. Files keep the integers of
    their source together with scale and offset tags (:attr:`scale`, :attr:`offset`), so the offset is never applied
    twice.

    Attributes:
        offsets: RADIO_ADD_OFFSET of each band in stored steps: 0, or -1000 since processing baseline 04.00.
        dtype: Data type of the stored integers.
        nodata: Nodata tag of the file.
    """

    offsets: tuple[int, ...]
    dtype: str = "uint16"
    nodata: float | None = NO_DATA

    @property
    def scale(self) -> float:
        """Reflectance of one stored step, for the scale tag of a file."""
        return 1.0 / QUANTIFICATION

    @property
    def offset(self) -> tuple[float, ...]:
        """Reflectance of a stored 0 in each band, for the offset tags of a file."""
        return tuple(offset / QUANTIFICATION for offset in self.offsets)

    def picked(self, places: Sequence[int]) -> "Radiometry":
        """Return the radiometry of some of the bands, by their positions."""
        return replace(self, offsets=tuple(self.offsets[place] for place in places))

    def __str__(self) -> str:
        steps = sorted(set(self.offsets))
        return f"reflectance = (DN + offset) / 10000, offset {' or '.join(map(str, steps))}, applied on reading"

    def decode(self, stored: Integer[np.ndarray, "band y x"]) -> Float32[np.ndarray, "band y x"]:
        """Return reflectance; NaN for no data and saturation."""
        reflectance = np.empty(stored.shape, np.float32)
        for band, offset, image in zip(stored, self.offsets, reflectance, strict=True):  # band by band stays in cache
            image[...] = band
            image += np.float32(offset)
            image /= np.float32(QUANTIFICATION)
            np.copyto(image, np.float32(np.nan), where=~self.is_data(band))
        return reflectance

    def is_data(self, stored: Integer[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
        """Return True for measurements: neither no data nor saturated."""
        measured = (stored != NO_DATA) & (stored != SATURATED)
        return np.asarray(measured if self.nodata in (None, NO_DATA) else measured & (stored != self.nodata))

    def is_seen(self, stored: Integer[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
        """Return True for observed pixels: measurements and saturated pixels."""
        seen = stored != NO_DATA
        return np.asarray(seen if self.nodata in (None, NO_DATA) else seen & (stored != self.nodata))

    def encode(self, reflectance: Float32[np.ndarray, "band y x"]) -> Integer[np.ndarray, "band y x"]:
        """Return the stored integers of reflectance: rounded, 0 for no data, at least 1 for valid pixels."""
        limit = np.iinfo(self.dtype).max - 1  # the largest integer is reserved for saturation
        stored = np.empty(reflectance.shape, self.dtype)
        for image, offset, band in zip(reflectance, self.offsets, stored, strict=True):  # band by band stays in cache
            steps = image * np.float64(QUANTIFICATION)
            np.rint(steps, out=steps)
            steps -= offset
            np.clip(steps, 1, limit, out=steps)
            np.copyto(steps, NO_DATA, where=~np.isfinite(image))
            np.copyto(band, steps, casting="unsafe")
        return stored


def without_offset(bands: int, dtype: DTypeLike = "uint16", nodata: float | None = NO_DATA) -> Radiometry:
    """Return the radiometry of SEN12MS-CR and of products before processing baseline 04.00."""
    return Radiometry((0,) * bands, np.dtype(dtype).name, nodata)
