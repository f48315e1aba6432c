import numpy as np
import pytest

from unclouded.sensors import SENTINEL2
from unclouded.simulation.land import LandCover
from unclouded.simulation.optics import SPECTRA, clear_reflectance, spectrum
from unclouded.simulation.seasons import SEASONS

SUMMER = SEASONS["summer"]
B04, B08, B11 = SENTINEL2.indices("B04", "B08", "B11")


def test_every_material_has_13_bands_of_plausible_reflectance() -> None:
    table = np.stack([spectrum(material).ravel() for material in SPECTRA])
    assert table.shape[1] == 13
    assert 0 < table.min() < table.max() < 0.5


def test_no_material_is_darker_than_the_air_before_it() -> None:
    for material in SPECTRA:
        assert (spectrum(material) >= spectrum("air")).all()


def test_level_forest_in_summer_has_the_spectrum_of_its_leaves(even_land) -> None:
    forest = clear_reflectance(even_land(LandCover.FOREST), SUMMER, np.random.default_rng(0))
    np.testing.assert_allclose(forest.mean(axis=(1, 2)), spectrum("broadleaf").ravel(), rtol=0.01)


def test_half_covered_dry_soil_is_the_mean_of_leaves_and_soil(even_land) -> None:
    field = clear_reflectance(even_land(LandCover.CROP, leaves=0.5), SUMMER, np.random.default_rng(0))
    expected = (spectrum("leaves") + spectrum("soil")).ravel() / 2
    np.testing.assert_allclose(field.mean(axis=(1, 2)), expected, rtol=0.01)


def test_wet_soil_is_darker(even_land) -> None:
    wet, dry = (
        clear_reflectance(even_land(LandCover.CROP, moisture=moisture), SUMMER, np.random.default_rng(0))[B11].mean()
        for moisture in (1, 0)
    )
    assert (wet - 0.001) / (dry - 0.001) == pytest.approx(0.55, abs=0.01)


def test_slopes_that_face_the_sun_are_brighter(even_land) -> None:
    north, south = (
        clear_reflectance(even_land(LandCover.CROP, rise=(rise, 0)), SUMMER, np.random.default_rng(0))[B08].mean()
        for rise in (0.2, -0.2)
    )
    assert south > 1.15 * north


def test_forest_is_greener_than_water(region) -> None:
    red, infrared = region.clear.values[[B04, B08]]
    index = (infrared - red) / (infrared + red)
    assert np.median(index[region.land_cover == LandCover.FOREST]) > 0.5
    assert np.median(index[region.land_cover == LandCover.WATER]) < 0


@pytest.mark.parametrize(("band", "width"), [("B05", 2), ("B11", 2), ("B01", 6), ("B09", 6)])
def test_coarse_bands_repeat_their_own_pixels(region, band, width) -> None:
    (image,) = region.clear.select((band,)).values[:, :252, :252]
    squares = image.reshape(252 // width, width, 252 // width, width)
    np.testing.assert_array_equal(np.ptp(squares, axis=(1, 3)), 0)
    assert np.ptp(image) > 0.01


def test_a_region_may_end_within_a_coarse_pixel(even_land) -> None:
    water = clear_reflectance(even_land(LandCover.WATER, size_px=97), SUMMER, np.random.default_rng(0))
    assert water.shape == (13, 97, 97)
    np.testing.assert_allclose(np.ptp(water, axis=(1, 2)), 0, atol=1e-6)
