import numpy as np
import pytest

from unclouded.clouds.physical import ShadowSettings, cloud_colour, shaded
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2
from unclouded.settings import settings_from

ONE = np.ones((1, 1), np.float32)


def colour(band: str, ice: float) -> float:
    return cloud_colour(band, ice * ONE).item()


def test_all_clouds_have_the_brightness_of_b04_in_b04() -> None:
    assert [colour("B04", ice) for ice in (0.0, 0.5, 1.0)] == [1, 1, 1]


def test_thick_cloud_is_flat_but_for_the_bands_of_water_vapour() -> None:
    flat = [colour(band, 0.0) for band in SENTINEL2.bands if band not in ("B09", "B10", "B12")]
    assert 0.85 < min(flat) < max(flat) < 1.2
    assert colour("B10", 0.0) == pytest.approx(0.01)


def test_a_veil_of_ice_shows_in_b10_first() -> None:
    """A twentieth of opacity over dark ground: B10 is 20 times as bright as before, B04 not even twice."""
    veil = {band: 0.95 * clear + 0.05 * colour(band, 1.0) for band, clear in (("B10", 0.001), ("B04", 0.06))}
    assert veil["B10"] / 0.001 == pytest.approx(0.95 + 19)
    assert veil["B04"] / 0.06 < 2


def test_half_ice_is_half_way_between() -> None:
    assert colour("B11", 0.5) == pytest.approx((0.96 + 0.39) / 2)


def test_full_shadow_leaves_three_tenths_in_the_far_infrared_and_most_of_the_blue() -> None:
    clear = np.array([[0.2, 0.4]], np.float32)
    full = np.ones_like(clear)
    np.testing.assert_allclose(shaded(clear, "B12", full), [[0.056, 0.112]], rtol=1e-5)
    np.testing.assert_allclose(shaded(clear, "B02", full), [[0.164, 0.328]], rtol=1e-5)
    np.testing.assert_array_equal(shaded(clear, "B10", full), clear)


def test_no_shadow_changes_nothing() -> None:
    clear = np.array([[0.2, 0.4]], np.float32)
    np.testing.assert_array_equal(shaded(clear, "B04", 0 * clear), clear)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "rows_columns"),
    [
        (90.0, 45.0, (0, 100)),
        (180.0, 45.0, (100, 0)),
        (0.0, 45.0, (-100, 0)),
        (135.0, 26.565051, (141.42136, 141.42136)),
    ],
)
def test_a_cloud_at_1000_m_is_found_towards_the_sun(azimuth, elevation, rows_columns) -> None:
    """Distance = height x cot(elevation): 1000 m at 45 degrees, 2000 m at atan(1/2), in pixels of 10 m."""
    shadow = ShadowSettings(sun_azimuth_deg=azimuth, sun_elevation_deg=elevation, cloud_height_m=1000.0)
    assert shadow.towards_sun_px == pytest.approx(rows_columns, abs=1e-4)


def test_with_the_sun_overhead_a_shadow_lies_below_its_cloud() -> None:
    assert ShadowSettings(sun_elevation_deg=90.0).towards_sun_px == pytest.approx((0, 0), abs=1e-9)


def test_fault_09_a_name_that_is_no_band_is_refused() -> None:
    with pytest.raises(InputError, match="B13 is no band of Sentinel-2; choose from B01"):
        cloud_colour("B13", ONE)
    with pytest.raises(InputError, match="B13 is no band of Sentinel-2; choose from B01"):
        shaded(ONE, "B13", ONE)


def test_a_sun_below_5_degrees_is_refused() -> None:
    with pytest.raises(InputError, match="sun_elevation_deg: input should be greater than or equal to 5, found 2"):
        settings_from(ShadowSettings, {"sun_elevation_deg": 2})
