from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyproj import Transformer

from unclouded.errors import InputError
from unclouded.sentinel.xml import XmlElement
from unclouded.sun import Sun, sun_position


def test_a_cloud_stands_towards_the_sun_as_far_away_as_it_is_high_at_45_degrees() -> None:
    assert Sun(90, 45).towards_m(1000) == pytest.approx((0, 1000))  # in the east
    assert Sun(180, 45).towards_m(1000) == pytest.approx((1000, 0))  # in the south: further down in the image
    assert Sun(0, 90).towards_m(1000) == pytest.approx((0, 0))


def test_the_sun_is_overhead_at_the_equator_at_noon_of_the_equinox() -> None:
    noon = sun_position(datetime(2020, 3, 20, 12, 7, tzinfo=UTC), 0, 0)
    assert noon is not None and noon.elevation_deg > 89.5


def test_there_is_no_sun_at_midnight() -> None:
    assert sun_position(datetime(2020, 3, 20, 0, 0, tzinfo=UTC), 0, 0) is None


@pytest.mark.parametrize("tile", ["T46RER", "T01LAC"])
def test_the_computed_sun_is_that_of_a_product(samples: Path, tile: str) -> None:
    (path,) = (samples / "safe").glob(f"S2?_MSIL1C_*_{tile}_*.SAFE/GRANULE/*/MTD_TL.xml")
    granule = XmlElement.read(path)
    angles = granule.one("Mean_Sun_Angle")
    corner = next(granule.all("Geoposition"))
    x, y = (corner.one(name).number + step for name, step in (("ULX", 54_900), ("ULY", -54_900)))
    to_degrees = Transformer.from_crs(granule.one("HORIZONTAL_CS_CODE").text, "EPSG:4326", always_xy=True)
    found = sun_position(granule.one("SENSING_TIME").time, *to_degrees.transform(x, y))
    assert found is not None
    assert found.elevation_deg == pytest.approx(90 - angles.one("ZENITH_ANGLE").number, abs=0.5)
    assert found.azimuth_deg == pytest.approx(angles.one("AZIMUTH_ANGLE").number, abs=1.0)


@pytest.mark.parametrize(("azimuth", "elevation"), [(361, 40), (-1, 40), (10, 0), (10, 91), (float("nan"), 40)])
def test_fault_13_an_impossible_sun_is_refused(azimuth: float, elevation: float) -> None:
    with pytest.raises(InputError, match="give AZIMUTH,ELEVATION, such as 155,42"):
        Sun(azimuth, elevation)


def test_a_position_is_read_from_azimuth_and_elevation() -> None:
    assert Sun.parse("155, 42.5") == Sun(155, 42.5)
    with pytest.raises(InputError, match=r"such as 155,42, found '155'"):
        Sun.parse("155")
