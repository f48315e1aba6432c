import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from pyproj import Geod

from unclouded.patches.geography import EARTH_KM, Circle, circle_around, groups_within
from unclouded.scenes.footprints import footprint


def test_a_quarter_of_the_globe_lies_between_the_equator_and_the_pole() -> None:
    gap = Circle(0, 0, 0).gap_km(Circle(0, 90, 0))
    assert gap == pytest.approx(np.pi / 2 * EARTH_KM)
    assert Circle(0, 0, 100).gap_km(Circle(0, 90, 50)) == pytest.approx(gap - 150)
    assert Circle(179, 0, 10).gap_km(Circle(-179, 0, 10)) == pytest.approx(2 * 111.195 - 20, abs=0.01)


def test_distances_are_those_of_the_ellipsoid_to_0_6_percent() -> None:
    rng, geod = np.random.default_rng(5), Geod(ellps="WGS84")
    for west, south, east, north in rng.uniform((-180, -80, -180, -80), (180, 80, 180, 80), (50, 4)):
        expected = geod.inv(west, south, east, north)[2] / 1000
        assert Circle(west, south, 0).gap_km(Circle(east, north, 0)) == pytest.approx(expected, rel=0.006)


@pytest.mark.parametrize("crs", ("EPSG:32632", "EPSG:32760"))
def test_the_circle_around_a_region_reaches_its_corners_also_over_the_antimeridian(crs: str) -> None:
    east = 500_000 if crs == "EPSG:32632" else 815_000
    region = GeoBox.from_bbox((east, 8_000_000, east + 52_000, 8_040_000), crs, shape=(40, 52))
    circle = circle_around(footprint(region))
    assert circle.radius_km == pytest.approx(np.hypot(26, 20), rel=0.02)


def test_neighbours_of_neighbours_are_one_group() -> None:
    circles = [Circle(longitude, 0, 10) for longitude in (0, 10, 1, 0.5, 11)]  # a degree is 111 km
    assert groups_within(circles, 50) == [[0, 2, 3], [1], [4]]
    assert groups_within(circles, 30) == [[0], [1], [2], [3], [4]]
    assert groups_within(circles, 95) == [[0, 2, 3], [1, 4]]
