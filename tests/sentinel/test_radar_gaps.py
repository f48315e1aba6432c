import numpy as np
import pytest

from unclouded.sentinel.radar_gaps import ALONE_PX, SQUARE_PX, without_zero_gaps, zero_gaps


def speckle(rows: int = 120, columns: int = 40) -> np.ndarray:
    return np.random.default_rng(0).uniform(-25, -5, (2, rows, columns)).astype(np.float32)


def test_fault_13_an_area_of_exactly_0_db_in_both_polarisations_is_a_gap() -> None:
    values = speckle()
    values[:, 20:50, 10:] = 0
    expected = np.zeros((120, 40), bool)
    expected[20:50, 10:] = True
    assert np.array_equal(zero_gaps(values), expected)


def test_a_gap_with_a_slanting_edge_is_one_to_its_last_pixel() -> None:
    rows, columns = np.mgrid[:120, :40]
    beyond = columns > rows / 7 + 10
    assert np.array_equal(zero_gaps(np.where(beyond, np.float32(0), speckle())), beyond)


def test_bright_towns_that_were_clipped_at_0_are_no_gap() -> None:
    values = speckle()
    values[0, 20:60, 10:30] = 0  # VV alone, however large
    values[:, 80 : 80 + SQUARE_PX - 1, 5 : 5 + SQUARE_PX - 1] = 0
    values[:, 100, :] = 0
    assert not zero_gaps(values).any()


@pytest.mark.parametrize("band", [0, 1])
def test_fault_13_a_large_area_of_exactly_0_db_in_one_polarisation_is_a_gap(band: int) -> None:
    values = speckle(120, 80)
    values[band, 60:, 30:] = 0
    expected = np.zeros((120, 80), bool)
    expected[60:, 30:] = True
    assert np.array_equal(zero_gaps(values), expected)
    values = speckle(120, 80)
    values[band, 40 : 40 + ALONE_PX - 1, 20 : 20 + ALONE_PX - 1] = 0
    assert not zero_gaps(values).any()


def test_a_gap_at_the_edge_of_the_image_may_be_narrower() -> None:
    values = speckle()
    values[:, :, :3] = 0
    assert zero_gaps(values)[:, :3].all() and not zero_gaps(values)[:, 3:].any()


@pytest.mark.parametrize("step", [1, 7, 50])
def test_rows_do_not_depend_on_how_many_are_read_at_a_time(step: int) -> None:
    rows, columns = np.mgrid[:120, :40]
    values = np.where((columns > rows / 7 + 10) & (rows < 61), np.float32(0), speckle())
    values[1, 75:] = 0  # VH alone
    read = without_zero_gaps(lambda top, bottom: values[:, top:bottom], 120)
    parts = [read(top, min(top + step, 120)) for top in range(0, 120, step)]
    expected = np.where(zero_gaps(values), np.float32(np.nan), values)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
