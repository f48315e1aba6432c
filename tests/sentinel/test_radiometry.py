import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unclouded.io.raster import to_stored
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.radiometry import Radiometry, without_offset


def line(*numbers: int, dtype: str = "uint16") -> np.ndarray:
    return np.array(numbers, dtype).reshape(1, 1, -1)


def test_an_offset_is_added_before_dividing() -> None:
    seen = Radiometry((-1000,)).decode(line(1, 1000, 1001, 3500, 0, 65535))
    np.testing.assert_array_equal(seen.ravel()[:4], np.float32([-0.0999, 0, 0.0001, 0.25]))
    assert np.isnan(seen.ravel()[4:]).all() and seen.dtype == np.float32


def test_each_band_has_its_own_offset() -> None:
    stored = np.full((2, 1, 1), 2000, np.uint16)
    assert Radiometry((0, -1000)).decode(stored).ravel().tolist() == [np.float32(0.2), np.float32(0.1)]


@given(arrays(np.uint16, (2, 3, 4)))
def test_what_is_decoded_returns_bit_for_bit(stored: np.ndarray) -> None:
    stored[stored == 65_535] = 65_534
    for offsets in ((0, 0), (-1000, 0), (-1000, -1000)):
        radiometry = Radiometry(offsets)
        np.testing.assert_array_equal(radiometry.encode(radiometry.decode(stored)), stored)


@given(arrays(np.uint16, (1, 2, 5), elements=st.integers(1, 60_000)))
def test_fault_16_twins_with_and_without_offset_are_bit_equal(stored: np.ndarray) -> None:
    twin = stored + np.uint16(1000)
    np.testing.assert_array_equal(Radiometry((-1000,)).decode(twin), Radiometry((0,)).decode(stored))


def test_without_offset_it_is_the_encoding_of_the_data_set() -> None:
    values = np.array([[[-0.2, 0, 0.00004, 0.5, 7.0, np.nan, np.inf]]], np.float32)
    np.testing.assert_array_equal(without_offset(1).encode(values), to_stored(values, SENTINEL2))


def test_a_valid_pixel_never_becomes_no_data() -> None:
    assert Radiometry((-1000,)).encode(np.float32([[[-0.1, -0.5, 9.0]]])).ravel().tolist() == [1, 1, 65_534]
    assert without_offset(1, "int16").encode(np.float32([[[0, 9.0, np.nan]]])).ravel().tolist() == [1, 32_766, 0]


def test_fault_13_the_tag_of_a_file_is_no_data_too() -> None:
    seen = without_offset(1, "int16", -9999).is_data(line(-9999, 0, 5, dtype="int16"))
    assert seen.ravel().tolist() == [False, False, True]


def test_tags_and_words_carry_the_offset() -> None:
    radiometry = Radiometry((-1000, -1000))
    assert (radiometry.scale, radiometry.offset) == (0.0001, (-0.1, -0.1))
    assert str(radiometry) == "reflectance = (DN + offset) / 10000, offset -1000, applied on reading"
    assert "offset -1000 or 0" in str(Radiometry((0, -1000)))


@pytest.mark.parametrize("offset", [0, -1000])
def test_fault_16_an_offset_cannot_be_applied_twice(offset: int) -> None:
    """Writing what was read leaves the integers and their tags as they were, however often."""
    radiometry, stored = Radiometry((offset,)), line(1500, 2500)
    for _ in range(3):
        stored = radiometry.encode(radiometry.decode(stored))
    assert stored.ravel().tolist() == [1500, 2500]
