"""Where patches lie on the ground, and which of them share some of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from odc.geo.geobox import GeoBox
from rasterio.warp import transform
from scipy.spatial import cKDTree
from shapely import Polygon

from unclouded.geotiff import ImageFile, read_grid

EARTH_M = 6_371_000.0
"""Mean radius: only candidates are searched on the sphere."""
LEAST_SHARE = 1e-3
"""Common ground below this share of the smaller patch is rounding: neighbours that touch share none."""


@dataclass(frozen=True, eq=False)
class Footprint:
    """The ground under a patch.

    Attributes:
        name: Of the patch.
        corners: Easting and northing, or longitude and latitude, in the order of the outline.
        crs: Coordinate system of the corners.
    """

    name: str
    corners: Float64[np.ndarray, "corner 2"]
    crs: str

    @classmethod
    def of(cls, name: str, grid: GeoBox) -> "Footprint":
        """Return the footprint of a grid that has a coordinate system."""
        height, width = grid.shape
        pixels = ((0, 0), (width, 0), (width, height), (0, height))
        return cls(name, np.array([grid.affine @ corner for corner in pixels], np.float64), str(grid.crs))

    def to(self, crs: str) -> "Footprint":
        """Return the same corners in another coordinate system."""
        if crs == self.crs:
            return self
        return Footprint(self.name, np.stack(transform(self.crs, crs, *self.corners.T), axis=1), crs)

    def on_sphere(self) -> Float64[np.ndarray, "corner 3"]:
        """Return the corners in metres from the centre of the earth."""
        lon, lat = np.radians(self.to("EPSG:4326").corners).T
        return EARTH_M * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def read_footprint(name: str, path: ImageFile) -> Footprint | None:
    """Return where a GeoTIFF lies; None where it has no coordinate system.

    Raises:
        InputError: It is no GeoTIFF.
    """
    grid = read_grid(path)
    return Footprint.of(name, grid) if grid.crs is not None else None


def overlapping(
    first: Sequence[Footprint], second: Sequence[Footprint]
) -> Iterator[tuple[Footprint, Footprint, float]]:
    """Yield pairs with common ground, one of each list, and its share of the smaller one.

    Candidates are near each other on the sphere, so that neither zone borders nor the antimeridian matter; then
    the second outline is compared in the coordinate system of the first.
    """
    if not (first and second):
        return
    (centres, radii), (others, other_radii) = _spheres(first), _spheres(second)
    near = cKDTree(others).query_ball_point(centres, radii + other_radii.max())
    for one, candidates in zip(first, near, strict=True):
        for candidate in sorted(candidates):
            share = shared_ground(one, second[candidate])
            if share > LEAST_SHARE:
                yield one, second[candidate], share


def shared_ground(first: Footprint, second: Footprint) -> float:
    """Return the share of the smaller footprint that both cover."""
    one, other = Polygon(first.corners), Polygon(second.to(first.crs).corners)
    return float(one.intersection(other).area / min(one.area, other.area))


def _spheres(footprints: Sequence[Footprint]) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
    """Centre and radius of a ball around each footprint."""
    corners = [one.on_sphere() for one in footprints]
    centres = np.array([one.mean(axis=0) for one in corners])
    radii = [np.linalg.norm(one - centre, axis=1).max() for one, centre in zip(corners, centres, strict=True)]
    return centres, np.array(radii)
