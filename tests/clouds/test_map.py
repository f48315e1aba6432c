import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import correlate, maximum_filter

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.detector import Detector, DetectRows, ReadRows
from unclouded.clouds.map import (
    PAPER,
    CloudMapSettings,
    cloud_map,
    cloud_map_from_probability,
    cloudy_share,
    map_rows,
    mean_coverage,
    reach_px,
)
from unclouded.errors import InputError
from unclouded.settings import settings_from

BRIGHTNESS = Detector("brightness", "1", ("B02",), lambda reflectance, bands: reflectance[0].copy())

BINARY = CloudMapSettings(mode="binary")


def one_cloud(probability: float) -> np.ndarray:
    """21 x 21 px, clear but for the pixel in the middle."""
    image = np.zeros((21, 21), np.float32)
    image[10, 10] = probability
    return image


def test_below_one_half_nothing_is_cloud() -> None:
    assert not cloud_map_from_probability(np.full((4, 4), 0.4999, np.float32)).any()


def test_from_one_half_on_the_probability_itself_is_kept() -> None:
    np.testing.assert_allclose(cloud_map_from_probability(np.full((4, 4), 0.5, np.float32)), 0.5, rtol=1e-6)
    np.testing.assert_allclose(cloud_map_from_probability(np.full((4, 4), 0.7, np.float32)), 0.7, rtol=1e-6)


def test_one_cloudy_pixel_spreads_as_a_gaussian_of_2_px_cut_at_8() -> None:
    weights = [math.exp(-(k**2) / 8) for k in range(-8, 9)]
    m = cloud_map_from_probability(one_cloud(0.8))
    assert m[10, 10] == pytest.approx(0.8 / sum(weights) ** 2, rel=1e-5)
    assert m[10, 12] == pytest.approx(0.8 * weights[10] / sum(weights) ** 2, rel=1e-5)
    assert m[10, 18] > 0 and m[10, 19] == 0


def test_at_the_edge_the_image_is_reflected_so_that_no_cloud_is_lost() -> None:
    corner = np.zeros((40, 40), np.float32)
    corner[0, 0] = 1.0
    assert cloud_map_from_probability(corner).sum() == pytest.approx(1.0, rel=1e-5)


def test_fault_14_all_cloud_is_1_everywhere_and_all_clear_0() -> None:
    assert (cloud_map_from_probability(np.ones((64, 64), np.float32)) <= 1).all()
    np.testing.assert_allclose(cloud_map_from_probability(np.ones((64, 64), np.float32)), 1.0, rtol=1e-6)
    assert not cloud_map_from_probability(np.zeros((64, 64), np.float32)).any()


@pytest.mark.parametrize("settings", [PAPER, BINARY])
def test_fault_13_unknown_pixels_stay_unknown_and_count_as_0_for_their_neighbours(settings: CloudMapSettings) -> None:
    holed = one_cloud(0.8)
    holed[0, 0] = np.nan
    expected = cloud_map_from_probability(one_cloud(0.8), settings)
    expected[0, 0] = np.nan
    np.testing.assert_array_equal(cloud_map_from_probability(holed, settings), expected)


def test_fault_13_the_ablation_is_1_even_where_the_probability_is_unknown() -> None:
    assert (cloud_map_from_probability(np.full((2, 2), np.nan, np.float32), CloudMapSettings(mode="ones")) == 1).all()


def test_fault_13_a_coverage_is_of_the_pixels_whose_m_is_known() -> None:
    m = np.array([[0.0, 1.0, 0.5, np.nan]], np.float32)
    assert (mean_coverage(m), cloudy_share(m)) == (0.5, 2 / 3)
    unknown = np.full((1, 2), np.nan, np.float32)
    assert np.isnan([mean_coverage(unknown), cloudy_share(unknown)]).all()


def test_the_ablation_is_1_everywhere() -> None:
    assert (cloud_map_from_probability(one_cloud(0.0), CloudMapSettings(mode="ones")) == 1).all()


