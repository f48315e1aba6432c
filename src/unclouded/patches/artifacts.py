"""Artifacts of one image: which pixels of it no sensor saw like that, or not through a clear sky."""

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

from unclouded.sensors import SENTINEL2

FINE_BANDS = ("B02", "B03", "B04", "B08")
"""Bands of 10 m: bands of 20 and 60 m repeat lines where they were resampled, which looks like stripes."""


def constant_bands(values: Float32[np.ndarray, "band y x"], bands: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bands all of whose values are one and the same."""
    low, high = (extreme.reduce(values, axis=(1, 2)) for extreme in (np.fmin, np.fmax))
    return tuple(band for band, flat in zip(bands, low == high, strict=True) if flat)


def clipped(values: Float32[np.ndarray, "band y x"], least: float) -> Bool[np.ndarray, "y x"]:
    """Return the pixels of the band that is clipped most: they hold its highest value, if that is ``least`` or more."""
    highest = np.fmax.reduce(values, axis=(1, 2))
    stuck = (values == highest[:, None, None]) & (highest >= least)[:, None, None]
    return np.asarray(stuck[stuck.sum(axis=(1, 2)).argmax()])


def stripes(band: Float32[np.ndarray, "y x"], coherence: float, strength: float) -> Bool[np.ndarray, "y x"]:
    """Return the rows and columns that as a whole are brighter, or darker, than both of their neighbours.

    Fields, roads and coasts never follow one row of a UTM grid over a whole patch, for north lies elsewhere.

    Args:
        band: One band.
        coherence: How much more of a line's pixels must lie on one side of their neighbours than on the other, 0 to 1.
        strength: How many times the median of the whole band the median step to the neighbours must be.
    """
    found = np.zeros(band.shape, bool)
    for axis in (0, 1):
        found |= np.moveaxis(_striped_rows(np.moveaxis(band, axis, 0), coherence, strength), 0, axis)
    return found


def _striped_rows(band: NDArray[np.float32], coherence: float, strength: float) -> NDArray[np.bool_]:
    step = band[1:-1] - (band[:-2] + band[2:]) / 2
    one_sided = np.abs(np.nanmean(np.sign(step), axis=1))
    typical = np.nanmedian(np.abs(step)) + np.finfo(np.float32).eps
    marked = (one_sided >= coherence) & (np.nanmedian(np.abs(step), axis=1) >= strength * typical)
    beside = np.abs(np.nanmedian(step, axis=1))
    rows = [row for row in np.flatnonzero(marked) if beside[row] >= beside[max(row - 1, 0) : row + 2].max()]
    found = np.zeros(band.shape, bool)
    found[np.array(rows, int) + 1] = True  # the neighbours of a stripe step half as far, the other way
    return found


def cirrus(values: Float32[np.ndarray, "13 y x"], least: float) -> Bool[np.ndarray, "y x"]:
    """Return the pixels that are bright at 1.375 um, where vapour hides the ground: cirrus, and high mountains."""
    return np.asarray(_band(values, "B10") >= least)


def snow(values: Float32[np.ndarray, "13 y x"]) -> Bool[np.ndarray, "y x"]:
    """Return snow: NDSI of at least 0.42 and a bright near infrared (thresholds of Sen2Cor's first steps)."""
    green, infrared, short = (_band(values, band) for band in ("B03", "B08", "B11"))
    return np.asarray((_index(green, short) >= 0.42) & (infrared >= 0.11) & (green >= 0.10))


def water(values: Float32[np.ndarray, "13 y x"]) -> Bool[np.ndarray, "y x"]:
    """Return open water: NDWI (McFeeters 1996) above 0, dark in near and short-wave infrared."""
    green, infrared, short = (_band(values, band) for band in ("B03", "B08", "B11"))
    return np.asarray((_index(green, infrared) > 0) & (infrared < 0.15) & (short < 0.11))


def _band(values: NDArray[np.float32], band: str) -> NDArray[np.float32]:
    return np.asarray(values[SENTINEL2.bands.index(band)])


def _index(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((first - second) / np.maximum(first + second, np.float32(1e-6)))
