"""Untrusted features and polygons are read, repaired, or refused with their names."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.io.geojson import parse_polygon, read_features

SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def test_a_polygon_is_read_as_it_is() -> None:
    outline, mended = parse_polygon(polygon(SQUARE, [[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [0.5, 1.5], [0.5, 0.5]]))
    assert (outline.area, mended) == (3.0, None)
    assert (
        parse_polygon({"type": "MultiPolygon", "coordinates": [[SQUARE], [[[x + 5, y] for x, y in SQUARE]]]})[0].area
        == 8
    )


def test_a_ring_that_crosses_itself_is_repaired_with_a_reason() -> None:
    outline, mended = parse_polygon(polygon([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]))  # a bow tie
    assert (outline.area, mended) == (2.0, "Self-intersection[1 1]")


def test_an_open_ring_is_closed_and_heights_are_dropped() -> None:
    assert parse_polygon(polygon([[0, 0, 99], [2, 0, 99], [2, 2, 99], [0, 2, 99]]))[0].area == 4.0


REFUSED = {
    "null": (None, "its geometry is null or missing"),
    "text": ("Polygon", "its geometry is 'Polygon', expected a polygon"),
    "list": ([], "its geometry is list"),
    "type is a number": ({"type": 3}, "its geometry is 3"),
    "type is a list": ({"type": []}, "its geometry is list"),
    "point": ({"type": "Point", "coordinates": [0, 0]}, "its geometry is 'Point'"),
    "line": ({"type": "LineString", "coordinates": SQUARE}, "its geometry is 'LineString'"),
    "collection": ({"type": "GeometryCollection", "geometries": []}, "its geometry is 'GeometryCollection'"),
    "no coordinates": ({"type": "Polygon"}, "its coordinates are NoneType"),
    "empty": (polygon(), "its polygon has no vertices"),
    "empty ring": (polygon([]), "a ring has 0 vertices"),
    "three corners": (polygon(SQUARE[:3]), "a ring has 3 vertices, expected 4"),
    "too shallow": (polygon(*SQUARE), "a ring has 2 vertices"),
    "too deep": (polygon([SQUARE, SQUARE, SQUARE, SQUARE]), "a vertex is list"),
    "text for a number": (polygon([["0", 0], *SQUARE]), "a vertex is not a pair of numbers"),
    "true for a number": (polygon([[True, 0], *SQUARE]), "a vertex is not a pair of numbers"),
    "one number": (polygon([[0], *SQUARE]), "a vertex is list, expected longitude and latitude"),
    "null for a vertex": (polygon([None, *SQUARE]), "a vertex is NoneType"),
    "1e308": (
        polygon([[-1e308, -1e308], [1e308, -1e308], [1e308, 1e308], [-1e308, -1e308]]),
        "a vertex lies at -1e+308",
    ),
    "NaN": (polygon([[float("nan"), 0], *SQUARE]), "a vertex lies at nan, 0"),
    "infinite": (polygon([[0, float("inf")], *SQUARE]), "a vertex lies at 0, inf"),
    "400 digits": (polygon([[10**400, 0], *SQUARE]), "a vertex lies at inf"),
    "metres": (polygon([[600_000, 4_900_000], *SQUARE]), "a vertex lies at 600000, 4.9e+06"),
    "beyond the pole": (polygon([[0, 90.1], *SQUARE]), "a vertex lies at 0, 90.1"),
    "a line": (polygon([[0, 0], [1, 1], [2, 2], [0, 0]]), "its polygon has no area"),
    "one place": (polygon([[1, 1]] * 5), "its polygon has no area"),
    "too many": (polygon([*SQUARE] * 3), "a ring has 15 vertices, expected 4 to 12"),
}


@pytest.mark.parametrize(("geometry", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_polygon_on_earth_is_refused_in_one_line(geometry: Any, reason: str) -> None:
    with pytest.raises(InputError) as error:
        parse_polygon(geometry, most_points=12)
    assert reason in str(error.value) and "\n" not in str(error.value)


def written(folder: Path, content: Any) -> Path:
    (folder / "a.geojson").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "a.geojson"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "does not hold a JSON object; expected islands"),
        ({}, "is not a feature collection; expected islands"),
        ({"features": {}}, "is not a feature collection"),
        ({"type": "Feature", "features": []}, "is not a feature collection"),
        ({"features": []}, "has 0 features"),
        ({"features": [None]}, "feature 0 is not a feature"),
        ({"features": [{"properties": {}}, {"properties": None}]}, "feature 1 has no properties"),
        ({"features": [{"properties": {}}, {"id": "Malta", "properties": 7}]}, "feature 1 ('Malta') has no properties"),
        ({"features": [{"type": "Point", "properties": {"name": "x\ny"}}]}, "feature 0 ('x\\ny') is not a feature"),
        (
            {"features": [{}], "crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}},
            "EPSG::3857', expected longit",
        ),
        ({"features": [{}], "crs": 7}, "has the CRS '7', expected longitude and latitude"),
        ("[" * 100_000, "is not JSON (nested deeper than 64 levels); expected islands"),
        ('{"features": [NaN]}', "is not JSON (NaN is not a number"),
        ('{"features": [' + "9" * 5000 + "]}", "has 5,000 digits"),
    ],
)
def test_files_of_something_else_are_refused_in_one_line(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(InputError) as error:
        list(read_features(written(tmp_path, content), "islands"))
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_degrees_may_be_named_in_the_way_of_2008(tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    path = written(tmp_path, {"features": [{"properties": {"a": 1}, "geometry": 7}], "crs": crs})
    assert list(read_features(path, "islands")) == [(f"{path}, feature 0", {"a": 1}, 7)]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["type", "coordinates"]), inner),
    max_leaves=20,
)
corners = st.lists(st.tuples(st.floats(-200, 200), st.floats(-95, 95)), min_size=3, max_size=7)


@given(st.sampled_from(["Polygon", "MultiPolygon", "Point"]), anything | st.lists(corners, max_size=3))
def test_whatever_is_given_is_a_valid_polygon_or_refused(kind: str, coordinates: Any) -> None:
    with suppress(InputError):
        outline, _ = parse_polygon({"type": kind, "coordinates": coordinates})
        assert outline.is_valid and outline.area > 0
