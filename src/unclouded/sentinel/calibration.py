"""Radiometric calibration of Sentinel-1 GRD: border and thermal noise removal, sigma0, decibels.

Processors before version 2.9 left noise at the border of a scene. :class:`BorderNoise` detects it from the VV image,
:func:`sigma0` masks it, subtracts the thermal noise and applies the calibration table, :func:`to_db` takes the
logarithm.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, UInt16
from numpy.typing import NDArray

from unclouded.sentinel.sentinel1 import Channel

FLOOR = 1e-5
"""Lowest sigma0, -50 dB: power minus noise can be negative, and the logarithm needs a positive number."""

CLEAN_SINCE = 2.9
"""Version of the processor that sets border noise to 0 itself (March 2018)."""

BLOCK_PX = 16
"""Side of the blocks whose mean power is compared with the noise; their speckle is 3 %."""

REACH_PX = 512
"""Largest width of the border."""

FAINTEST = 0.5
"""Fraction of the thermal noise below which a mean power cannot be a measurement: noise alone would give 1."""

NOISE_FLOOR = 10**-2.5
"""Thermal noise as sigma0 for products without it: -25 dB, the value the instrument reaches (specified: -22 dB)."""


@dataclass(eq=False)
class BorderNoise:
    """Border noise mask of an image: :meth:`add` all lines of VV in order, then query windows by :meth:`at`.

    A block is border if its mean power is below half of the thermal noise and so are all blocks between it and an edge
    of the image. The same mask applies to VH.
    """

    channel: Channel
    _faint: list[NDArray[np.bool_]] = field(default_factory=list, repr=False)
    _rim: NDArray[np.bool_] | None = field(default=None, repr=False)

    def add(self, top: int, numbers: UInt16[np.ndarray, "lines pixels"]) -> None:
        """Add lines, from ``top`` on; ``top`` and their number are multiples of the block side, except at the end."""
        self._faint.append(_block_means(_power(numbers)) < FAINTEST * self._noise(top, len(numbers)))

    def at(self, lines: slice, pixels: slice) -> Bool[np.ndarray, "lines pixels"]:
        """Return True for the border pixels of a window."""
        if self._rim is None:
            self._rim = rim(np.concatenate(self._faint), REACH_PX // BLOCK_PX)
        rows, columns = (np.arange(part.start, part.stop) // BLOCK_PX for part in (lines, pixels))
        return np.asarray(self._rim[np.ix_(rows, columns)])

    def _noise(self, top: int, count: int) -> Float32[np.ndarray, "rows columns"]:
        """Return the thermal noise power of each block."""
        width = self.channel.shape[1]
        rows = range(top, top + count, BLOCK_PX)
        if self.channel.noise.is_zero:
            tables = [NOISE_FLOOR * self.channel.sigma.at(slice(row, row + 1), slice(0, width)) ** 2 for row in rows]
        else:
            tables = [self.channel.noise.at(slice(row, row + 1), slice(0, width)) for row in rows]
        return np.concatenate([table[:, ::BLOCK_PX] for table in tables])


def sigma0(
    channel: Channel,
    numbers: UInt16[np.ndarray, "lines pixels"],
    lines: slice,
    pixels: slice,
    border: BorderNoise | None = None,
) -> Float32[np.ndarray, "lines pixels"]:
    """Calibrate a window of an image: sigma0 = (DN^2 - noise) / A^2, as linear power.

    Sentinel-1 Product Specification, S1-RS-MDA-52-7441, "Radiometric calibration". Pixels below the noise stay
    negative, so that averages are unbiased.

    Args:
        channel: Channel with its tables.
        numbers: Stored digital numbers of the window.
        lines: Line range of the window in the image.
        pixels: Pixel range of the window in the image.
        border: Border noise of the image, if it has any.

    Returns:
        Linear power; NaN for no data: stored 0, and the border.
    """
    power = _power(numbers)
    if not channel.noise.is_zero:
        power -= channel.noise.at(lines, pixels)
    power /= channel.sigma.at(lines, pixels) ** 2
    empty = numbers == 0
    if border is not None:
        empty |= border.at(lines, pixels)
    power[empty] = np.nan
    return power


def to_db(power: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Return linear power in dB, at least -50 dB; NaN stays."""
    return np.asarray(10 * np.log10(np.maximum(power, np.float32(FLOOR))), np.float32)


def _power(numbers: NDArray[np.uint16]) -> NDArray[np.float32]:
    return numbers.astype(np.float32) ** 2


def _block_means(power: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = (range(0, side, BLOCK_PX) for side in power.shape)
    counts = [np.diff([*ends, side]) for ends, side in zip((rows, columns), power.shape, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(power, list(rows), axis=0), list(columns), axis=1)
    return np.asarray(sums / np.outer(*counts).astype(np.float32))


def rim(faint: Bool[np.ndarray, "rows columns"], reach: int) -> Bool[np.ndarray, "rows columns"]:
    """Return the faint blocks connected to an edge by a straight line of at most ``reach`` faint blocks."""
    found = np.zeros_like(faint)
    for axis in (0, 1):
        for backwards in (False, True):
            view, marks = (np.flip(array, axis) if backwards else array for array in (faint, found))
            marks |= np.logical_and.accumulate(view, axis=axis) & _within(faint.shape, axis, reach)
    return found


def _within(shape: tuple[int, int], axis: int, reach: int) -> NDArray[np.bool_]:
    place = np.arange(shape[axis]) < reach
    return place[:, None] if axis == 0 else place[None]
