import numpy as np
import pytest

from unclouded.clouds.detector import Detector
from unclouded.clouds.resolution import at_resolution, block_mean, spread

BRIGHTNESS = Detector("brightness", "1", ("B02",), lambda reflectance, bands: reflectance[0].copy())


def test_a_block_is_the_mean_of_its_pixels_with_data() -> None:
    nan = np.nan
    values = np.array([[[1, 3, 5, nan], [5, 7, nan, nan]]], np.float32)
    assert block_mean(values, 2).tolist() == [[[4.0, 5.0]]]


def test_a_cut_block_is_the_mean_of_what_is_left() -> None:
    np.testing.assert_array_equal(block_mean(np.array([[[1, 3, 8], [5, 7, 10]]], np.float32), 2), [[[4, 9]]])


def test_a_block_without_data_stays_without() -> None:
    assert np.isnan(block_mean(np.full((1, 2, 2), np.nan, np.float32), 2)).all()


def test_between_the_centres_of_blocks_values_change_evenly() -> None:
    # centres lie at 0.5 and 2.5 px: pixels 0 to 3 lie at -0.25, 0.25, 0.75 and 1.25 blocks
    assert spread(np.array([[0.0, 1.0]], np.float32), 2, (2, 4))[0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_ten_metres_is_the_detector_itself() -> None:
    assert at_resolution(BRIGHTNESS, 10) is BRIGHTNESS


def test_a_coarser_detector_has_a_name_of_its_own() -> None:
    assert at_resolution(BRIGHTNESS, 20).name == "brightness@20m"


@pytest.mark.parametrize("metres", [20, 60])
def test_an_even_image_keeps_its_answer_whatever_its_size(metres) -> None:
    even = np.full((1, 17, 256), 0.25, np.float32)
    np.testing.assert_allclose(at_resolution(BRIGHTNESS, metres).probability(even, ("B02",)), even[0], atol=1e-7)


def test_a_ramp_keeps_its_answer_away_from_the_edges() -> None:
    ramp = np.tile(np.arange(24, dtype=np.float32) / 24, (1, 12, 1))
    found = at_resolution(BRIGHTNESS, 60).probability(ramp, ("B02",))
    np.testing.assert_allclose(found[:, 3:-3], ramp[0, :, 3:-3], atol=1e-6)


def test_fault_13_no_data_stays_where_it_is() -> None:
    holed = np.full((1, 12, 12), 0.5, np.float32)
    holed[0, :6, :6] = np.nan
    holed[0, 8, 8] = np.nan
    found = at_resolution(BRIGHTNESS, 60).probability(holed, ("B02",))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(holed[0]))
    np.testing.assert_allclose(found[~np.isnan(found)], 0.5, atol=1e-6)
