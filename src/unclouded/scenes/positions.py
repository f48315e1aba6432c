"""Where in a radar image the pixels of a map lie: exactly at the nodes of a lattice, and smoothly between them."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.interpolate import CubicSpline, RectBivariateSpline

from unclouded.errors import InputError
from unclouded.scenes.sentinel1 import GroundControl

LATTICE_PX = 16
"""Distance of the nodes, in pixels of the map."""
BEYOND_PX = 64.0
"""How far the geolocation grid is continued, so that the nodes around the image's edges have positions, too."""
_FAR = -1e7
"""Position of what lies outside the image: nothing interpolated from it lies inside."""
_STEPS = 12
_CLOSE_M = 0.01

Nodes = Callable[[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]], Float64[np.ndarray, "2 n"]]
"""From x and y in the CRS of the map to line and pixel of the image; NaN outside."""


@runtime_checkable
class Positions(Protocol):
    """Where in the radar image the pixels of a part of the map lie."""

    def of(self, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
        """Return line and pixel of the centre of each pixel of the part; far outside the image where it is not seen."""


class GroundControlPositions:
    """By the geolocation grid of the product: its heights are those of a smooth surface, not of the terrain.

    The grid's cubic spline, continued a little beyond the image, is inverted by Newton's method.
    """

    def __init__(self, ground: GroundControl, geobox: GeoBox) -> None:
        x, y = Transformer.from_crs("EPSG:4326", str(geobox.crs), always_xy=True).transform(
            ground.longitude, ground.latitude
        )
        if not np.isfinite([x, y]).all():
            raise InputError("the radar scene lies outside the CRS of the optical scene; is it another place?")
        self._lines, self._pixels = (_continued(axis) for axis in (ground.lines, ground.pixels))
        x, y = (self._spread(ground, axis) for axis in (x, y))
        self._x, self._y = (RectBivariateSpline(self._lines, self._pixels, axis) for axis in (x, y))
        line, pixel = np.meshgrid(self._lines, self._pixels, indexing="ij")
        known = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
        self._guess = np.linalg.lstsq(known, np.stack([line.ravel(), pixel.ravel()], axis=1), rcond=None)[0]

    def _spread(self, ground: GroundControl, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        along_lines = CubicSpline(ground.lines, axis, axis=0)(self._lines)
        return np.asarray(CubicSpline(ground.pixels, along_lines, axis=1)(self._pixels))

    def of(self, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
        """Return line and pixel of each pixel of a part of the map."""
        return on_lattice(self._nodes, geobox)

    def _nodes(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        line, pixel = (np.stack([x, y, np.ones_like(x)], axis=1) @ self._guess).T
        for _ in range(_STEPS):
            off_x, off_y = self._x.ev(line, pixel) - x, self._y.ev(line, pixel) - y
            x_line, x_pixel = self._x.ev(line, pixel, dx=1), self._x.ev(line, pixel, dy=1)
            y_line, y_pixel = self._y.ev(line, pixel, dx=1), self._y.ev(line, pixel, dy=1)
            determinant = x_line * y_pixel - x_pixel * y_line
            line = line - (off_x * y_pixel - off_y * x_pixel) / determinant
            pixel = pixel - (off_y * x_line - off_x * y_line) / determinant
        miss = np.hypot(self._x.ev(line, pixel) - x, self._y.ev(line, pixel) - y)
        lines, pixels = self._lines, self._pixels
        inside = (line >= lines[0]) & (line <= lines[-1]) & (pixel >= pixels[0]) & (pixel <= pixels[-1])
        return np.where(inside & (miss < _CLOSE_M), np.stack([line, pixel]), np.nan)


def _continued(axis: Float64[np.ndarray, " n"]) -> NDArray[np.float64]:
    return np.concatenate([[axis[0] - BEYOND_PX], axis, [axis[-1] + BEYOND_PX]])


def on_lattice(nodes: Nodes, geobox: GeoBox) -> Float64[np.ndarray, "2 y x"]:
    """Ask for positions at the nodes of a lattice and interpolate between them."""
    rows, columns = (lattice(side) for side in geobox.shape)
    found = nodes(*node_places(geobox, rows, columns)).reshape(2, len(rows), len(columns))
    found = np.where(np.isfinite(found), found, _FAR)
    return np.stack([spread(part, geobox) for part in found])


def lattice(side: int) -> NDArray[np.float64]:
    """Return the places of the nodes along an axis: every 16 pixels, the first and the last pixel included."""
    return np.linspace(0, max(side - 1, 1), -(-max(side - 1, 1) // LATTICE_PX) + 1)


def node_places(
    geobox: GeoBox, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of the centres of pixels, row by row."""
    column, row = np.meshgrid(columns + 0.5, rows + 0.5)
    x, y = geobox.affine * (column, row)
    return x.ravel(), y.ravel()


def spread(values: Float64[np.ndarray, "rows columns"], geobox: GeoBox) -> Float64[np.ndarray, "y x"]:
    """Interpolate values at the nodes to every pixel."""
    height, width = geobox.shape
    down, across = _weights(height), _weights(width)
    return np.asarray(down @ values @ across.T)


def _weights(side: int) -> NDArray[np.float64]:
    nodes = lattice(side)
    return np.stack([np.interp(np.arange(side), nodes, unit) for unit in np.eye(len(nodes))], axis=1)