def test_binary_one_pixel_alone_is_averaged_away_and_four_tenths_of_a_disk_are_not() -> None:
    assert not cloud_map_from_probability(one_cloud(1.0), BINARY).any()
    half = np.zeros((21, 21), np.float32)
    half[:, :11] = 1.0
    # the average over a disk passes 0.4 at column 10 (more than half) and at 11 (less, yet above 0.4); dilation adds 2
    assert cloud_map_from_probability(half, BINARY)[10].tolist() == [1.0] * 14 + [0.0] * 7


def test_binary_nine_cloudy_pixels_grow_to_a_disk_of_nine_and_two_around() -> None:
    nine = np.zeros((21, 21), np.float32)
    nine[9:12, 9:12] = 1.0
    # averaged over the 5 px of a disk of radius 1, only pixels with 3 or more cloudy ones pass: the nine themselves
    mask = cloud_map_from_probability(nine, CloudMapSettings(mode="binary", binary_average_px=1, binary_dilation_px=0))
    np.testing.assert_array_equal(mask, nine)
    grown = cloud_map_from_probability(nine, CloudMapSettings(mode="binary", binary_average_px=1, binary_dilation_px=2))
    assert grown.sum() == 37 and grown[10, 7] == grown[8, 8] == 1 and grown[7, 8] == 0


def test_binary_is_an_average_over_a_disk_a_threshold_and_a_dilation() -> None:
    probability = np.random.default_rng(1).random((40, 40)).astype(np.float32).repeat(4, 0).repeat(4, 1)
    average = correlate(probability.astype(float), disk(4) / disk(4).sum(), mode="reflect")
    expected = maximum_filter((average > 0.4).astype(np.uint8), footprint=disk(2), mode="constant")
    np.testing.assert_array_equal(cloud_map_from_probability(probability, BINARY), expected)


def disk(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (y**2 + x**2 <= radius**2).astype(np.uint8)


def test_the_two_coverages_of_one_faint_pixel() -> None:
    m = np.array([[0.25, 0.0], [0.0, 0.0]], np.float32)
    assert mean_coverage(m) == 0.0625
    assert cloudy_share(m) == 0.25


def test_the_map_of_an_image_is_the_map_of_its_probability() -> None:
    image = np.stack([one_cloud(0.8), one_cloud(0.1)])
    np.testing.assert_array_equal(
        cloud_map(image, ("B02", "B03"), detector=BRIGHTNESS), cloud_map_from_probability(one_cloud(0.8))
    )


def test_mapping_through_a_cache_gives_the_same(tmp_path) -> None:
    image, cache = one_cloud(0.8)[None], ProbabilityCache(tmp_path)
    for _ in range(2):
        m = cloud_map(image, ("B02",), detector=BRIGHTNESS, cache=cache)
        np.testing.assert_array_equal(m, cloud_map_from_probability(one_cloud(0.8)))


def test_the_ablation_runs_no_detector_and_accepts_any_bands() -> None:
    assert (
        cloud_map(np.zeros((1, 2, 3), np.float32), ("B04",), CloudMapSettings(mode="ones")).tolist() == [[1.0] * 3] * 2
    )


def test_fault_18_an_image_without_b10_is_refused() -> None:
    with pytest.raises(InputError, match="L2A has no B10"):
        cloud_map(np.zeros((3, 2, 2), np.float32), ("B04", "B03", "B02"))


def test_a_coarser_detector_reads_the_mean_of_its_pixels() -> None:
    checkers = np.indices((12, 12)).sum(axis=0)[None].astype(np.float32) % 2  # 0.5 in every block of 2 x 2
    m = cloud_map(checkers, ("B02",), CloudMapSettings(resolution_m=20), BRIGHTNESS)
    np.testing.assert_allclose(m, 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("threshhold=0.5", "threshhold is not a key; did you mean 'threshold'"),
        ("threshold=50", "threshold: input should be less than or equal to 1, found 50"),
        ("mode='fuzzy'", "mode: input should be 'continuous', 'binary', 'ones', 'product' or 'scl', found 'fuzzy'"),
        ("resolution_m=30", "resolution_m: input should be 10, 20 or 60, found 30"),
    ],
)
def test_the_error_for_an_invalid_setting_names_it(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_from(CloudMapSettings, {}, [override])


BRIGHT = Detector("bright", "1", ("B01",), lambda reflectance, _: reflectance[0])
"""The probability of a pixel is its reflectance."""


@pytest.fixture
def scene() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((1, 101, 40), np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        CloudMapSettings(),
        CloudMapSettings(sigma_px=5.0),
        CloudMapSettings(mode="binary"),
        CloudMapSettings(mode="ones"),
        CloudMapSettings(resolution_m=20),
        CloudMapSettings(resolution_m=60),
    ],
    ids=str,
)
@pytest.mark.parametrize("strip_px", [12, 60, 120])
def test_strips_and_one_piece_are_the_same_to_the_last_bit(
    scene: NDArray[np.float32], settings: CloudMapSettings, strip_px: int
) -> None:
    whole = cloud_map(scene, ("B01",), settings, BRIGHT)
    strips = dict(map_rows(lambda a, b: scene[:, a:b], 101, ("B01",), settings, BRIGHT, strip_px))
    assert list(strips) == list(range(0, 101, strip_px))
    assert np.array_equal(np.concatenate(list(strips.values())), whole)


