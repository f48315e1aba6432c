from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.io.raster import read
from unclouded.sensors import SENTINEL1
from unclouded.sentinel.radar_units import RadarUnits, check_radar_plausibility, in_db, stored_as

DB = np.float32([[[-12.5, -20.0, np.nan]]])


def test_power_becomes_decibels_and_no_power_no_data() -> None:
    seen = in_db(np.float32([[[1, 0.01, 0, np.nan]]]), "linear")
    np.testing.assert_allclose(seen, [[[0, -20, np.nan, np.nan]]], atol=1e-5)
    np.testing.assert_array_equal(in_db(DB, "dB"), DB)


def test_hundredths_are_divided_by_the_reader() -> None:
    assert stored_as("dB x 100").stored_per_unit == 100 and "int16" in stored_as("dB x 100").dtypes
    assert stored_as("dB").dtypes == ("float32", "float64") and stored_as("linear").unit == "linear power"


def test_fault_15_unknown_units_are_refused() -> None:
    with pytest.raises(InputError, match="unknown radar units 'gamma0'; choose one of dB, linear, dB x 100"):
        stored_as("gamma0")


def radar(vv: float = -10.5, vh: float = -17.0) -> NDArray[np.float32]:
    """1600 pixels of VV and VH that spread 2 dB around these."""
    spread = np.random.default_rng(0).normal(0, 2, (2, 40, 40))
    return (spread + np.array([vv, vh])[:, None, None]).astype(np.float32)


def judged(values: NDArray[np.float32], units: RadarUnits = "dB", named: bool = False) -> tuple[str, ...]:
    return check_radar_plausibility(Path("a.tif"), values, units, named_bands=named)


@pytest.mark.parametrize(("vv", "vh"), [(-10.5, -17), (-24.5, -26.6), (-7.7, -13.6), (-2.0, -9.0), (-12, -12)])
def test_radar_of_land_water_and_towns_is_taken_in_silence(vv: float, vh: float) -> None:
    assert judged(radar(vv, vh)) == judged(radar(vv, vh), "linear") == ()


def test_fault_15_decibels_are_not_hundredths() -> None:
    assert judged(radar(), "dB x 100") == ()
    with pytest.raises(
        InputError,
        match=r"has a median of -0.1\d dB when read as dB x 100, expected below -1; if it is in dB, leave",
    ):
        judged(radar() / 100, "dB x 100")


def test_fault_09_polarisations_that_changed_places_are_refused_and_doubted_where_they_are_named() -> None:
    with pytest.raises(InputError, match=r"band 2 is 6.\d dB above band 1, .* swapped; expected VV, then VH"):
        judged(radar(-17, -10.5))
    (remark,) = judged(radar(-17, -10.5), named=True)
    assert "seem to be swapped, although the bands are named" in remark


def test_fault_15_amplitude_is_half_the_decibels_of_power() -> None:
    with pytest.raises(InputError, match=r"VH of -8.\d dB, 3.\d dB below VV, is typical of amplitude, .* square it"):
        judged(radar() / 2, "linear")
    with pytest.raises(InputError, match="double the dB first"):
        judged(radar() / 2)
    (remark,) = judged(radar(-15, -21) / 2)
    assert "amplitude rather than of power; if so, double the dB" in remark


def test_fault_15_digital_numbers_are_no_power() -> None:
    with pytest.raises(InputError, match="expected below 1; if these are digital numbers"):
        judged(radar(45, 40), "linear")


def test_a_few_pixels_are_too_few_to_check_the_unit() -> None:
    assert judged(radar(-17, -10.5)[:, :20, :40]) == ()


def test_fault_15_real_radar_is_taken_and_refused_if_swapped(samples: Path) -> None:
    for path in sorted((samples / "triplets" / "s1").glob("*.tif")):
        values = read(path, SENTINEL1).values
        assert check_radar_plausibility(path, values, "dB", named_bands=False) == ()
        with pytest.raises(InputError, match="swapped"):
            check_radar_plausibility(path, values[::-1], "dB", named_bands=False)
