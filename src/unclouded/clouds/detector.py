"""What a cloud detector is: one function from an image to the probability of cloud in each pixel."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from unclouded.errors import InputError

ReadRows = Callable[[int, int], NDArray[np.float32]]
"""From first row and row after the last to reflectance (band, rows, x)."""

TellRows = Callable[[int, NDArray[np.float32]], NDArray[np.float32]]
"""From a first row, and the reflectance of the rows from there, to their cloud probability (rows, x)."""


@dataclass(frozen=True)
class Detector:
    """Something that tells clouds from all else.

    Attributes:
        name: What settings and tables call it.
        version: Changes whenever the answers may change; cached answers belong to one version.
        bands: Bands it needs.
        probability: From reflectance (band, y, x) and its band names to cloud probability (y, x), float32 in [0, 1];
            NaN where there is no data.
        survey: Of a detector whose answer for a pixel depends on its surroundings: looks over all rows of an image,
            given how to read them, how many there are and the band names, and returns what tells of any of them the
            same as ``probability`` does of the image in one piece.
    """

    name: str
    version: str
    bands: tuple[str, ...]
    probability: Callable[[NDArray[np.float32], tuple[str, ...]], NDArray[np.float32]]
    survey: Callable[[ReadRows, int, tuple[str, ...]], TellRows] | None = None

    def over(self, read: ReadRows, height: int, bands: tuple[str, ...]) -> Callable[[int], "Detector"]:
        """Return what gives the detector for the rows from a row on, of an image that is read in strips.

        Args:
            read: Reads rows of the image.
            height: How many it has.
            bands: Names of the bands that ``read`` returns.
        """
        if self.survey is None:
            return lambda _: self
        tell = self.survey(read, height, bands)
        return lambda top: replace(self, probability=lambda reflectance, _: tell(top, reflectance))


def select_bands(
    reflectance: Float32[np.ndarray, "band y x"], bands: tuple[str, ...], needed: tuple[str, ...], detector: str
) -> Float32[np.ndarray, "needed y x"]:
    """Return the bands that a detector needs, in its order.

    Args:
        reflectance: TOA reflectance of ``bands``.
        bands: What the image has.
        needed: What the detector needs.
        detector: Its name, for messages.

    Raises:
        InputError: The image lacks one of them; nothing is ever silently taken for cloudy, or for clear.
    """
    if len(bands) != len(reflectance):
        raise InputError(f"expected one name a band, found {len(bands)} names for {len(reflectance)} bands")
    if absent := [band for band in needed if band not in bands]:
        no_cirrus = "L2A has no B10, use the L1C product or the detector csmask-l2a"
        hint = no_cirrus if "B10" in absent else "use the product with all its bands"
        raise InputError(f"{detector} needs {' '.join(needed)}, but {' '.join(absent)} is missing; {hint}")
    return reflectance[[bands.index(band) for band in needed]]


def has_data(reflectance: Float32[np.ndarray, "band y x"]) -> Bool[np.ndarray, "y x"]:
    """Say where every band is a finite number."""
    return np.asarray(np.isfinite(reflectance).all(axis=0))


def pixel_by_pixel(
    reflectance: Float32[np.ndarray, "band y x"],
    answer: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Float32[np.ndarray, "y x"]:
    """Ask a detector that looks at single pixels about those with data; the others become NaN.

    Args:
        reflectance: The bands it needs.
        answer: From finite values (band, pixel) to probability (pixel,).
    """
    valid = has_data(reflectance)
    if valid.all():
        return answer(reflectance.reshape(len(reflectance), -1)).reshape(valid.shape)
    probability = np.full(valid.shape, np.nan, dtype=np.float32)
    if valid.any():
        probability[valid] = answer(np.ascontiguousarray(reflectance[:, valid]))
    return probability


# A detector asked about coarser pixels: cheaper by the square, and of one mind about a cloud's edge.


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
