import numpy as np
import pytest

from unclouded.clouds.detector import has_data, pixel_by_pixel, select_bands
from unclouded.errors import InputError


def image(*bands: float) -> np.ndarray:
    """One row of two pixels; each band has one value."""
    return np.array(bands, np.float32)[:, None, None] * np.ones((1, 1, 2), np.float32)


def test_bands_are_chosen_by_name_and_in_the_detectors_order() -> None:
    chosen = select_bands(image(0.2, 0.4, 0.8), ("B02", "B04", "B08"), ("B08", "B02"), "some detector")
    assert chosen[:, 0, 0].tolist() == [np.float32(0.8), np.float32(0.2)]


def test_fault_18_l2a_lacks_b10_and_is_refused_by_that_name() -> None:
    with pytest.raises(InputError, match=r"^s2cloudless needs B09 B10, but B10 is missing; L2A has no B10, use"):
        select_bands(image(0.1, 0.1), ("B08", "B09"), ("B09", "B10"), "s2cloudless")


def test_fault_09_any_other_missing_band_is_named() -> None:
    with pytest.raises(InputError, match="but B01 B12 is missing; use the product with all its bands"):
        select_bands(image(0.1), ("B09",), ("B01", "B09", "B12"), "s2cloudless")


def test_fault_09_another_number_of_names_than_of_bands_is_refused() -> None:
    with pytest.raises(InputError, match="expected one name a band, found 1 names for 2 bands"):
        select_bands(image(0.1, 0.1), ("B09",), ("B09",), "s2cloudless")


def test_fault_13_a_pixel_has_data_where_every_band_is_finite() -> None:
    values = np.array([[[0.1, np.nan, 0.1, 0.1]], [[0.1, 0.1, np.inf, -np.inf]]], np.float32)
    assert has_data(values).tolist() == [[True, False, False, False]]


def test_fault_13_pixels_without_data_are_not_asked_about_and_become_nan() -> None:
    values = np.array([[[0.25, np.nan], [np.inf, 0.75]]], np.float32)
    answer = pixel_by_pixel(values, lambda pixels: pixels.sum(axis=0))
    np.testing.assert_array_equal(answer, np.array([[0.25, np.nan], [np.nan, 0.75]], np.float32))


def test_an_image_without_any_data_is_all_nan_and_nobody_is_asked() -> None:
    def never(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError

    assert np.isnan(pixel_by_pixel(np.full((1, 2, 2), np.nan, np.float32), never)).all()
