import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from unclouded.clouds.perlin import draw_noise
from unclouded.clouds.synthetic import (
    COPY,
    HISTOGRAMS,
    PERLIN,
    ShadowSettings,
    SyntheticSettings,
    blend,
    cloud_colour,
    draw_coverage,
    opacity,
    paint,
    shaded,
    threshold_for,
)
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2
from unclouded.settings import settings_from

BANDS = SENTINEL2.bands

PAGE = Path(__file__).parents[2] / "docs" / "synthetic-clouds.md"


@pytest.fixture
def clear() -> np.ndarray:
    return np.random.default_rng(1).uniform(0.02, 0.3, (13, 64, 48)).astype(np.float32)


@pytest.fixture
def cloudy() -> np.ndarray:
    return np.random.default_rng(2).uniform(0.3, 1.1, (13, 64, 48)).astype(np.float32)


def test_perlin_is_clear_and_white_mixed_by_the_same_alpha_in_all_bands(clear: np.ndarray) -> None:
    painted = paint("a patch", clear, BANDS)
    alpha = painted.cloud_map
    assert 0 <= alpha.min() < 0.1 and 0.9 < alpha.max() <= 1
    for band in range(13):
        np.testing.assert_allclose(painted.cloudy[band], (1 - alpha) * clear[band] + alpha * 1.0, rtol=1e-6)
    assert painted.cloudy.dtype == painted.cloud_map.dtype == np.float32
    assert painted.shadow is None


def test_blending_has_the_values_worked_by_hand() -> None:
    ground, above = np.full((1, 3), 0.2, np.float32), np.full((1, 1), 0.8, np.float32)
    mixed = blend(ground, above, np.array([[0.0, 0.25, 1.0]], np.float32))
    np.testing.assert_allclose(mixed, [[0.2, 0.35, 0.8]], rtol=1e-6)


def test_copy_keeps_the_clear_image_bit_for_bit_where_m_is_0_and_takes_the_cloudy_one_where_it_is_1(
    clear: np.ndarray, cloudy: np.ndarray
) -> None:
    m = np.full((64, 48), 0.5, np.float32)
    m[:20], m[40:] = 0, 1
    painted = paint("a patch", clear, BANDS, COPY, cloudy=cloudy, cloud_map=m)
    np.testing.assert_array_equal(painted.cloudy[:, :20], clear[:, :20])
    np.testing.assert_array_equal(painted.cloudy[:, 40:], cloudy[:, 40:])
    np.testing.assert_allclose(painted.cloudy[:, 20:40], (clear + cloudy)[:, 20:40] / 2, rtol=1e-6)
    np.testing.assert_array_equal(painted.cloud_map, m)


def test_fault_13_no_cloud_is_copied_where_m_is_unknown(clear: np.ndarray, cloudy: np.ndarray) -> None:
    m = np.ones((64, 48), np.float32)
    m[3] = np.nan
    painted = paint("a patch", clear, BANDS, COPY, cloudy=cloudy, cloud_map=m)
    np.testing.assert_array_equal(painted.cloudy[:, 3], clear[:, 3])
    assert not painted.cloud_map[3].any() and painted.cloud_map[4:].all()


def test_clear_pixels_keep_their_bits_beside_painted_clouds(clear: np.ndarray) -> None:
    painted = paint("a patch", clear, BANDS, SyntheticSettings(spectrum="physical", coverage=(1.0, 0.0)))
    untouched = painted.cloud_map == 0
    assert untouched.any()
    np.testing.assert_array_equal(painted.cloudy[:, untouched], clear[:, untouched])


def test_brightness_is_the_reflectance_of_opaque_cloud() -> None:
    black = np.zeros((1, 32, 32), np.float32)
    painted = paint("a patch", black, ("B04",), SyntheticSettings(brightness=0.75))
    np.testing.assert_allclose(painted.cloudy[0], 0.75 * painted.cloud_map, rtol=1e-6)


def test_the_same_name_and_seed_give_the_same_clouds_on_every_machine() -> None:
    ground, settings = np.zeros((1, 8, 32), np.float32), SyntheticSettings(wavelength_px=16.0, octaves=4)
    painted = paint("ROIs1158_spring_1_p30", ground, ("B04",), settings)
    np.testing.assert_allclose(painted.cloud_map[0, ::8], [1, 1, 0.497961, 0.149989], atol=1e-5)


@pytest.mark.parametrize(("name", "seed"), [("another patch", 0), ("a patch", 1)])
def test_another_name_or_seed_gives_different_clouds(clear: np.ndarray, name: str, seed: int) -> None:
    first, second = paint("a patch", clear, BANDS), paint(name, clear, BANDS, SyntheticSettings(seed=seed))
    assert np.corrcoef(first.cloud_map.ravel(), second.cloud_map.ravel())[0, 1] < 0.9


def test_spectrum_and_shadow_do_not_change_the_clouds(clear: np.ndarray) -> None:
    paper, beyond = (
        paint("a patch", clear, BANDS, SyntheticSettings(coverage="uniform", **options))
        for options in ({}, {"spectrum": "physical", "shadow": ShadowSettings()})
    )
    np.testing.assert_array_equal(paper.cloud_map, beyond.cloud_map)


