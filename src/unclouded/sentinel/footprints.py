"""Footprints of grids in degrees, split at the antimeridian, the share of a region they cover, and UTM zones."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box, mapping, shape
from shapely.geometry.base import BaseGeometry

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.raster import describe_grid

SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0
"""Latitude range of UTM and of the Sentinel-2 tiles."""
_POINTS = 20
_WIDEST_DEG = 360.0
"""Largest absolute longitude; outlines across the antimeridian may continue beyond 180."""


def footprint(geobox: GeoBox) -> dict[str, Any]:
    """Return the outline of a grid as a GeoJSON geometry in degrees.

    Outlines across the antimeridian are cut in two (RFC 7946, section 3.1.9).

    Raises:
        InputError: The grid has no CRS, or reaches beyond 84 degrees north or 80 degrees south.
    """
    if geobox.crs is None:
        raise InputError("expected a grid with CRS, found one without; assign the right one")
    longitude, latitude = outline_deg(geobox)
    require_latitude(float(np.min(latitude)), float(np.max(latitude)))
    if np.ptp(longitude) <= 180:
        return dict(mapping(Polygon(zip(longitude, latitude, strict=True))))
    whole = Polygon(zip(longitude % 360, latitude, strict=True))
    east = whole.intersection(box(0, -90, 180, 90))
    west = translate(whole.intersection(box(180, -90, 360, 90)), -360)
    return dict(mapping(MultiPolygon([east, west])))


def require_on_earth(path: Path, geobox: GeoBox) -> None:
    """Refuse an image with a CRS but without valid footprint.

    Raises:
        InputError: See :func:`footprint`; the message names the image.
    """
    if geobox.crs is not None:
        try:
            footprint(geobox)
        except InputError as error:
            raise InputError(f"{named(path)}: {error}") from error


def centre_deg(geobox: GeoBox) -> tuple[float, float] | None:
    """Return longitude and latitude of the centre of a grid; None if it has no CRS or lies outside it."""
    if geobox.crs is None:
        return None
    height, width = geobox.shape
    try:
        longitude, latitude = _to_degrees(str(geobox.crs)).transform(*(geobox.affine * (width / 2, height / 2)))
    except ProjError:
        return None
    return (float(longitude), float(latitude)) if abs(latitude) <= 90 else None


def latitude_deg(geobox: GeoBox) -> float | None:
    """Return the latitude of the centre of a grid; None if it is unknown."""
    centre = centre_deg(geobox)
    return centre and centre[1]


@lru_cache(maxsize=64)
def _to_degrees(crs: str) -> Transformer:
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def outline_deg(geobox: GeoBox) -> tuple[Float64[np.ndarray, " point"], Float64[np.ndarray, " point"]]:
    """Return longitudes and latitudes along the edges of a grid with CRS.

    Raises:
        InputError: The CRS is a local one, or the grid lies outside its area of validity.
    """
    x, y = (np.asarray(axis, np.float64) for axis in _outline(geobox))
    try:
        to_degrees = _to_degrees(str(geobox.crs))
        longitude, latitude = (np.asarray(axis, np.float64) for axis in to_degrees.transform(x, y))
        back = to_degrees.transform(longitude, latitude, direction="INVERSE")
    except ProjError as error:
        raise InputError(
            f"its CRS ({describe_grid(geobox)}) is a local one, without relation to the Earth; assign the right one"
        ) from error
    pixel = np.hypot(geobox.affine.a, geobox.affine.d)
    moved = np.hypot(back[0] - x, back[1] - y) / pixel  # outside its limits a projection is not invertible
    if not (np.abs(longitude) <= _WIDEST_DEG).all() or not (np.abs(latitude) <= 90).all() or not (moved < 1).all():
        raise InputError(f"it lies outside its CRS ({describe_grid(geobox)}); correct its georeference")
    return longitude, latitude


def _outline(geobox: GeoBox) -> tuple[Any, Any]:
    """Return x and y along the edges, counter-clockwise if north is up; 20 points a side, as edges are curves."""
    height, width = geobox.shape
    down, right = (np.linspace(0, side, _POINTS, endpoint=False) for side in (height, width))
    column = np.concatenate([np.zeros(_POINTS), right, np.full(_POINTS, width), width - right, [0]])
    row = np.concatenate([down, np.full(_POINTS, height), height - down, np.zeros(_POINTS), [0]])
    x, y = geobox.affine * (column, row)
    return x, y


def pixel_at(grid: GeoBox, place: tuple[float, float]) -> tuple[int, int]:
    """Return row and column of a place, given as longitude and latitude; it may lie outside the grid.

    Raises:
        InputError: The grid has no CRS.
    """
    if grid.crs is None:
        raise InputError("expected images with CRS to locate the center, found one without; leave the center out")
    x, y = Transformer.from_crs("EPSG:4326", str(grid.crs), always_xy=True).transform(*place)
    column, row = ~grid.affine * (x, y)
    return round(row), round(column)


def footprint_around(longitude: float, latitude: float, size_km: tuple[float, float]) -> dict[str, Any]:
    """Return the outline of a rectangle in the UTM zone of its center, as a GeoJSON geometry in degrees.

    Args:
        longitude: Longitude of the center in degrees.
        latitude: Latitude of the center in degrees.
        size_km: Extent from west to east, and from north to south.

    Raises:
        InputError: The rectangle reaches beyond 84 degrees north or 80 degrees south.
    """
    crs = utm_crs(longitude, latitude)
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    half_x, half_y = (side * 500 for side in size_km)
    return footprint(
        GeoBox.from_bbox((x - half_x, y - half_y, x + half_x, y + half_y), crs, shape=(100, 100), tight=True)
    )


def shown_share(footprint: Mapping[str, Any], region: Mapping[str, Any], longitude: float) -> float:
    """Return the share of a region covered by the footprint of a scene, also across the antimeridian.

    Args:
        footprint: Footprint of the scene, a GeoJSON geometry in degrees.
        region: Outline of the region, a GeoJSON geometry in degrees.
        longitude: Longitude of the center of the region; longitudes are shifted relative to it.
    """
    scene, place = _around(footprint, longitude), _around(region, longitude)
    if not place.area:
        return 0.0
    return float(scene.intersection(place).area / place.area)


def contains_point(outline: Mapping[str, Any], longitude: float, latitude: float) -> bool:
    """Return whether a place lies within an outline, also across the antimeridian.

    Args:
        outline: GeoJSON geometry in degrees.
        longitude: Longitude of the place in degrees.
        latitude: Latitude of the place in degrees.
    """
    return bool(shapely.contains_xy(_around(outline, longitude), 0.0, latitude))


def _around(geometry: Mapping[str, Any], longitude: float) -> BaseGeometry:
    """Return a geometry with longitudes relative to a center, without parts on the opposite side of the Earth."""

    def shifted(points: Float64[np.ndarray, "point 2"]) -> Float64[np.ndarray, "point 2"]:
        return np.column_stack([(points[:, 0] - longitude + 180) % 360 - 180, points[:, 1]])

    parts = []
    for part in shapely.get_parts(shape(geometry)):
        around = shapely.transform(part, shifted)
        if np.ptp(shapely.get_coordinates(around)[:, 0]) <= 180:
            parts.append(around)
    return shapely.union_all(shapely.make_valid(np.array(parts, object)))


def require_latitude(south: float, north: float) -> None:
    """Refuse latitudes outside UTM.

    Raises:
        InputError: A latitude lies beyond 84 degrees north or 80 degrees south.
    """
    if not SOUTHERNMOST <= south <= north <= NORTHERNMOST:
        raise InputError(f"expected a place between 80 S and 84 N, found latitudes {south:.2f} to {north:.2f}")


def utm_crs(longitude: float, latitude: float) -> str:
    """Return the CRS of the UTM zone of a place, with the exceptions of MGRS for Norway and Svalbard.

    Raises:
        InputError: The place lies beyond 84 degrees north or 80 degrees south.
    """
    require_latitude(latitude, latitude)
    longitude = (longitude + 180) % 360 - 180
    zone = int((longitude + 180) // 6) + 1
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        zone = 32
    if latitude >= 72 and 0 <= longitude < 42:
        zone = 31 + 2 * int((longitude + 3) // 12)
    return f"EPSG:{32600 if latitude >= 0 else 32700}".replace("00", f"{zone:02d}", 1)
