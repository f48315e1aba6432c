import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.evaluation.units import UNITS, ValueRange, check_unit, find_unit, to_reflectance


def f32(low: float, high: float) -> ValueRange:
    return ValueRange("f", 32, low, high)


@pytest.mark.parametrize(
    ("found", "unit"),
    [
        (f32(0.01, 0.9), "reflectance"),
        (f32(-0.02, 1.4), "reflectance"),
        (f32(-0.98, 0.7), "network"),
        (f32(100.0, 9_000.0), "dn"),
        (ValueRange("i", 16, 0, 10_000), "dn"),
    ],
)
def test_type_and_range_tell_the_unit(found: ValueRange, unit: str) -> None:
    assert find_unit(found) == unit


@pytest.mark.parametrize(
    ("found", "may_be"),
    [
        (ValueRange("i", 8, 0, 255), "integers from 0 to 255, which may be reflectance x 10000, or a picture of 0 to"),
        (ValueRange("i", 16, 0, 200), "stretched for display"),
        (f32(0.6, 0.9), "floating point from 0.6 to 0.9, which may be reflectance or -1 to 1"),
        (f32(0.0, 0.0), "reflectance or -1 to 1"),
        (f32(0.0, 180.0), "stretched for display"),
        (f32(-2.0, 2.0), "nothing known"),
        (ValueRange("i", 16, -4, 9_000), "anything signed"),
    ],
)
def test_fault_17_what_may_be_two_things_is_refused_with_the_way_out(found: ValueRange, may_be: str) -> None:
    with pytest.raises(InputError, match=rf"{may_be}.*say which with --units reflectance\|dn"):
        find_unit(found)


def test_all_units_of_one_reflectance() -> None:
    stored = {"reflectance": 0.25, "dn": 2500, "network": -0.5, "uint8": 63.75}
    for unit in UNITS:
        assert to_reflectance(np.array([stored[unit]]), unit).tolist() == [0.25]


@given(st.lists(st.floats(0.0, 1.0, width=32), min_size=4, max_size=20))
def test_fault_17_the_same_image_in_three_units_is_the_same_reflectance_or_refused(values: list[float]) -> None:
    reflectance = np.array([0.05, *values], np.float32)  # the darkest pixel of some ground
    stored = {"dn": (reflectance * 10_000).round().astype(np.uint16), "network": reflectance * 2 - 1}
    for image in (reflectance, *stored.values()):
        try:
            unit = find_unit(ValueRange.of(image))
        except InputError:
            continue
        np.testing.assert_allclose(to_reflectance(image, unit), reflectance, atol=6e-5)


@pytest.mark.parametrize(("unit", "found"), [("reflectance", f32(-1, 0)), ("network", f32(0, 3)), ("dn", f32(0, 1))])
def test_a_file_of_another_unit_than_the_others_is_named(unit, found) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"p7.npy holds floating point .* are all predictions of one kind\?"):
        check_unit(unit, found, "p7.npy")
