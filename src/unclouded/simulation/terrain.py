"""Simulated terrain of a region: hills with a river, a brook and a lake."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt, uniform_filter, zoom

from unclouded.simulation.noise import fractal_noise, smooth_step

PIXEL_M = 10.0
"""Side of a pixel, metres."""
_STEP_PX = 0.5
"""Distance between two points of a river's course."""


@dataclass(frozen=True, eq=False)
class Terrain:
    """Relief and water.

    Attributes:
        height_m: Height above the river.
        river: Pixels of river and brook.
        lake: Pixels of the lake.
        shore_px: Chessboard distance to the nearest water, px.
        course: Points along the river outside the lake, (row, column).
    """

    height_m: Float32[np.ndarray, "y x"]
    river: Bool[np.ndarray, "y x"]
    lake: Bool[np.ndarray, "y x"]
    shore_px: Float32[np.ndarray, "y x"]
    course: Float32[np.ndarray, "point 2"]

    @cached_property
    def rise(self) -> Float32[np.ndarray, "2 y x"]:
        """Gradient towards the south and towards the east, in metres per metre."""
        return np.stack(np.gradient(self.height_m, PIXEL_M))

    @cached_property
    def steepness(self) -> Float32[np.ndarray, "y x"]:
        """Magnitude of the gradient, in metres per metre."""
        return np.asarray(np.hypot(*self.rise))


def simulate_terrain(rng: np.random.Generator, size_px: int) -> Terrain:
    """Simulate hills with a meandering river, a brook that joins it, and a lake.

    Args:
        rng: Source of randomness.
        size_px: Number of rows and of columns.
    """
    course, brook = _courses(rng, size_px)
    lake = _lake(rng, size_px)
    river = (_drawn(course, size_px, rng.uniform(5, 9)) | _drawn(brook, size_px, 1.5)) & ~lake
    shore_px = distance_transform_cdt(~(river | lake), "chessboard").astype(np.float32)
    course = course[((course >= 0) & (course < size_px - 1)).all(axis=1)]
    course = course[~lake[tuple(np.rint(course).astype(int).T)]]
    return Terrain(_height(rng, size_px, shore_px), river, lake, shore_px, course.astype(np.float32))


def _courses(rng: np.random.Generator, size_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the courses of a river through the middle and of a brook that ends in it."""
    heading = rng.uniform(0, 2 * np.pi)
    river = _meander(rng, 3 * size_px, heading, bend_px=rng.uniform(110, 170), swing=rng.uniform(0.95, 1.35))
    river += size_px * rng.uniform(0.35, 0.65, 2) - river[len(river) // 2]
    brook = _meander(rng, 2 * size_px, heading + rng.choice([-1.2, 1.2]), bend_px=45, swing=0.7)
    brook += river[len(river) // 2 + rng.integers(-size_px // 4, size_px // 4)]
    return river, brook


def _meander(
    rng: np.random.Generator, length_px: int, heading: float, bend_px: float, swing: float
) -> NDArray[np.float64]:
    """Return a sine-generated curve from (0, 0), whose heading swings by ``swing`` radians once every ``bend_px``."""
    along = np.arange(0, length_px, _STEP_PX)
    drift = np.cumsum(rng.normal(0, np.sqrt(_STEP_PX / bend_px), (3, len(along))), axis=1)
    swings = swing * (1 + 0.35 * np.sin(drift[0])) * np.sin(2 * np.pi * along / bend_px + 0.9 * drift[1])
    headings = heading + swings + 0.25 * np.sin(drift[2])
    return np.cumsum(_STEP_PX * np.stack([np.sin(headings), np.cos(headings)], axis=1), axis=0)


def _drawn(course: NDArray[np.float64], size_px: int, width_px: float) -> NDArray[np.bool_]:
    """Return the pixels within half a width of a course; the width varies by a fifth."""
    along = np.gradient(course, axis=0) / _STEP_PX
    aside = np.stack([along[:, 1], -along[:, 0]], axis=1)
    breadth = 1 + 0.2 * np.sin(np.arange(len(course)) / 80)
    drawn = np.zeros((size_px, size_px), np.bool_)
    for offset in np.arange(-width_px / 2, width_px / 2 + 0.1, 0.4):
        row, column = np.rint(course + aside * (breadth * offset)[:, None]).astype(int).T
        inside = (row >= 0) & (row < size_px) & (column >= 0) & (column < size_px)
        drawn[row[inside], column[inside]] = True
    return drawn


def _lake(rng: np.random.Generator, size_px: int) -> NDArray[np.bool_]:
    """Return the pixels of an ellipse with a ragged shore."""
    centre, turn = rng.uniform(0.12, 0.88, 2) * size_px, rng.uniform(0, np.pi)
    row, column = (np.arange(size_px, dtype=np.float32) - np.float32(middle) for middle in centre)
    long = np.float32(np.cos(turn)) * row[:, None] + np.float32(np.sin(turn)) * column
    short = np.float32(np.cos(turn)) * column - np.float32(np.sin(turn)) * row[:, None]
    radius = rng.uniform(14, 22) * (1 + size_px / 2048) + 5 * fractal_noise(rng, size_px, 1.6, 60, 6)
    return np.asarray((long / 2.2) ** 2 + short**2 < radius.clip(0) ** 2)


def _height(rng: np.random.Generator, size_px: int, shore_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the height: gullied hills in rugged areas, flat ground along the water."""
    half = -(-size_px // 2)
    rugged = smooth_step(fractal_noise(rng, half, 2.5, 350, 60), -0.5, 1.2)
    hills, knolls = fractal_noise(rng, half, 2.6, 130, 12), fractal_noise(rng, half, 2, 130)
    rough = fractal_noise(rng, half, 1.6, 60, 3)
    height = 6 * knolls + rugged * (120 + 60 * hills + 16 * _gullies(rng, hills) + 4 * rough)
    valley = uniform_filter(smooth_step(shore_px, 4, 130), 41)
    return np.asarray(valley * zoom(height, 2, order=1)[:size_px, :size_px], dtype=np.float32)


def _gullies(rng: np.random.Generator, hills: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return noise smeared along the fall line: spurs and gullies on slopes, none on summits and plains."""
    size = len(hills)
    south, east = np.gradient(hills)
    steep = np.hypot(south, east) + np.float32(1e-6)
    row, column = np.arange(size)[:, None], np.arange(size)
    noise, smeared = fractal_noise(rng, size, 1.2, 22, 5), np.zeros_like(hills)
    for step in range(-12, 13, 2):
        upper = np.rint(row + step * south / steep).astype(np.int64) % size
        left = np.rint(column + step * east / steep).astype(np.int64) % size
        smeared += noise.take(upper * size + left)
    smeared = uniform_filter(smeared, 3) / smeared.std()
    return np.asarray(np.clip(steep / steep.std(), 0, 1.5) * np.minimum(np.abs(smeared), 1.5))
