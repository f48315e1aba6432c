from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from shapely.geometry import Point, box, mapping, shape

from unclouded.errors import InputError
from unclouded.sentinel.footprints import (
    centre_deg,
    footprint,
    footprint_around,
    require_on_earth,
    shown_share,
    utm_crs,
)


def tile(epsg: int, left: float, top: float, side: int = 10_980) -> GeoBox:
    return GeoBox((side, side), Affine(10, 0, left, 0, -10, top), epsg)


def test_an_outline_holds_the_middle_and_the_corners() -> None:
    grid = tile(32632, 600_000, 5_000_040)
    outline = shape(footprint(grid))
    to_degrees = Transformer.from_crs(32632, 4326, always_xy=True)
    assert outline.geom_type == "Polygon" and outline.is_valid and outline.exterior.is_ccw
    assert outline.contains(Point(to_degrees.transform(654_900, 4_945_140)))
    assert outline.boundary.distance(Point(to_degrees.transform(600_000, 5_000_040))) < 1e-9


def test_fault_12_an_outline_over_the_antimeridian_is_cut_in_two() -> None:
    """The tile 01LAC of 2020 reaches from zone 1 into zone 60; its manifest has longitudes 179.26 to -179.70."""
    outline = shape(footprint(tile(32701, 99_960, 8_300_020)))
    assert outline.geom_type == "MultiPolygon" and outline.is_valid
    east, west = outline.geoms
    assert east.bounds[2] == 180 and 179.2 < east.bounds[0] < 179.3
    assert west.bounds[0] == -180 and -179.8 < west.bounds[2] < -179.6
    assert outline.area == pytest.approx(1.02, rel=0.02)  # square degrees: 109.8 km in both directions at 16 S


@pytest.mark.parametrize(("epsg", "place"), [(32661, (2_000_000, 2_000_000)), (32633, (500_000, 9_340_000))])
def test_fault_12_polar_grids_are_refused(epsg: int, place: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="expected a place between 80 S and 84 N, found latitudes"):
        footprint(tile(epsg, *place))


def test_a_grid_without_crs_lies_nowhere() -> None:
    with pytest.raises(InputError, match="expected a grid with CRS"):
        footprint(GeoBox((4, 4), Affine.identity(), None))


@settings(max_examples=8)
@given(st.floats(-179.99, 179.99), st.floats(-79.9, 55.9))
def test_fault_12_zones_are_those_of_the_registry(longitude: float, latitude: float) -> None:
    if abs(longitude - 6 * round(longitude / 6)) < 0.01 or abs(latitude) < 0.01:
        return  # both zones hold a border
    here = AreaOfInterest(longitude, latitude, longitude, latitude)
    found = query_utm_crs_info(datum_name="WGS 84", area_of_interest=here)
    assert utm_crs(longitude, latitude) in {f"EPSG:{info.code}" for info in found}


@pytest.mark.parametrize(
    ("longitude", "latitude", "zone"),
    [
        (5.3, 60.4, 32632),  # Bergen, 31 by its longitude
        (15.6, 78.2, 32633),  # Longyearbyen
        (8.9, 78.0, 32631),
        (9.0, 78.0, 32633),
        (180.0, -17.0, 32701),
        (-180.0, -17.0, 32701),
        (179.999, -17.0, 32760),
        (-70.0, -53.0, 32719),
        (0.0, 0.0, 32631),
    ],
)
def test_fault_12_zones_of_places(longitude: float, latitude: float, zone: int) -> None:
    assert utm_crs(longitude, latitude) == f"EPSG:{zone}"


def test_fault_12_poles_have_no_zone() -> None:
    for latitude in (84.1, -80.1, float("nan")):
        with pytest.raises(InputError, match="expected a place between 80 S and 84 N"):
            utm_crs(0.0, latitude)
    assert np.all([utm_crs(0.0, latitude) for latitude in (84.0, -80.0)])


