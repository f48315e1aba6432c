"""From digital numbers to sigma0: thermal noise off, and over the calibration table, pixel by pixel."""

import numpy as np
from jaxtyping import Float32, UInt16

from unclouded.scenes.border import BorderNoise
from unclouded.scenes.sentinel1 import Channel

FLOOR = 1e-5
"""Lowest sigma0, -50 dB: where the measured power is below the noise, logarithms need something."""


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
