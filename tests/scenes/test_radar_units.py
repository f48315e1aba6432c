from pathlib import Path

import numpy as np
import pytest

from unclouded.errors import InputError
from unclouded.scenes.radar_units import check_median, in_db, stored_as

DB = np.float32([[[-12.5, -20.0, np.nan]]])


def test_power_becomes_decibels_and_no_power_no_data() -> None:
    seen = in_db(np.float32([[[1, 0.01, 0, np.nan]]]), "linear")
    np.testing.assert_allclose(seen, [[[0, -20, np.nan, np.nan]]], atol=1e-5)
    np.testing.assert_array_equal(in_db(DB, "dB"), DB)


def test_hundredths_are_divided_by_the_reader() -> None:
    assert stored_as("dB x 100").stored_per_unit == 100 and "int16" in stored_as("dB x 100").dtypes
    assert stored_as("dB").dtypes == ("float32", "float64") and stored_as("linear").unit == "linear power"


def test_fault_15_unknown_units_are_refused() -> None:
    with pytest.raises(InputError, match="expected dB, linear, dB x 100 as units of the radar, found 'gamma0'"):
        stored_as("gamma0")


def test_fault_15_decibels_are_not_hundredths() -> None:
    check_median(Path("a.tif"), DB, "dB x 100")
    check_median(Path("a.tif"), DB / 100, "dB")
    with pytest.raises(InputError, match=r"has a median of -0.16 dB as dB x 100; is it in dB\? leave the units out"):
        check_median(Path("a.tif"), DB / 100, "dB x 100")
