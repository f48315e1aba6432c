"""Perlin noise over an unbounded plane, evaluated at any positions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from numpy.typing import NDArray

PERIOD = 256
"""Period of an octave along either axis, in lattice nodes."""
_TURN = np.float32(2 * np.pi / 256)
_DEVIATION = (4 * (181 / 462) * (535 / 18018)) ** 0.5
"""Standard deviation of an octave of unit gradients: the square root of 4 times the integral of (1 - fade(t))^2 times
that of t^2 (1 - fade(t))^2, t from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Octave:
    """Gradient noise of one wavelength.

    Attributes:
        wavelength_px: Distance of the lattice nodes, pixels.
        amplitude: Standard deviation of the noise.
        directions: Directions of the unit gradients at the nodes, in 256ths of a full turn.
        origin: Row and column of pixel (0, 0) on the lattice, in nodes.
    """

    wavelength_px: float
    amplitude: float
    directions: UInt8[np.ndarray, "256 256"]
    origin: tuple[float, float]

    def at(self, y: Float[np.ndarray, " y"], x: Float[np.ndarray, " x"]) -> Float32[np.ndarray, "y x"]:
        """Return the noise at every pair of a row and a column, pixels.

        The noise is the sum of ``gradient . offset`` over the four nodes around a pixel, weighted by the fade curves of
        both axes. Every term is a product of a function of the row and one of the column, so the axes are blended one
        after the other.
        """
        rows = _axis(self.origin[0] + y / self.wavelength_px)
        columns = _axis(self.origin[1] + x / self.wavelength_px)
        angles = self.directions[np.ix_(rows.nodes, columns.nodes)] * _TURN
        down, across = (np.float32(self.amplitude / _DEVIATION) * part for part in (np.sin(angles), np.cos(angles)))
        noise = _blend(_blend(down.T, columns.before, columns.weight).T, rows.before, rows.offset)
        noise += _blend(_blend(across.T, columns.before, columns.offset).T, rows.before, rows.weight)
        return noise


@dataclass(frozen=True, eq=False)
class _Axis:
    """Positions between the nodes of one axis.

    Attributes:
        nodes: Lattice nodes in use.
        before: Index into ``nodes`` of the node before each position.
        weight: Fade weights of the nodes before and after each position.
        offset: These weights times the offset from the node.
    """

    nodes: NDArray[np.intp]
    before: NDArray[np.intp]
    weight: NDArray[np.float32]
    offset: NDArray[np.float32]


def _axis(at: NDArray[np.float64]) -> _Axis:
    node = np.floor(at).astype(np.intp)
    t = at - node
    fade = t**3 * (t * (6 * t - 15) + 10)
    weight = np.stack([1 - fade, fade])
    offset = weight * np.stack([t, t - 1])
    needed = np.arange(node.min(), node.max() + 2)
    return _Axis(needed % PERIOD, node - needed[0], weight.astype(np.float32), offset.astype(np.float32))


def _blend(grid: NDArray[np.float32], before: NDArray[np.intp], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate, at each position, between the rows of the grid before and after it."""
    rows = np.ascontiguousarray(grid)
    mixed = rows[before]
    mixed *= share[0, :, None]
    after = rows[before + 1]
    after *= share[1, :, None]
    mixed += after
    return mixed


@dataclass(frozen=True, eq=False)
class PerlinNoise:
    """A sum of octaves with mean 0 and standard deviation 1 over the plane.

    Attributes:
        octaves: Octaves to sum.
    """

    octaves: tuple[Octave, ...]

    def at(self, y: Float[np.ndarray, " y"], x: Float[np.ndarray, " x"]) -> Float32[np.ndarray, "y x"]:
        """Return the noise at every pair of a row and a column, pixels; positions outside an image are valid."""
        return np.asarray(sum(octave.at(y, x) for octave in self.octaves))


def draw_noise(
    rng: np.random.Generator, wavelength_px: float, octaves: int = 1, persistence: float = 0.5
) -> PerlinNoise:
    """Draw the gradients of a plane of noise.

    The gradient noise of Perlin (1985), "An image synthesizer", with the fade curve 6 t^5 - 15 t^4 + 10 t^3 of Perlin
    (2002), "Improving noise". The lattice of each octave is shifted, because noise is 0 at the nodes.

    Args:
        rng: Source of randomness.
        wavelength_px: Wavelength of the first octave, pixels; it halves with each octave.
        octaves: Number of octaves.
        persistence: Ratio of the amplitudes of successive octaves.
    """
    amplitudes = persistence ** np.arange(octaves)
    amplitudes /= np.linalg.norm(amplitudes)
    return PerlinNoise(tuple(_draw(rng, wavelength_px / 2**k, float(part)) for k, part in enumerate(amplitudes)))


def _draw(rng: np.random.Generator, wavelength_px: float, amplitude: float) -> Octave:
    directions = rng.integers(0, 256, (PERIOD, PERIOD), np.uint8)
    row, column = rng.uniform(0, PERIOD, 2).tolist()
    return Octave(wavelength_px, amplitude, directions, (row, column))
