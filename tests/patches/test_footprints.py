import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.patches.footprints import Footprint, overlapping, shared_ground


def footprint(name: str, east: float, north: float, crs: str = "EPSG:32632", side: int = 256) -> Footprint:
    return Footprint.of(name, GeoBox((side, side), Affine(10, 0, east, 0, -10, north), crs))


def test_half_a_patch_is_shared_by_neighbours_of_the_data_set() -> None:
    ((one, other, share),) = overlapping([footprint("a", 5e5, 5e6)], [footprint("b", 5e5 + 1280, 5e6)])
    assert (one.name, other.name) == ("a", "b")
    assert share == pytest.approx(0.5)


def test_patches_that_touch_share_no_ground() -> None:
    assert not list(overlapping([footprint("a", 5e5, 5e6)], [footprint("b", 5e5 + 2560, 5e6)]))


def test_the_same_place_in_the_next_zone_is_the_same_place() -> None:
    here = footprint("a", 7.3e5, 5e6)
    there = here.to("EPSG:32633")
    ((_, _, share),) = overlapping([there], [here])
    assert share == pytest.approx(1.0, abs=1e-3)


def test_the_antimeridian_parts_nothing() -> None:
    west = footprint("a", 8.2e5, 8e6, "EPSG:32760")  # east of zone 60, beyond 180 degrees
    east = west.to("EPSG:32701")
    ((_, _, share),) = overlapping([west], [east])
    assert share == pytest.approx(1.0, abs=1e-3)


def test_a_small_patch_within_a_large_one_is_shared_whole() -> None:
    large, small = footprint("a", 5e5, 5e6), footprint("b", 5e5 + 100, 5e6 - 100, side=16)
    assert shared_ground(large, small) == pytest.approx(1.0)
    assert len(list(overlapping([large], [small]))) == 1
    assert len(list(overlapping([small], [large]))) == 1


def test_nothing_overlaps_nothing() -> None:
    assert not list(overlapping([], [footprint("a", 5e5, 5e6)]))
    assert np.linalg.norm(footprint("a", 5e5, 5e6).on_sphere(), axis=1) == pytest.approx(6_371_000.0)