def test_the_reach_of_the_papers_map_is_8_px() -> None:
    assert reach_px(CloudMapSettings()) == 8


def test_a_strip_reads_only_its_rows_and_its_reach(scene: NDArray[np.float32]) -> None:
    reads = []

    def read(top: int, bottom: int) -> NDArray[np.float32]:
        reads.append((top, bottom))
        return scene[:, top:bottom]

    list(map_rows(read, 101, ("B01",), CloudMapSettings(), BRIGHT, strip_px=48))
    assert reads == [(0, 56), (40, 101), (88, 101)]


def survey(read: ReadRows, height: int, bands: tuple[str, ...]) -> DetectRows:
    """Detect by the mean of a column, which depends on the whole scene, and by the row number."""
    parts = [read(top, min(top + 9, height)) for top in range(0, height, 9)]
    bright = np.concatenate(parts, axis=1)[0].mean(axis=0) > 0.5

    def detect(top: int, reflectance: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = top + np.arange(reflectance.shape[1], dtype=np.float32)
        return np.asarray(bright * rows[:, None] / height, dtype=np.float32)

    return detect


def in_one_piece(image: NDArray[np.float32], bands: tuple[str, ...]) -> NDArray[np.float32]:
    return survey(lambda top, bottom: image[:, top:bottom], image.shape[1], bands)(0, image)


SURVEYING = Detector("surveying", "1", ("B01",), in_one_piece, survey)


@pytest.mark.parametrize("strip_px", [12, 60, 120])
def test_a_detector_with_a_survey_reads_the_whole_scene_before_the_strips(
    scene: NDArray[np.float32], strip_px: int
) -> None:
    whole = cloud_map(scene, ("B01",), CloudMapSettings(threshold=0.0), SURVEYING)
    settings = CloudMapSettings(threshold=0.0)
    strips = dict(map_rows(lambda a, b: scene[:, a:b], 101, ("B01",), settings, SURVEYING, strip_px))
    assert list(strips) == list(range(0, 101, strip_px))
    assert np.array_equal(np.concatenate(list(strips.values())), whole)
    assert whole.std() > 0.1


def test_mode_ones_runs_no_survey(scene: NDArray[np.float32]) -> None:
    asks = replace(SURVEYING, survey=lambda *_: pytest.fail("asked"))
    strips = list(map_rows(lambda a, b: scene[:, a:b], 101, ("B01",), CloudMapSettings(mode="ones"), asks, 48))
    assert all(strip.all() for _, strip in strips)


def test_a_detector_with_a_survey_refuses_another_resolution(scene: NDArray[np.float32]) -> None:
    with pytest.raises(InputError, match="surveying has a fixed resolution, found 20 m; set resolution_m to 10"):
        cloud_map(scene, ("B01",), CloudMapSettings(resolution_m=20), SURVEYING)
