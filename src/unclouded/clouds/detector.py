"""Cloud detectors: functions from an image to the cloud probability of each pixel.

A detector evaluates pixels one by one (:func:`pixel_by_pixel`) or together with their surroundings
(:attr:`Detector.survey`). :func:`at_resolution` makes any of the former work on coarser pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from unclouded.errors import InputError
from unclouded.io.strips import RowReader

ReadRows = RowReader[NDArray[np.float32]]
"""Callable (first row, row after the last) that returns reflectance (band, rows, x)."""

DetectRows = Callable[[int, NDArray[np.float32]], NDArray[np.float32]]
"""Callable (first row, reflectance of the rows from there) that returns their cloud probability (rows, x)."""


@dataclass(frozen=True)
class Detector:
    """A cloud detector.

    Attributes:
        name: Name in settings and tables.
        version: Version of the results; cached probabilities belong to one version.
        bands: Names of the bands that it reads.
        probability: Callable (reflectance (band, y, x), band names) that returns the cloud probability (y, x), float32
            in [0, 1]; NaN where there is no data.
        survey: Only for detectors whose result for a pixel depends on its surroundings. Callable (row reader, height,
            band names) that reads all rows of an image once and returns a :data:`DetectRows`, whose results equal those
            of ``probability`` for the whole image.
    """

    name: str
    version: str
    bands: tuple[str, ...]
    probability: Callable[[NDArray[np.float32], tuple[str, ...]], NDArray[np.float32]]
    survey: Callable[[ReadRows, int, tuple[str, ...]], DetectRows] | None = None

    def over(self, read: ReadRows, height: int, bands: tuple[str, ...]) -> Callable[[int], "Detector"]:
        """Return a callable (first row) that returns the detector for a strip of an image that is read in strips.

        Args:
            read: Row reader of the image.
            height: Number of rows of the image.
            bands: Names of the bands that ``read`` returns.
        """
        if self.survey is None:
            return lambda _: self
        detect = self.survey(read, height, bands)
        return lambda top: replace(self, probability=lambda reflectance, _: detect(top, reflectance))


def select_bands(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], needed: tuple[str, ...], detector: str
) -> Float32[np.ndarray, "needed y x"]:
    """Return the bands that a detector reads, in its order.

    Args:
        reflectance: TOA reflectance of ``bands``.
        bands: Band names of the image.
        needed: Band names of the detector.
        detector: Name of the detector, for messages.

    Raises:
        InputError: The image lacks a band. A missing band is never replaced by an all-cloudy or all-clear result.
    """
    if len(bands) != len(reflectance):
        raise InputError(f"expected one name per band, found {len(bands)} names for {len(reflectance)} bands")
    if absent := [band for band in needed if band not in bands]:
        no_cirrus = "L2A has no B10, use the L1C product, the detector csmask-l2a or the map scl"
        hint = no_cirrus if "B10" in absent else "use the product with all its bands"
        raise InputError(f"{detector} needs {' '.join(needed)}, but {' '.join(absent)} is missing; {hint}")
    return reflectance[[bands.index(band) for band in needed]]


def has_data(reflectance: Float32[np.ndarray, "band y x"]) -> Bool[np.ndarray, "y x"]:
    """Return the pixels in which every band is finite."""
    return np.asarray(np.isfinite(reflectance).all(axis=0))


def pixel_by_pixel(
    reflectance: Float32[np.ndarray, "band y x"],
    evaluate: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Float32[np.ndarray, "y x"]:
    """Evaluate a per-pixel detector where every band has data; the other pixels become NaN.

    Args:
        reflectance: Reflectance of the bands that the detector reads.
        evaluate: Callable (finite values (band, pixel)) that returns the probability (pixel,).
    """
    valid = has_data(reflectance)
    if valid.all():
        return evaluate(reflectance.reshape(len(reflectance), -1)).reshape(valid.shape)
    probability = np.full(valid.shape, np.nan, dtype=np.float32)
    if valid.any():
        probability[valid] = evaluate(np.ascontiguousarray(reflectance[:, valid]))
    return probability


# Detection at coarser resolution: cheaper by the square of the factor, with smoother cloud edges.


PIXEL_M = 10
"""Pixel size of the images, in metres."""


def at_resolution(detector: Detector, metres: Literal[10, 20, 60]) -> Detector:
    """Return a detector that evaluates the mean of larger pixels and interpolates the result to 10 m.

    Args:
        detector: A per-pixel detector.
        metres: Size of the larger pixels; 10 returns the detector unchanged.

    Raises:
        InputError: The detector reads the surroundings of a pixel and has a fixed resolution.
    """
    if metres == PIXEL_M:
        return detector
    if detector.survey is not None:
        raise InputError(f"{detector.name} has a fixed resolution, found {metres} m; set resolution_m to 10")

    def probability(reflectance: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
        fine = select_bands(reflectance, bands, detector.bands, detector.name)
        valid = has_data(fine)
        factor = metres // PIXEL_M
        coarse = detector.probability(block_mean(np.where(valid, fine, np.float32(np.nan)), factor), detector.bands)
        known = np.isfinite(coarse)
        weight = upsample(known.astype(np.float32), factor, valid.shape)
        total = upsample(np.where(known, coarse, np.float32(0.0)), factor, valid.shape)
        return np.asarray(np.divide(total, weight, out=np.full_like(total, np.nan), where=valid))

    return replace(detector, name=f"{detector.name}@{metres}m", probability=probability)


def block_mean(values: Float32[np.ndarray, "band y x"], factor: int) -> Float32[np.ndarray, "band rows columns"]:
    """Return the mean over the valid pixels of each ``factor`` x ``factor`` block; edge blocks may be smaller."""
    bands, height, width = values.shape
    rows, columns = -(-height // factor), -(-width // factor)
    edges = ((0, 0), (0, rows * factor - height), (0, columns * factor - width))
    blocks = np.pad(values, edges, constant_values=np.nan).reshape(bands, rows, factor, columns, factor)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, np.float32(0.0)).sum(axis=(2, 4))
    count = known.sum(axis=(2, 4), dtype=np.float32)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))


def upsample(
    coarse: Float32[np.ndarray, "rows columns"], factor: int, shape: tuple[int, int], top: int = 0
) -> Float32[np.ndarray, "y x"]:
    """Interpolate block values bilinearly to single pixels.

    Args:
        coarse: One value per block, located at the centre of the block.
        factor: Side of a block, pixels.
        shape: Rows and columns of the result.
        top: First row of the result, counted from the first row of the first block.
    """
    y, x = ((first + np.arange(size) + 0.5) / factor - 0.5 for first, size in zip((top, 0), shape, strict=True))
    return np.asarray(map_coordinates(coarse, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"))
