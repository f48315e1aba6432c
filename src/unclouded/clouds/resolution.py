"""A detector asked about coarser pixels: cheaper by the square, and of one mind about a cloud's edge."""

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from unclouded.clouds.detector import Detector, has_data, select_bands
from unclouded.errors import InputError

PIXEL_M = 10
"""Pixel size of the images, metres."""


def at_resolution(detector: Detector, metres: Literal[10, 20, 60]) -> Detector:
    """Return a detector that answers for pixels of 10 m but looks at the mean of larger ones.

    Args:
        detector: What to ask.
        metres: Size of the larger pixels; with 10 the detector comes back as it is.

    Raises:
        InputError: The detector looks at surroundings and has a resolution of its own.
    """
    if metres == PIXEL_M:
        return detector
    if detector.survey is not None:
        raise InputError(f"{detector.name} chooses its own resolution, found {metres} m; set resolution_m to 10")

    def probability(reflectance: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
        fine = select_bands(reflectance, bands, detector.bands, detector.name)
        valid = has_data(fine)
        factor = metres // PIXEL_M
        coarse = detector.probability(block_mean(np.where(valid, fine, np.float32(np.nan)), factor), detector.bands)
        known = np.isfinite(coarse)
        weight = spread(known.astype(np.float32), factor, valid.shape)
        answer = spread(np.where(known, coarse, np.float32(0.0)), factor, valid.shape)
        return np.asarray(np.divide(answer, weight, out=np.full_like(answer, np.nan), where=valid))

    return replace(detector, name=f"{detector.name}@{metres}m", probability=probability)


def block_mean(values: Float32[np.ndarray, "band y x"], factor: int) -> Float32[np.ndarray, "band rows columns"]:
    """Mean of each block of ``factor`` x ``factor`` pixels with data; blocks at the lower and right edge may be cut."""
    bands, height, width = values.shape
    rows, columns = -(-height // factor), -(-width // factor)
    edges = ((0, 0), (0, rows * factor - height), (0, columns * factor - width))
    blocks = np.pad(values, edges, constant_values=np.nan).reshape(bands, rows, factor, columns, factor)
    known = np.isfinite(blocks)
    total = np.where(known, blocks, np.float32(0.0)).sum(axis=(2, 4))
    count = known.sum(axis=(2, 4), dtype=np.float32)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))


def spread(
    coarse: Float32[np.ndarray, "rows columns"], factor: int, shape: tuple[int, int], top: int = 0
) -> Float32[np.ndarray, "y x"]:
    """Bring block values back to single pixels, from row ``top`` on, bilinearly between the centres of the blocks.

    Args:
        coarse: A value a block.
        factor: Rows, and columns, of a block.
        shape: Rows and columns wanted.
        top: First row wanted, counted from the first block.
    """
    y, x = ((first + np.arange(size) + 0.5) / factor - 0.5 for first, size in zip((top, 0), shape, strict=True))
    return np.asarray(map_coordinates(coarse, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"))
