import numpy as np
import pytest

from unclouded.clouds.detector import (
    Detector,
    at_resolution,
    block_mean,
    has_data,
    pixel_by_pixel,
    select_bands,
    upsample,
)
from unclouded.errors import InputError


def image(*bands: float) -> np.ndarray:
    """One row of two pixels; each band has one value."""
    return np.array(bands, np.float32)[:, None, None] * np.ones((1, 1, 2), np.float32)


def test_bands_are_selected_by_name_in_the_order_of_the_detector() -> None:
    chosen = select_bands(image(0.2, 0.4, 0.8), ("B02", "B04", "B08"), ("B08", "B02"), "some detector")
    assert chosen[:, 0, 0].tolist() == [np.float32(0.8), np.float32(0.2)]


def test_fault_18_an_l2a_image_is_refused_with_a_hint_at_b10() -> None:
    with pytest.raises(InputError, match=r"^s2cloudless needs B09 B10, but B10 is missing; L2A has no B10, use"):
        select_bands(image(0.1, 0.1), ("B08", "B09"), ("B09", "B10"), "s2cloudless")


def test_fault_09_any_other_missing_band_is_named() -> None:
    with pytest.raises(InputError, match="but B01 B12 is missing; use the product with all its bands"):
        select_bands(image(0.1), ("B09",), ("B01", "B09", "B12"), "s2cloudless")


def test_fault_09_another_number_of_names_than_of_bands_is_refused() -> None:
    with pytest.raises(InputError, match="expected one name per band, found 1 names for 2 bands"):
        select_bands(image(0.1, 0.1), ("B09",), ("B09",), "s2cloudless")


def test_fault_13_a_pixel_has_data_where_every_band_is_finite() -> None:
    values = np.array([[[0.1, np.nan, 0.1, 0.1]], [[0.1, 0.1, np.inf, -np.inf]]], np.float32)
    assert has_data(values).tolist() == [[True, False, False, False]]


def test_fault_13_pixels_without_data_are_not_evaluated_and_become_nan() -> None:
    values = np.array([[[0.25, np.nan], [np.inf, 0.75]]], np.float32)
    answer = pixel_by_pixel(values, lambda pixels: pixels.sum(axis=0))
    np.testing.assert_array_equal(answer, np.array([[0.25, np.nan], [np.nan, 0.75]], np.float32))


def test_an_image_without_data_is_nan_and_is_not_evaluated() -> None:
    def never(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError

    assert np.isnan(pixel_by_pixel(np.full((1, 2, 2), np.nan, np.float32), never)).all()


BRIGHTNESS = Detector("brightness", "1", ("B02",), lambda reflectance, bands: reflectance[0].copy())


def test_a_block_is_the_mean_of_its_pixels_with_data() -> None:
    nan = np.nan
    values = np.array([[[1, 3, 5, nan], [5, 7, nan, nan]]], np.float32)
    assert block_mean(values, 2).tolist() == [[[4.0, 5.0]]]


def test_an_edge_block_is_the_mean_of_its_pixels() -> None:
    np.testing.assert_array_equal(block_mean(np.array([[[1, 3, 8], [5, 7, 10]]], np.float32), 2), [[[4, 9]]])


def test_a_block_without_data_has_no_data() -> None:
    assert np.isnan(block_mean(np.full((1, 2, 2), np.nan, np.float32), 2)).all()


def test_values_change_linearly_between_the_centres_of_blocks() -> None:
    # centres lie at 0.5 and 2.5 px: pixels 0 to 3 lie at -0.25, 0.25, 0.75 and 1.25 blocks
    assert upsample(np.array([[0.0, 1.0]], np.float32), 2, (2, 4))[0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_a_resolution_of_ten_metres_returns_the_detector_itself() -> None:
    assert at_resolution(BRIGHTNESS, 10) is BRIGHTNESS


def test_a_coarser_detector_has_a_name_of_its_own() -> None:
    assert at_resolution(BRIGHTNESS, 20).name == "brightness@20m"


@pytest.mark.parametrize("metres", [20, 60])
def test_a_uniform_image_keeps_its_probability_at_any_size(metres) -> None:
    even = np.full((1, 17, 256), 0.25, np.float32)
    np.testing.assert_allclose(at_resolution(BRIGHTNESS, metres).probability(even, ("B02",)), even[0], atol=1e-7)


def test_a_ramp_keeps_its_probability_away_from_the_edges() -> None:
    ramp = np.tile(np.arange(24, dtype=np.float32) / 24, (1, 12, 1))
    found = at_resolution(BRIGHTNESS, 60).probability(ramp, ("B02",))
    np.testing.assert_allclose(found[:, 3:-3], ramp[0, :, 3:-3], atol=1e-6)


def test_fault_13_no_data_is_neither_spread_nor_filled() -> None:
    holed = np.full((1, 12, 12), 0.5, np.float32)
    holed[0, :6, :6] = np.nan
    holed[0, 8, 8] = np.nan
    found = at_resolution(BRIGHTNESS, 60).probability(holed, ("B02",))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(holed[0]))
    np.testing.assert_allclose(found[~np.isnan(found)], 0.5, atol=1e-6)
