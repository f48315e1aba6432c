"""The oracle is the s2cloudless package, on crops small enough for it."""

import numba
import numpy as np
import pytest

from unclouded.clouds.s2cloudless import BANDS, PATCH, _model, package_probability, s2cloudless_probability
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2


def stored(dn: np.ndarray) -> np.ndarray:
    """Reflectance as reading makes it of stored numbers."""
    return dn.astype(np.float32) / np.float32(10_000)


def assert_same(reflectance: np.ndarray, bands: tuple[str, ...] = BANDS) -> None:
    found = s2cloudless_probability(reflectance, bands)
    np.testing.assert_array_equal(found, package_probability(reflectance, bands))
    assert found.dtype == np.float32


def test_random_numbers_get_the_bits_of_the_package() -> None:
    assert_same(stored(np.random.default_rng(1).integers(0, 17_015, (10, 64, 64))))


def test_values_on_and_beside_every_threshold_get_the_bits_of_the_package() -> None:
    thresholds = np.stack([row[:250] for row in _model()[0].thresholds])
    near = [np.nextafter(thresholds, np.float32(side)) for side in (0, 2)]
    candidates = np.concatenate([thresholds, *near], axis=1)
    assert_same(np.random.default_rng(2).permuted(np.tile(candidates, 4), axis=1)[:, :, None])


def test_dark_plain_and_bright_images_get_the_bits_of_the_package() -> None:
    for dn in (0, 1, 1500, 10_000, 17_014):
        assert_same(stored(np.full((10, 4, 4), dn)))


def test_all_13_bands_in_any_order_give_the_same() -> None:
    scene = stored(np.random.default_rng(3).integers(0, 10_001, (13, 8, 8)))
    forwards = s2cloudless_probability(scene, SENTINEL2.bands)
    np.testing.assert_array_equal(forwards, s2cloudless_probability(scene[::-1].copy(), SENTINEL2.bands[::-1]))
    assert_same(scene, SENTINEL2.bands)


def test_fault_13_nan_and_infinity_are_no_data_and_do_not_affect_their_neighbours() -> None:
    scene = stored(np.random.default_rng(4).integers(0, 10_001, (10, 8, 8)))
    holed = scene.copy()
    holed[0, 0, 0], holed[9, 7, 7] = np.nan, np.inf
    found = s2cloudless_probability(holed, BANDS)
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 0], [7, 7]]
    known = ~np.isnan(found)
    np.testing.assert_array_equal(found[known], s2cloudless_probability(scene, BANDS)[known])
    assert_same(holed)


@pytest.mark.parametrize("probability", [s2cloudless_probability, package_probability])
def test_fault_18_an_image_without_b10_is_refused(probability) -> None:
    without = tuple(band for band in SENTINEL2.bands if band != "B10")
    with pytest.raises(InputError, match="but B10 is missing; L2A has no B10"):
        probability(np.zeros((12, 2, 2), np.float32), without)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_probability_does_not_depend_on_the_number_of_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = stored(np.random.default_rng(5).integers(0, 3000, (10, 3, PATCH)))
    rows = [s2cloudless_probability(scene[:, row : row + 1].copy(), BANDS) for row in range(3)]
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
    np.testing.assert_array_equal(s2cloudless_probability(scene, BANDS), np.concatenate(rows))


def test_an_empty_image_has_an_empty_probability() -> None:
    assert s2cloudless_probability(np.zeros((10, 0, 5), np.float32), BANDS).shape == (0, 5)
