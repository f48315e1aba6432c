"""Fractal noise: random fields of all wavelengths, with amplitudes that grow with the wavelength."""

import numpy as np
import scipy.fft
from jaxtyping import Float32
from numpy.typing import NDArray


def fractal_noise(
    rng: np.random.Generator,
    size_px: int,
    slope: float,
    longest_px: float,
    shortest_px: float = 2.0,
    stretch: float = 1.0,
) -> Float32[np.ndarray, "y x"]:
    """Return a random field in which each octave is ``2 ** slope`` times as strong as that of half its wavelength.

    The field is periodic, as it consists of waves that fit into the square.

    Args:
        rng: Source of randomness.
        size_px: Number of rows and of columns.
        slope: Exponent of the octaves: near 0 for grain, 1 for soil, 2 for hills.
        longest_px: Wavelength above which the amplitude is constant.
        shortest_px: Wavelength below which waves fade out.
        stretch: Factor on the wavelengths along one random direction.

    Returns:
        Mean 0, standard deviation 1.
    """
    reach = min(size_px // 2, round(2 * size_px / shortest_px))
    squared = _squared_frequency(size_px, reach, rng.uniform(0, np.pi), stretch)
    amplitude = np.exp(-(slope + 1) / 2 * np.log(squared + np.float32(longest_px**-2)) - squared * shortest_px**2)
    amplitude[0, 0] = 0
    waves = amplitude * rng.standard_normal((2, *amplitude.shape), np.float32)
    spectrum = np.zeros((size_px, size_px // 2 + 1), np.complex64)
    for rows in (slice(None, reach), slice(-reach, None)):
        spectrum.real[rows, : reach + 1] = waves[0, rows]
        spectrum.imag[rows, : reach + 1] = waves[1, rows]
    field = scipy.fft.irfft2(spectrum, s=(size_px, size_px), overwrite_x=True)
    field /= field.std()
    return np.asarray(field, dtype=np.float32)


def _squared_frequency(size_px: int, reach: int, angle: float, stretch: float) -> NDArray[np.float32]:
    """Return the squared frequency of the waves with at most ``reach`` periods per axis, stretched along ``angle``."""
    down = np.fft.fftfreq(2 * reach, size_px / (2 * reach)).astype(np.float32)[:, None]
    across = (np.arange(reach + 1) / size_px).astype(np.float32)[None, :]
    along = np.float32(np.cos(angle)) * across + np.float32(np.sin(angle)) * down
    return np.asarray(down**2 + across**2 + np.float32(stretch**2 - 1) * along**2)


def smooth_step(values: Float32[np.ndarray, "*shape"], low: float, high: float) -> Float32[np.ndarray, "*shape"]:
    """Return a smooth step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