def test_clouds_do_not_depend_on_which_bands_are_painted(clear: np.ndarray) -> None:
    settings = SyntheticSettings(spectrum="physical", shadow=ShadowSettings())
    whole, part = paint("a patch", clear, BANDS, settings), paint("a patch", clear[3:4], ("B04",), settings)
    np.testing.assert_array_equal(whole.cloudy[3:4], part.cloudy)


def test_coverages_of_200_patches_follow_the_histogram() -> None:
    settings = SyntheticSettings(coverage=(1.0, 2.0, 2.0, 3.0), wavelength_px=16.0, octaves=2)
    ground = np.zeros((1, 16, 16), np.float32)
    coverages = [paint(f"patch {number}", ground, ("B04",), settings).cloud_map.mean() for number in range(200)]
    counts, _ = np.histogram(coverages, bins=4, range=(0, 1))
    assert chisquare(counts, [25, 50, 50, 75]).pvalue > 0.05


def test_natural_coverage_is_one_half_on_average() -> None:
    ground = np.zeros((1, 64, 64), np.float32)
    settings = SyntheticSettings(wavelength_px=32.0, octaves=4)
    coverages = [paint(f"patch {number}", ground, ("B04",), settings).cloud_map.mean() for number in range(60)]
    assert np.mean(coverages) == pytest.approx(0.5, abs=0.03)


def test_a_shadow_is_the_cloud_100_pixels_towards_the_sun() -> None:
    """1000 m x cot(45 degrees) = 100 px; the sun is in the east, so shadows lie in the west."""
    sun = ShadowSettings(sun_azimuth_deg=90.0, sun_elevation_deg=45.0, cloud_height_m=1000.0)
    painted = paint("a patch", np.full((1, 40, 150), 0.2, np.float32), ("B12",), SyntheticSettings(shadow=sun))
    assert painted.shadow is not None
    np.testing.assert_allclose(painted.shadow[:, :50], painted.cloud_map[:, 100:], atol=1e-5)
    assert painted.shadow[:, 50:].std() > 0.1  # clouds beside the image cast shadows into it
    assert painted.shadow.min() >= 0 and painted.shadow.max() <= 1


def test_a_shadow_lies_on_the_ground_and_the_cloud_above_it() -> None:
    ground = np.full((1, 40, 150), 0.2, np.float32)
    painted = paint("a patch", ground, ("B12",), SyntheticSettings(shadow=ShadowSettings()))
    assert painted.shadow is not None
    expected = (1 - painted.cloud_map) * 0.2 * (1 - 0.72 * painted.shadow) + painted.cloud_map
    np.testing.assert_allclose(painted.cloudy[0], expected, rtol=1e-5)


def test_physical_clouds_differ_by_band_and_reach_the_brightness_in_b04(clear: np.ndarray) -> None:
    painted = paint("a patch", 0 * clear, BANDS, SyntheticSettings(spectrum="physical", brightness=0.8))
    np.testing.assert_allclose(painted.cloudy[3], 0.8 * painted.cloud_map, rtol=1e-5)
    cloud = painted.cloud_map > 0.01
    cirrus = painted.cloudy[10, cloud] / painted.cloudy[3, cloud]
    assert 0.01 <= cirrus.min() < cirrus.max() <= 0.3801


def test_fault_13_no_data_stays_no_data_even_under_cloud(clear: np.ndarray, cloudy: np.ndarray) -> None:
    clear[:, 5, 7], cloudy[2, 9, 9] = np.nan, np.nan
    ones = np.ones((64, 48), np.float32)
    simulated = paint("a patch", clear, BANDS, SyntheticSettings(spectrum="physical", shadow=ShadowSettings()))
    copied = paint("a patch", clear, BANDS, COPY, cloudy=cloudy, cloud_map=ones)
    assert np.isnan(simulated.cloudy).sum() == 13 and np.isnan(simulated.cloudy[:, 5, 7]).all()
    assert np.isnan(copied.cloudy).sum() == 14 and np.isnan(copied.cloudy[2, 9, 9])
    assert np.isfinite(simulated.cloud_map).all()


def test_fault_09_a_wrong_number_of_names_is_refused(clear: np.ndarray) -> None:
    with pytest.raises(InputError, match="a patch: expected one name per band, found 3 names for 13 bands"):
        paint("a patch", clear, BANDS[:3])


def test_copy_without_a_cloudy_image_is_refused(clear: np.ndarray) -> None:
    with pytest.raises(InputError, match="mode 'copy' needs a cloudy image and its cloud map; give both"):
        paint("a patch", clear, BANDS, COPY, cloudy=clear)


def test_fault_11_copy_of_another_size_is_refused(clear: np.ndarray) -> None:
    with pytest.raises(
        InputError, match=r"of the same place and size, found clear \(13, 64, 48\), .* map \(64, 1\); pair"
    ):
        paint("a patch", clear, BANDS, COPY, cloudy=clear, cloud_map=np.ones((64, 1), np.float32))


