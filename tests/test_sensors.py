import pytest

from unclouded.errors import InputError
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2, SENTINEL2_L2A


def test_the_bands_of_the_paper_stand_at_3_2_1() -> None:
    assert SENTINEL2.indices(*RGB) == [3, 2, 1]
    assert SENTINEL1.indices("VH", "VV") == [1, 0]


def test_b8a_stands_between_b08_and_b09() -> None:
    assert SENTINEL2.indices("B08", "B8A", "B09") == [7, 8, 9]


@pytest.mark.parametrize("given", ["B4", "b4", " B04 ", "b04"])
def test_a_band_is_known_by_its_short_and_its_long_name(given: str) -> None:
    assert SENTINEL2.named([given]) == ("B04",)


def test_fault_09_an_unknown_band_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^B13 is no band of Sentinel-2; choose from B01 B02 .* B12$"):
        SENTINEL2.indices("B04", "B13")


def test_fault_09_a_name_without_letters_is_refused() -> None:
    with pytest.raises(InputError, match=r"^nothing is no band of Sentinel-2; choose from B01 "):
        SENTINEL2.named([""])


def test_l2a_is_l1c_without_its_cirrus_band() -> None:
    assert len(SENTINEL2_L2A.bands) == 12
    assert [band for band in SENTINEL2.bands if band not in SENTINEL2_L2A.bands] == ["B10"]


def test_fault_09_a_band_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="expected one or more different bands, found B04 B04"):
        SENTINEL2.named(["B4", "B04"])


def test_fault_09_no_band_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="expected one or more different bands, found none"):
        SENTINEL2.named([])


def test_sensors_are_values() -> None:
    with pytest.raises(AttributeError):
        SENTINEL1.unit = "linear"  # type: ignore[misc]
