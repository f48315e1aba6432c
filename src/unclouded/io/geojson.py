"""Reading and validation of untrusted GeoJSON: features and polygons in degrees; errors name the feature."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.strict_json import read_json_object

MAX_BYTES = 64 << 20
MAX_FEATURES = 100_000
MAX_POINTS = 4_000_000
"""Largest number of vertices of one geometry; the coastline of a continent at 1:10 million has 200,000."""
_DEGREES = ("CRS84", "EPSG::4326", "EPSG:4326", "OGC:CRS84")


def read_features(path: Path, expected: str) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Yield name, properties and unvalidated geometry of each feature of a file.

    Args:
        path: GeoJSON file with a feature collection.
        expected: Expected content, the end of error messages.

    Raises:
        InputError: The file is not a feature collection, its CRS is not WGS 84 in degrees, or a feature lacks
            properties.
    """
    content = read_json_object(path, MAX_BYTES, f"expected {expected}")
    features = content.get("features")
    if content.get("type", "FeatureCollection") != "FeatureCollection" or not isinstance(features, list):
        raise InputError(f"{named(path)} is not a feature collection; expected {expected}")
    if not 0 < len(features) <= MAX_FEATURES:
        raise InputError(f"{named(path)} has {len(features):,} features, expected 1 to {MAX_FEATURES:,}: {expected}")
    _require_degrees(path, content.get("crs"))
    for number, feature in enumerate(features):
        name = f"{named(path)}, feature {number}{_label(feature)}"
        if not isinstance(feature, Mapping) or feature.get("type", "Feature") != "Feature":
            raise InputError(f"{name} is not a feature; expected {expected}")
        properties = feature.get("properties")
        if not isinstance(properties, Mapping):
            raise InputError(f"{name} has no properties; expected {expected}")
        yield name, properties, feature.get("geometry")


def read_area(path: Path) -> BaseGeometry:
    """Return the union of the polygons of a file: a polygon, a feature, or a feature collection, in degrees.

    Raises:
        InputError: The file is not GeoJSON, its CRS is not WGS 84 in degrees, or a geometry is no valid polygon.
    """
    content = read_json_object(path, MAX_BYTES, "expected GeoJSON with a polygon")
    _require_degrees(path, content.get("crs"))
    features = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(features, list) or not 0 < len(features) <= MAX_FEATURES:
        raise InputError(
            f"{named(path)} has no list of 1 to {MAX_FEATURES:,} features; expected GeoJSON with a polygon"
        )
    polygons = []
    for number, feature in enumerate(features):
        is_feature = isinstance(feature, Mapping) and feature.get("type") == "Feature"
        try:
            polygons.append(parse_polygon(feature.get("geometry") if is_feature else feature)[0])
        except InputError as error:
            raise InputError(f"{named(path)}, feature {number}{_label(feature)}: {error}") from error
    return shapely.union_all(polygons)


def parse_polygon(
    geometry: Any, most_points: int = MAX_POINTS, most_longitude: float = 540.0
) -> tuple[BaseGeometry, str | None]:
    """Return a valid polygon or multi-polygon, and the reason why it had to be repaired, None if it was valid.

    Args:
        geometry: GeoJSON geometry, untrusted.
        most_points: Largest number of vertices.
        most_longitude: Largest absolute longitude; outlines across the antimeridian may continue beyond 180.

    Raises:
        InputError: The geometry is not a polygon, has invalid coordinates, or has no area.
    """
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise InputError(f"its geometry is {_found(geometry, kind)}, expected a polygon")
    rings = _rings(geometry.get("coordinates"), depth=3 if kind == "MultiPolygon" else 2)
    points = _points(rings, most_points)
    on_earth = (np.abs(points) <= (most_longitude, 90)).all(axis=1)  # false for NaN
    if not on_earth.all():
        x, y = points[~on_earth][0]
        raise InputError(f"a vertex lies at {x:g}, {y:g}, expected degrees up to {most_longitude:g} east and 90 north")
    defect = None
    try:
        outline = shape({"type": kind, "coordinates": geometry["coordinates"]})
        if not outline.is_valid:
            defect = shapely.is_valid_reason(outline)
            parts = shapely.get_parts(shapely.make_valid(outline))
            outline = shapely.union_all([part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")])
    except (shapely.errors.ShapelyError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"its rings do not form a polygon ({' '.join(str(error).split())[:80]})") from error
    if not outline.area:
        raise InputError("its polygon has no area")
    return outline, defect


def _rings(coordinates: Any, depth: int) -> Iterator[list[Any]]:
    """Yield the rings of nested lists of positions."""
    if not isinstance(coordinates, list | tuple):
        raise InputError(f"its coordinates are {_word(coordinates)}, expected lists of numbers")
    if depth == 1:
        yield list(coordinates)
        return
    for inner in coordinates:
        yield from _rings(inner, depth - 1)


def _points(rings: Iterator[list[Any]], most_points: int) -> Any:
    """Return the vertices of all rings as an array of longitude and latitude."""
    points: list[tuple[float, float]] = []
    for ring in rings:
        if not 4 <= len(ring) <= most_points - len(points):
            raise InputError(f"a ring has {len(ring):,} vertices, expected 4 to {most_points:,} in all")
        for position in ring:
            if not isinstance(position, list | tuple) or not 2 <= len(position) <= 4:
                raise InputError(f"a vertex is {_word(position)}, expected longitude and latitude")
            if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in position):
                raise InputError("a vertex is not a pair of numbers")
            try:
                points.append((float(position[0]), float(position[1])))
            except OverflowError:
                points.append((np.inf, np.inf))
    if not points:
        raise InputError("its polygon has no vertices")
    return np.array(points)


def _require_degrees(path: Path, crs: Any) -> None:
    """Refuse a ``crs`` member (GeoJSON 2008) other than WGS 84 in degrees, the only CRS of RFC 7946."""
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, Mapping) else None
    name = str(properties.get("name") if isinstance(properties, Mapping) else crs)
    if not name.endswith(_DEGREES):
        raise InputError(
            f"{named(path)} has the CRS {_word(name)}, expected longitude and latitude of WGS 84; "
            "write it with 'ogr2ogr -t_srs EPSG:4326'"
        )


def _label(feature: Any) -> str:
    """Return id or name of a feature in brackets, for messages; empty if it has neither."""
    properties = feature.get("properties") if isinstance(feature, Mapping) else None
    known = properties if isinstance(properties, Mapping) else {}
    given = (feature.get("id") if isinstance(feature, Mapping) else None, *map(known.get, ("roi", "name", "NAME")))
    name = next((one for one in given if isinstance(one, str | int) and not isinstance(one, bool)), None)
    return "" if name is None else f" ({_word(name)})"


def _found(geometry: Any, kind: Any) -> str:
    if geometry is None:
        return "null or missing"
    return f"{_word(kind if isinstance(geometry, Mapping) else geometry)}"


def _word(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return (text if text.isprintable() else ascii(text))[:60]
