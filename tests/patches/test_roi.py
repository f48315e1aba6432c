from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.patches.roi import SENSORS, PatchId, Roi, natural, region_of

seasons = st.sampled_from(["spring", "summer", "fall", "winter"])
rois = st.builds(Roi, st.integers(0, 9_999).map("ROIs{:04}".format), seasons, st.integers(0, 999_999))
patches = st.builds(PatchId, rois, st.integers(0, 999_999))


def test_the_region_of_a_name_is_empty_if_it_is_not_official() -> None:
    assert region_of("ROIs1158_spring_s2_106_p30") == "ROIs1158_spring_106"
    assert region_of("holiday") == ""


def test_a_season_has_its_middle_day() -> None:
    assert Roi("ROIs1158", "spring", 106).day_of_year == date(2017, 4, 15).timetuple().tm_yday == 105


@given(rois)
def test_a_region_is_parsed_from_its_name(roi: Roi) -> None:
    assert Roi.parse(str(roi)) == roi


@given(patches, st.sampled_from([*SENSORS, "s2_cloudfree", "s2_cloudFree"]))
def test_a_patch_is_parsed_from_its_name_and_from_each_of_its_files(patch: PatchId, sensor: str) -> None:
    assert PatchId.parse(str(patch)) == patch
    assert PatchId.parse(patch.file_name(sensor).removesuffix(".tif")) == patch


def test_names_are_spelled_as_published() -> None:
    patch = PatchId(Roi("ROIs1158", "spring", 106), 30)
    assert patch.file_name("s2_cloudy") == "ROIs1158_spring_s2_cloudy_106_p30.tif"
    assert str(patch) == "ROIs1158_spring_106_p30" and patch.roi.collection == "ROIs1158_spring"


def test_a_region_is_not_equal_to_one_with_the_same_prefix() -> None:
    short, long = Roi.parse("ROIs1158_spring_1"), Roi.parse("ROIs1158_spring_106")
    assert str(long).startswith(str(short)) and short != long and len({short, long}) == 2


def test_regions_and_patches_are_sorted_by_number() -> None:
    names = ["ROIs1158_spring_9_p10", "ROIs1158_spring_10_p1", "ROIs1158_spring_9_p9"]
    assert [str(patch) for patch in sorted(map(PatchId.parse, names))] == [names[2], names[0], names[1]]


@pytest.mark.parametrize(
    "name",
    ["", "ROIs1158_spring", "ROIs1158_autumn_1", "ROIs1158_spring_1\n", "ROIs1158_spring_١", "x/ROIs1158_spring_1"],
)
def test_an_invalid_region_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a region; expected a name such as ROIs1158_spring_106"):
        Roi.parse(name)


@pytest.mark.parametrize("name", ["", "ROIs1158_spring_1", "ROIs1158_spring_s3_1_p1", "ROIs1158_spring_s2_1_p1.tif"])
def test_an_invalid_patch_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is not a patch; expected a name such as ROIs1158_spring_s2_106_p30"):
        PatchId.parse(name)


def test_a_patch_has_one_path_per_sensor_in_the_official_layout() -> None:
    patch = PatchId(Roi("ROIs1158", "spring", 106), 30)
    assert patch.path("s2_cloudy").as_posix() == (
        "ROIs1158_spring_s2_cloudy/s2_cloudy_106/ROIs1158_spring_s2_cloudy_106_p30.tif"
    )


def test_fault_25_names_with_any_number_of_digits_are_sorted() -> None:
    names = ["p" + "9" * 5000, "p10", "p" + "1" * 20, "p9"]
    assert sorted(names, key=natural) == ["p9", "p10", "p" + "1" * 20, "p" + "9" * 5000]
