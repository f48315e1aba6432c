"""Places of the command line; tiles are compared with the corners of real products."""

import json
from pathlib import Path

import pytest
from shapely.geometry import shape

from unclouded.acquisition.places import find_place, tile_grid
from unclouded.errors import InputError


@pytest.mark.parametrize(
    ("tile", "corner", "epsg"),
    [  # as in the metadata of these products
        ("T46RER", (499_980, 3_100_020), 32646),
        ("T22HBD", (199_980, 5_900_020), 32722),
        ("T01WCS", (300_000, 7_700_040), 32601),
        ("T01LAC", (99_960, 8_300_020), 32701),
        ("10SDG", (399_960, 4_200_000), 32610),
    ],
)
def test_a_tile_has_the_corner_of_its_products(tile: str, corner: tuple[int, int], epsg: int) -> None:
    grid = tile_grid(tile)
    assert (grid.affine.c, grid.affine.f) == corner
    assert (grid.shape, grid.affine.a, grid.crs.epsg) == ((10_980, 10_980), 10, epsg)


def test_a_box_a_point_a_file_and_a_tile_are_places(tmp_path: Path) -> None:
    assert shape(find_place("10,44,11,45").outline).bounds == (10, 44, 11, 45)
    point = shape(find_place("10.5,44.5", 20).outline)
    assert point.contains(shape({"type": "Point", "coordinates": [10.5, 44.5]}))
    west, south, east, north = point.bounds
    assert (north - south) * 111.2 == pytest.approx(20, rel=0.02)
    assert (east - west) * 111.2 * 0.713 == pytest.approx(20, rel=0.02)  # cos 44.5 degrees
    triangle = {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 2]]]}
    (tmp_path / "a.geojson").write_text(json.dumps(triangle))
    assert shape(find_place(str(tmp_path / "a.geojson")).outline).area == 2
    assert find_place("32tqm").tile == "T32TQM"
    assert find_place("179.5,-10,-179.5,-9").longitude == pytest.approx(180)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Bologna", "'Bologna' is no place; expected a box"),
        ("44.5,200", "expected longitudes from -180 to 180 and latitudes from -90 to 90"),
        ("1,2,3", "has 3 numbers"),
        ("11,44,10,45", "is no box: expected west below east"),
        ("1,,2", "are no numbers"),
        ("10,85", "expected a place between 80 S and 84 N"),
        ("99TQM", "is no tile of Sentinel-2"),
        ("32TAA", "is no tile of Sentinel-2"),
        ("missing.geojson", "missing.geojson"),
    ],
)
def test_anything_else_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        find_place(text)
    assert "\n" not in str(refused.value)


def test_a_point_has_a_size() -> None:
    with pytest.raises(InputError, match="expected a size above 0 and at most 100 km, found 500"):
        find_place("10,44", 500)
