import numpy as np
import pytest

from unclouded.sensors import SENTINEL2
from unclouded.simulation.fields import SEASONS
from unclouded.simulation.land import LandCover
from unclouded.simulation.optics import SPECTRA, Sky, clear_reflectance, simulate_sky, spectrum, through

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


B02, B10, SKY_B11 = SENTINEL2.indices("B02", "B10", "B11")


def even_sky(cumulus: float = 0, cirrus: float = 0, shadow: float = 0) -> Sky:
    return Sky(*(np.full((2, 2), value, np.float32) for value in (cumulus, cirrus, 1, shadow)))


@pytest.fixture
def land() -> np.ndarray:
    return np.full((13, 2, 2), 0.3, np.float32)


@pytest.mark.parametrize("coverage", [0.0, 0.1, 0.45, 0.9, 1.0])
def test_coverage_is_the_share_under_cumulus(coverage) -> None:
    sky = simulate_sky(np.random.default_rng(1), 200, SUMMER, coverage)
    assert (sky.cumulus > 0).mean() == pytest.approx(coverage, abs=0.001)


def test_clouds_are_thick_in_the_middle_and_thin_at_the_edge() -> None:
    sky = simulate_sky(np.random.default_rng(1), 256, SUMMER, 0.5)
    under = sky.cumulus[sky.cumulus > 0]
    assert 0.15 < (under > 0.9).mean() < 0.8
    assert (under < 0.5).mean() > 0.1
    assert sky.opacity.max() <= 1


def test_cirrus_is_thin_and_leaves_some_sky_open() -> None:
    for seed in range(5):
        sky = simulate_sky(np.random.default_rng(seed), 256, SUMMER, 0.3)
        assert 0.02 < sky.cirrus.max() <= 0.4
        assert (sky.cirrus == 0).mean() > 0.3


def test_shadows_lie_north_west_of_their_clouds_in_the_morning() -> None:
    sky = simulate_sky(np.random.default_rng(1), 512, SUMMER, 0.3)
    match = np.fft.ifft2(np.fft.fft2(sky.shadow) * np.conj(np.fft.fft2(sky.cumulus))).real
    south, east = (int(s) if s < 256 else int(s) - 512 for s in np.unravel_index(match.argmax(), match.shape))
    assert south < 0
    assert east < 0
    assert 0.95 * 70 / np.tan(np.radians(60)) < np.hypot(south, east) < 1.05 * 160 / np.tan(np.radians(60))
    np.testing.assert_array_equal(sky.shadow, np.roll(sky.cumulus, (south, east), (0, 1)))


def test_opacities_of_two_layers_combine() -> None:
    np.testing.assert_allclose(even_sky(cumulus=0.5, cirrus=0.2).opacity, 0.6)


def test_an_open_sky_changes_nothing(land) -> None:
    np.testing.assert_allclose(through(even_sky(), land), land, atol=1e-7)


def test_thick_cumulus_hides_the_land(land) -> None:
    np.testing.assert_allclose(through(even_sky(cumulus=1), land), through(even_sky(cumulus=1), land / 2), rtol=1e-5)
    assert through(even_sky(cumulus=1), land)[B02, 0, 0] == pytest.approx(0.758)


def test_half_a_cirrus_raises_b10_to_a_tenth(land) -> None:
    land[B10] = 0.001
    assert through(even_sky(cirrus=0.5), land)[B10, 0, 0] == pytest.approx(0.1005)


def test_a_shadow_leaves_the_light_of_the_air_and_is_darkest_in_the_far_infrared(land) -> None:
    shaded = through(even_sky(shadow=1), land)[:, 0, 0]
    assert shaded[B02] == pytest.approx(0.073 + (0.3 - 0.073) * 0.65)
    assert shaded[SKY_B11] == pytest.approx(0.001 + (0.3 - 0.001) * 0.31)
