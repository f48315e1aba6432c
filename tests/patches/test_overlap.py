import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from unclouded.patches.overlap import overlapping, shared_ground


def patch(east: float, north: float, crs: str = "EPSG:32632", side: int = 256) -> GeoBox:
    return GeoBox((side, side), Affine(10, 0, east, 0, -10, north), crs)


def in_zone(grid: GeoBox, crs: str) -> GeoBox:
    """The same ground by the coordinates of another zone, in which it stands askew."""
    height, width = grid.shape
    moved = Transformer.from_crs(str(grid.crs), crs, always_xy=True)
    corner, right, down = (moved.transform(*(grid.affine @ place)) for place in ((0, 0), (width, 0), (0, height)))
    x, y = (((right[axis] - corner[axis]) / width, (down[axis] - corner[axis]) / height) for axis in (0, 1))
    return GeoBox(grid.shape, Affine(*x, corner[0], *y, corner[1]), crs)


def test_half_a_patch_is_shared_by_neighbours_of_the_data_set() -> None:
    ((one, other, share),) = overlapping({"a": patch(5e5, 5e6)}, {"b": patch(5e5 + 1280, 5e6)})
    assert (one, other) == ("a", "b")
    assert share == pytest.approx(0.5)


def test_patches_that_touch_share_no_ground() -> None:
    assert not list(overlapping({"a": patch(5e5, 5e6)}, {"b": patch(5e5 + 2560, 5e6)}))


def test_the_same_place_in_the_next_zone_is_the_same_place() -> None:
    here = patch(7.3e5, 5e6)
    ((_, _, share),) = overlapping({"there": in_zone(here, "EPSG:32633")}, {"here": here})
    assert share == pytest.approx(1.0, abs=1e-3)


def test_the_antimeridian_parts_nothing() -> None:
    west = patch(8.2e5, 8e6, "EPSG:32760")  # east of zone 60, beyond 180 degrees
    ((_, _, share),) = overlapping({"west": west}, {"east": in_zone(west, "EPSG:32701")})
    assert share == pytest.approx(1.0, abs=1e-3)


def test_a_small_patch_within_a_large_one_is_shared_whole() -> None:
    large, small = patch(5e5, 5e6), patch(5e5 + 100, 5e6 - 100, side=16)
    assert shared_ground(large, small) == pytest.approx(1.0)
    assert len(list(overlapping({"a": large}, {"b": small}))) == 1
    assert len(list(overlapping({"a": small}, {"b": large}))) == 1


def test_nothing_overlaps_nothing() -> None:
    assert not list(overlapping({}, {"a": patch(5e5, 5e6)}))