@pytest.mark.parametrize("beyond", [{"coverage": "uniform"}, {"spectrum": "physical"}, {"shadow": {}}])
def test_options_of_simulated_clouds_are_refused_for_copied_ones(beyond: dict) -> None:
    with pytest.raises(InputError, match="mode 'copy' has real coverage, colours and shadows; omit these settings"):
        settings_from(SyntheticSettings, {"mode": "copy", **beyond})


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -0.5]])
def test_a_histogram_without_weight_is_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="coverage: expected weights of bins, none negative and not all 0, found"):
        settings_from(SyntheticSettings, {"coverage": weights})


def test_scales_below_two_pixels_are_refused() -> None:
    assert SyntheticSettings(wavelength_px=64.0, octaves=6).octaves == 6
    with pytest.raises(InputError, match="expected scales of at least 2 px, found 1 px; use fewer octaves"):
        settings_from(SyntheticSettings, {"wavelength_px": 32.0, "octaves": 6})


def test_settings_of_a_run_folder_can_be_read_again() -> None:
    for settings in (PERLIN, COPY, SyntheticSettings(coverage=(1.0, 2.0), shadow=ShadowSettings())):
        assert settings_from(SyntheticSettings, settings.model_dump(mode="json")) == settings


def test_the_example_in_the_documentation_works() -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert examples
    for example in examples:
        exec(example, {})


def field(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return draw_noise(np.random.default_rng(1), 16.0, 3).at(np.arange(48.0), np.arange(48.0))


def test_opacity_rises_smoothly_over_the_softness_around_the_threshold() -> None:
    rising = opacity(field(0, 1, 2, 3, 4, 5, 9), threshold=3.0, softness=4.0)
    np.testing.assert_array_equal(rising, [[0, 0, 0.15625, 0.5, 0.84375, 1, 1]])
    assert rising.dtype == np.float32


@pytest.mark.parametrize("coverage", [0.0, 0.001, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("softness", [0.05, 2.0, 20.0])
def test_the_threshold_gives_the_coverage(noise: np.ndarray, coverage: float, softness: float) -> None:
    found = opacity(noise, threshold_for(noise, softness, coverage), softness).mean()
    assert found == pytest.approx(coverage, abs=1e-3)


def test_fault_14_coverage_0_paints_nothing_and_coverage_1_everything(noise: np.ndarray) -> None:
    nothing, everything = (opacity(noise, threshold_for(noise, 2.0, share), 2.0) for share in (0.0, 1.0))
    assert nothing.max() == 0
    assert everything.min() == 1


def test_drawn_coverages_follow_the_weights_of_bins() -> None:
    rng = np.random.default_rng(2)
    drawn = [draw_coverage(rng, (1.0, 0.0, 0.0, 3.0)) for _ in range(400)]
    counts, _ = np.histogram(drawn, bins=4, range=(0, 1))
    assert counts[1] == counts[2] == 0
    assert counts[0] == pytest.approx(100, abs=4 * (400 * 0.25 * 0.75) ** 0.5)
    assert kstest([(c - 0.75) * 4 for c in drawn if c > 0.5], "uniform").pvalue > 0.05


def test_the_histogram_of_sen12mscr_has_the_mean_and_deviation_that_the_paper_states() -> None:
    weights = np.array(HISTOGRAMS["sen12mscr"])
    middles = (np.arange(len(weights)) + 0.5) / len(weights)
    mean = np.average(middles, weights=weights)
    assert mean == pytest.approx(0.4793, abs=0.002)
    assert np.average((middles - mean) ** 2, weights=weights) ** 0.5 == pytest.approx(0.3608, abs=0.002)


def test_the_histogram_of_sen12mscr_has_no_empty_bin_and_most_at_both_ends() -> None:
    weights = np.array(HISTOGRAMS["sen12mscr"])
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0.5 / len(weights)
    assert set(np.argsort(weights)[-2:]) == {0, len(weights) - 1}


ONE = np.ones((1, 1), np.float32)


def colour(band: str, ice: float) -> float:
    return cloud_colour(band, ice * ONE).item()


def test_all_clouds_have_the_brightness_of_b04_in_b04() -> None:
    assert [colour("B04", ice) for ice in (0.0, 0.5, 1.0)] == [1, 1, 1]


def test_thick_cloud_is_flat_except_in_the_water_vapour_bands() -> None:
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


def test_fault_09_an_unknown_band_is_refused() -> None:
    with pytest.raises(InputError, match="B13 is no band of Sentinel-2; choose from B01"):
        cloud_colour("B13", ONE)
    with pytest.raises(InputError, match="B13 is no band of Sentinel-2; choose from B01"):
        shaded(ONE, "B13", ONE)


def test_a_sun_below_5_degrees_is_refused() -> None:
    with pytest.raises(InputError, match="sun_elevation_deg: input should be greater than or equal to 5, found 2"):
        settings_from(ShadowSettings, {"sun_elevation_deg": 2})
