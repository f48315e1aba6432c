"""Where on Earth a grid lies: its outline in degrees, split where it crosses the antimeridian, and its UTM zone."""

from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box, mapping

from unclouded.errors import InputError

SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0
"""Latitudes between which UTM is defined, and Sentinel-2 has tiles."""
_POINTS = 20


def footprint(geobox: GeoBox) -> dict[str, Any]:
    """Return the outline of a grid as a GeoJSON geometry in degrees.

    RFC 7946, section 3.1.9: what crosses the antimeridian is cut in two there.

    Raises:
        InputError: The grid has no CRS, or reaches beyond 84 degrees north or 80 degrees south.
    """
    if geobox.crs is None:
        raise InputError("expected a grid with CRS, found one without; where it lies is unknown")
    longitude, latitude = Transformer.from_crs(str(geobox.crs), "EPSG:4326", always_xy=True).transform(
        *_outline(geobox)
    )
    require_latitude(float(np.min(latitude)), float(np.max(latitude)))
    longitude = np.asarray(longitude)
    if np.ptp(longitude) <= 180:
        return dict(mapping(Polygon(zip(longitude, latitude, strict=True))))
    whole = Polygon(zip(longitude % 360, latitude, strict=True))
    east = whole.intersection(box(0, -90, 180, 90))
    west = translate(whole.intersection(box(180, -90, 360, 90)), -360)
    return dict(mapping(MultiPolygon([east, west])))


def _outline(geobox: GeoBox) -> tuple[Any, Any]:
    """Return x and y along the edges, counter-clockwise where north is up; edges are curves in degrees."""
    height, width = geobox.shape
    down, right = (np.linspace(0, side, _POINTS, endpoint=False) for side in (height, width))
    column = np.concatenate([np.zeros(_POINTS), right, np.full(_POINTS, width), width - right, [0]])
    row = np.concatenate([down, np.full(_POINTS, height), height - down, np.zeros(_POINTS), [0]])
    x, y = geobox.affine * (column, row)
    return x, y


def require_latitude(south: float, north: float) -> None:
    """Refuse places beyond UTM.

    Raises:
        InputError: A latitude lies beyond 84 degrees north or 80 degrees south.
    """
    if not SOUTHERNMOST <= south <= north <= NORTHERNMOST:
        raise InputError(f"expected a place between 80 S and 84 N, found latitudes {south:.2f} to {north:.2f}")


def utm_crs(longitude: float, latitude: float) -> str:
    """Return the UTM zone of a place, with the exceptions of the military grid in Norway and on Svalbard.

    Raises:
        InputError: It has none: beyond 84 degrees north or 80 degrees south.
    """
    require_latitude(latitude, latitude)
    longitude = (longitude + 180) % 360 - 180
    zone = int((longitude + 180) // 6) + 1
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        zone = 32
    if latitude >= 72 and 0 <= longitude < 42:
        zone = 31 + 2 * int((longitude + 3) // 12)
    return f"EPSG:{32600 if latitude >= 0 else 32700}".replace("00", f"{zone:02d}", 1)
