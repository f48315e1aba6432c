import numpy as np
import pytest

from unclouded.prediction.blend import compose, seam_index
from unclouded.prediction.provenance import Provenance
from unclouded.scenes.radiometry import Radiometry


def test_each_provenance_has_its_integers() -> None:
    observed = np.array([[[17_014, 5_000, 5_000, 5_000, 5_000, 65_535]]], np.uint16)
    provenance = np.array([[1, 2, 3, 4, 0, 5]], np.uint8)
    reflectance = np.array([[[0.5, 0.1, 0.0, 1.3, 0.7, 0.7]]], np.float32)
    found = compose(reflectance, observed, provenance, Radiometry((0,)))
    assert found.tolist() == [[[17_014, 1_000, 1, 13_000, 0, 7_000]]]
    assert found.dtype == np.uint16
    assert Provenance.OBSERVED == 1


def test_made_pixels_carry_the_offset_of_the_input() -> None:
    one = np.full((1, 1, 1), 1_500, np.uint16)
    made = np.full((1, 1), Provenance.SYNTHESISED, np.uint8)
    found = compose(np.full((1, 1, 1), 0.2, np.float32), one, made, Radiometry((-1000,)))
    assert found.item() == 3_000  # (3000 - 1000) / 10 000


def test_a_slope_has_no_seams_and_a_step_has() -> None:
    slope = np.tile(np.arange(40.0), (1, 16, 1))
    assert seam_index(slope, rows=[], columns=[12, 28]) == 1.0
    slope[:, :, 28:] += 4.0
    assert seam_index(slope, rows=[], columns=[28]) == 5.0
    assert seam_index(slope, rows=[], columns=[12, 28]) == 3.0


def test_the_pattern_of_a_network_is_no_seam() -> None:
    pattern = np.tile([0.0, 1.0, 3.0, 4.0], (1, 16, 10))  # jumps of 1, 2, 1 and, wherever windows begin, 4
    assert seam_index(pattern, rows=[], columns=[12, 20]) == 1.0


def test_seams_are_looked_for_down_the_rows_too_and_only_where_asked() -> None:
    slope = np.tile(np.arange(32.0)[:, None], (2, 1, 16))
    slope[:, 16:, :8] += 2.0
    assert seam_index(slope, rows=[16], columns=[]) == 2.0
    right = np.zeros((32, 16), bool)
    right[:, 8:] = True
    assert seam_index(slope, rows=[16], columns=[], where=right) == 1.0


def test_pixels_without_a_value_are_not_compared() -> None:
    slope = np.tile(np.arange(32.0), (1, 16, 1))
    slope[:, :8] = np.nan
    assert seam_index(slope, rows=[], columns=[16]) == pytest.approx(1.0)