def test_a_rectangle_around_a_place_has_its_size_and_its_middle() -> None:
    west, south, east, north = shape(footprint_around(9.0, 48.0, (52.0, 40.0))).bounds
    assert (west + east) / 2 == pytest.approx(9.0, abs=1e-9)  # on the zone's own meridian
    assert (north - south) * 111.2 == pytest.approx(40.1, abs=0.1)  # its edges bend


@pytest.mark.parametrize("longitude", [9.0, 179.9, -179.9])
def test_the_share_of_a_region_that_a_scene_shows(longitude: float) -> None:
    region = footprint_around(longitude, 0.0, (52.0, 40.0))
    for shift in (0.0, 360.0):  # outlines of radar scenes reach 360 degrees
        east_half = dict(mapping(box(longitude + shift, -1, longitude + shift + 1, 1)))
        assert shown_share(east_half, region, longitude) == pytest.approx(0.5, abs=0.002)
    assert shown_share(region, region, longitude) == pytest.approx(1.0)
    assert shown_share(dict(mapping(box(longitude + 179, -1, longitude + 181, 1))), region, longitude) == 0.0
    assert shown_share(footprint_around(0.0, 40.0, (52.0, 40.0)), region, longitude) == 0.0


@pytest.mark.parametrize(
    ("crs", "affine", "reason"),
    [
        ('LOCAL_CS["x",UNIT["metre",1]]', Affine(10, 0, 600_000, 0, -10, 4_900_000), "is a local one, without"),
        ('ENGCRS["site",EDATUM["pole"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
         Affine(10, 0, 0, 0, -10, 0), "is a local one, without"),
        ("EPSG:4326", Affine(1e-4, 0, 10, 0, -1e-4, 95), "lies outside its CRS"),
        ("EPSG:4326", Affine(1e-4, 0, 800, 0, -1e-4, 45), "lies outside its CRS"),
        ("EPSG:32632", Affine(10, 0, 1e12, 0, -10, 4_900_000), "lies outside its CRS"),
        ("EPSG:32632", Affine(10, 0, 600_000, 0, -10, 5e8), "lies outside its CRS"),
        ("EPSG:3857", Affine(10, 0, 1e9, 0, -10, 1e9), "lies outside its CRS"),
        ("EPSG:32661", Affine(10, 0, 2_000_000, 0, -10, 2_000_000), "found latitudes"),
        ("EPSG:3031", Affine(10, 0, 0, 0, -10, 0), "found latitudes"),
    ],
)  # fmt: skip
def test_fault_12_images_that_lie_nowhere_on_earth_are_refused_by_name(crs: str, affine: Affine, reason: str) -> None:
    with pytest.raises(InputError) as error:
        require_on_earth(Path("a.tif"), GeoBox((100, 100), affine, crs))
    assert str(error.value).startswith("a.tif: ") and reason in str(error.value) and "\n" not in str(error.value)


def test_images_without_crs_and_rotated_ones_are_on_earth_as_well() -> None:
    require_on_earth(Path("a.tif"), GeoBox((100, 100), Affine(10, 0, 0, 0, -10, 0), None))
    require_on_earth(Path("a.tif"), GeoBox((90, 90), Affine(7, 7, 600_000, 7, -7, 4_900_000), "EPSG:32632"))
    require_on_earth(Path("a.tif"), GeoBox((90, 90), Affine(1e-4, 0, 179.999, 0, -1e-4, 45), "EPSG:4326"))


def test_the_place_of_a_grid_is_its_centre() -> None:
    to_utm = Transformer.from_crs(4326, 32734, always_xy=True)
    x, y = to_utm.transform(21.0, -34.0)
    assert centre_deg(tile(32734, x - 50, y + 50, 10)) == pytest.approx((21.0, -34.0), abs=1e-9)
    assert centre_deg(GeoBox((4, 4), Affine.identity(), None)) is None
    local = GeoBox((4, 4), Affine.identity(), 'LOCAL_CS["site",UNIT["metre",1]]')
    assert centre_deg(local) is None
