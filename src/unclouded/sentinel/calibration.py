"""From digital numbers to sigma0: thermal noise off, and over the calibration table, pixel by pixel."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, UInt16
from numpy.typing import NDArray

from unclouded.sentinel.sentinel1 import Channel

FLOOR = 1e-5
"""Lowest sigma0, -50 dB: where the measured power is below the noise, logarithms need something."""


@dataclass(eq=False)
class BorderNoise:
    """Which blocks of an image belong to its rim; made from all lines of VV, in order, and then asked.

    A block belongs to it when its mean power is below half of the thermal noise, and so are all blocks between it and
    an edge of the image. The same rim is cut off VH.
    """

    channel: Channel
    _faint: list[NDArray[np.bool_]] = field(default_factory=list, repr=False)
    _rim: NDArray[np.bool_] | None = field(default=None, repr=False)

    def add(self, top: int, numbers: UInt16[np.ndarray, "lines pixels"]) -> None:
        """Look at lines; ``top`` is a multiple of the blocks, and so is their number but for the last."""
        self._faint.append(_block_means(_power(numbers)) < FAINTEST * self._noise(top, len(numbers)))

    def at(self, lines: slice, pixels: slice) -> Bool[np.ndarray, "lines pixels"]:
        """Say which pixels of a window belong to the rim."""
        if self._rim is None:
            self._rim = rim(np.concatenate(self._faint), REACH_PX // BLOCK_PX)
        rows, columns = (np.arange(part.start, part.stop) // BLOCK_PX for part in (lines, pixels))
        return np.asarray(self._rim[np.ix_(rows, columns)])

    def _noise(self, top: int, count: int) -> Float32[np.ndarray, "rows columns"]:
        """Return the thermal noise of each block, as power."""
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
    """Calibrate a window of an image: (DN^2 - noise) / A^2, as linear power.

    Sentinel-1 Product Specification, S1-RS-MDA-52-7441, "Radiometric calibration". Pixels below the noise stay
    negative, so that means over pixels are those of the ground.

    Args:
        channel: Its tables.
        numbers: The window, as it is stored.
        lines: Its lines in the image.
        pixels: Its pixels in the image.
        border: The rim of the image, where it has one.

    Returns:
        Linear power; NaN where there is no data: stored 0, and the rim.
    """
    power = numbers.astype(np.float32) ** 2
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


# Border noise of Sentinel-1 GRD: the rim of a scene in which older processors left numbers that are no backscatter.


CLEAN_SINCE = 2.9
"""Version of the processor that sets the rim to 0 itself (March 2018)."""

BLOCK_PX = 16
"""The rim is judged by means over blocks of this side, in which speckle is 3 %."""

REACH_PX = 512
"""How far from the edge of the image there may be a rim."""

FAINTEST = 0.5
"""Share of the thermal noise below which a mean power is no backscatter: noise alone would be 1."""

NOISE_FLOOR = 10**-2.5
"""Thermal noise as sigma0 where the product has none: -25 dB, what the instrument reaches (its limit is -22 dB)."""


def _power(numbers: NDArray[np.uint16]) -> NDArray[np.float32]:
    return numbers.astype(np.float32) ** 2


def _block_means(power: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = (range(0, side, BLOCK_PX) for side in power.shape)
    counts = [np.diff([*ends, side]) for ends, side in zip((rows, columns), power.shape, strict=True)]
    sums = np.add.reduceat(np.add.reduceat(power, list(rows), axis=0), list(columns), axis=1)
    return np.asarray(sums / np.outer(*counts).astype(np.float32))


def rim(faint: Bool[np.ndarray, "rows columns"], reach: int) -> Bool[np.ndarray, "rows columns"]:
    """Return the faint blocks that faint blocks connect to an edge, at most ``reach`` of them, in a straight line."""
    found = np.zeros_like(faint)
    for axis in (0, 1):
        for backwards in (False, True):
            view, marks = (np.flip(array, axis) if backwards else array for array in (faint, found))
            marks |= np.logical_and.accumulate(view, axis=axis) & _within(faint.shape, axis, reach)
    return found


def _within(shape: tuple[int, int], axis: int, reach: int) -> NDArray[np.bool_]:
    place = np.arange(shape[axis]) < reach
    return place[:, None] if axis == 0 else place[None]
