"""Which patches share ground: pairs of grids, whatever their coordinate systems."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from jaxtyping import Float64
from odc.geo.geobox import GeoBox
from rasterio.warp import transform
from scipy.spatial import cKDTree
from shapely import Polygon

from unclouded.patches.geography import unit_vectors

LEAST_SHARE = 1e-3
"""Common ground below this share of the smaller patch is rounding: neighbours that touch share none."""


def overlapping(first: Mapping[str, GeoBox], second: Mapping[str, GeoBox]) -> Iterator[tuple[str, str, float]]:
    """Yield the names of pairs with common ground, one of each group, and its share of the smaller one.

    Candidates are near each other on the sphere, so that neither zone borders nor the antimeridian matter; then
    the second outline is compared in the coordinate system of the first.

    Args:
        first: Grids by name; all with a coordinate system.
        second: Idem.
    """
    if not (first and second):
        return
    (centres, radii), (others, other_radii) = _balls(first.values()), _balls(second.values())
    near = cKDTree(others).query_ball_point(centres, radii + other_radii.max())
    names = list(second)
    for name, candidates in zip(first, near, strict=True):
        for other in (names[candidate] for candidate in sorted(candidates)):
            share = shared_ground(first[name], second[other])
            if share > LEAST_SHARE:
                yield name, other, share


def shared_ground(first: GeoBox, second: GeoBox) -> float:
    """Return the share of the smaller grid that both cover."""
    one, other = Polygon(_corners(first, str(first.crs))), Polygon(_corners(second, str(first.crs)))
    return float(one.intersection(other).area / min(one.area, other.area))


def _corners(grid: GeoBox, crs: str) -> Float64[np.ndarray, "corner 2"]:
    """Easting and northing, or longitude and latitude, in the order of the outline."""
    height, width = grid.shape
    pixels = ((0, 0), (width, 0), (width, height), (0, height))
    corners = np.array([grid.affine @ corner for corner in pixels], np.float64)
    return corners if crs == str(grid.crs) else np.stack(transform(str(grid.crs), crs, *corners.T), axis=1)


def _balls(grids: Iterable[GeoBox]) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
    """Centre and radius of a ball around each grid, in radii of the earth."""
    corners = [unit_vectors(_corners(grid, "EPSG:4326")) for grid in grids]
    centres = np.array([one.mean(axis=0) for one in corners])
    radii = [np.linalg.norm(one - centre, axis=1).max() for one, centre in zip(corners, centres, strict=True)]
    return centres, np.array(radii)
