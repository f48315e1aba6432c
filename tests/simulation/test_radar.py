import numpy as np
import pytest

from unclouded.simulation.land import LandCover
from unclouded.simulation.radar import backscatter


def mean_db(land, seed: int = 0) -> np.ndarray:
    """Mean power of VV and VH, in dB."""
    power = 10 ** (backscatter(land, np.random.default_rng(seed)) / 10)
    return 10 * np.log10(power.mean(axis=(1, 2)))


@pytest.mark.parametrize(
    ("cover", "expected"),
    [(LandCover.FOREST, (-7.8, -13.6)), (LandCover.ROAD, (-14.5, -22.0)), (LandCover.CROP, (-14.5, -23.0))],
)
def test_speckle_keeps_the_mean_power(even_land, cover, expected) -> None:
    np.testing.assert_allclose(mean_db(even_land(cover)), expected, atol=0.15)


def test_speckle_has_six_looks_and_grains_larger_than_a_pixel(even_land) -> None:
    power = 10 ** (backscatter(even_land(LandCover.FOREST, 192), np.random.default_rng(1))[0] / 10)
    assert power.mean() ** 2 / power.var() == pytest.approx(6, rel=0.1)
    assert np.corrcoef(power[:, :-1].ravel(), power[:, 1:].ravel())[0, 1] > 0.4
    assert abs(np.corrcoef(power[:, :-4].ravel(), power[:, 4:].ravel())[0, 1]) < 0.1


def test_speckle_of_vv_and_vh_is_independent(even_land) -> None:
    vv, vh = backscatter(even_land(LandCover.FOREST), np.random.default_rng(1))
    assert abs(np.corrcoef(vv.ravel(), vh.ravel())[0, 1]) < 0.05


def test_wet_soil_is_6_db_brighter_in_vv_than_dry_soil(even_land) -> None:
    wet, dry = (mean_db(even_land(LandCover.CROP, moisture=moisture))[0] for moisture in (1, 0))
    assert wet - dry == pytest.approx(6, abs=0.05)


def test_leaves_brighten_vh_more_than_vv(even_land) -> None:
    vv, vh = mean_db(even_land(LandCover.CROP, leaves=0.9)) - mean_db(even_land(LandCover.CROP))
    assert vh > 5
    assert 1 < vv < vh


def test_a_slope_of_10_degrees_that_faces_the_radar_is_1_6_db_brighter(even_land) -> None:
    # The radar looks to 78 degrees: arctan(tan 10 sin 78) = 9.79; tan 38 / tan(38 - 9.79) = 1.457 = 1.63 dB.
    facing, level = (mean_db(even_land(LandCover.FOREST, rise=(0, east))) for east in (np.tan(np.radians(10)), 0))
    np.testing.assert_allclose(facing - level, 1.63, atol=0.02)


def test_water_is_darker_than_town(region) -> None:
    vv, vh = region.sar.values
    water, town = (region.land_cover == cover for cover in (LandCover.WATER, LandCover.TOWN))
    assert np.median(vv[town]) - np.median(vv[water]) > 10
    assert np.median(vh[town]) - np.median(vh[water]) > 8
