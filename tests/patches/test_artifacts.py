import numpy as np
import pytest

from unclouded.patches.artifacts import cirrus, clipped, constant_bands, snow, stripes, water
from unclouded.sensors import SENTINEL2


def optical(**reflectance: float) -> np.ndarray:
    values = np.full((13, 1, 1), 0.1, np.float32)
    for band, value in reflectance.items():
        values[SENTINEL2.indices(band)] = value
    return values


def test_a_band_of_one_value_is_constant_and_a_hole_in_it_changes_nothing() -> None:
    values = np.zeros((2, 2, 2), np.float32)
    values[0, 0, 0], values[1, 0, 0] = np.nan, 1
    assert constant_bands(values, ("VV", "VH")) == ("VV",)


def test_pixels_that_share_the_highest_value_are_clipped_if_that_is_bright() -> None:
    values = np.array([[[0.2, 1.5], [1.5, 0.1]], [[0.9, 0.9], [0.9, 0.9]]], np.float32)
    assert clipped(values, 1.0).tolist() == [[False, True], [True, False]]
    assert not clipped(values, 1.6).any()


@pytest.mark.parametrize("axis", (0, 1))
def test_one_brighter_line_is_found_and_its_neighbours_are_not(axis: int) -> None:
    band = np.random.default_rng(1).normal(0.1, 0.01, (32, 32)).astype(np.float32)
    band[10] += 0.05
    found = stripes(np.moveaxis(band, 0, axis), 0.95, 3.0)
    assert np.flatnonzero(np.moveaxis(found, axis, 0).all(axis=1)).tolist() == [10]
    assert found.sum() == 32


def test_the_edge_between_two_fields_and_noise_are_no_stripes() -> None:
    rng = np.random.default_rng(2)
    band = rng.normal(0.1, 0.01, (64, 64)).astype(np.float32)
    for row in range(64):  # an edge of 3 degrees against the grid
        band[row, 30 + row // 20 :] += 0.2
    assert not stripes(band, 0.95, 3.0).any()


def test_snow_water_and_cirrus_are_told_by_their_bands() -> None:
    assert snow(optical(B03=0.8, B08=0.7, B11=0.1)).all()  # NDSI 0.78
    assert not snow(optical(B03=0.8, B08=0.7, B11=0.4)).any()  # NDSI 0.33: cloud
    assert water(optical(B03=0.08, B08=0.02, B11=0.01)).all()
    assert not water(optical(B03=0.08, B08=0.3, B11=0.2)).any()
    assert cirrus(optical(B10=0.013), 0.012).all() and not cirrus(optical(B10=0.011), 0.012).any()
