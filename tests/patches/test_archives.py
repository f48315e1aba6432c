import pytest

from unclouded.errors import InputError
from unclouded.patches.archives import Archive, archives

CLOUDY = Archive("ROIs2017_winter", "s2_cloudy")


def test_there_are_twelve_archives_and_they_hold_what_was_published() -> None:
    assert len(archives()) == 12 and len({one.file_name for one in archives()}) == 12
    assert {one.collection: one.patches for one in archives()} == {
        "ROIs1158_spring": 29_117,
        "ROIs1868_summer": 33_827,
        "ROIs1970_fall": 40_941,
        "ROIs2017_winter": 18_333,
    }
    assert CLOUDY.file_name == "ROIs2017_winter_s2_cloudy.tar.gz"
    assert CLOUDY.extracted_bytes == 18_333 * (13 * 2 * 256 * 256 + 8192)


def test_seasons_and_sensors_are_chosen_in_their_own_order() -> None:
    chosen = archives(("winter", "spring"), ("s2_cloudy", "s1"))
    assert [one.folder for one in chosen] == [
        "ROIs1158_spring_s1",
        "ROIs1158_spring_s2_cloudy",
        "ROIs2017_winter_s1",
        "ROIs2017_winter_s2_cloudy",
    ]
    with pytest.raises(InputError, match="autumn is none of spring, summer, fall, winter; choose among them"):
        archives(("autumn",))
    with pytest.raises(InputError, match="s3 is none of s1, s2, s2_cloudy"):
        archives(sensors=("s3",))


@pytest.mark.parametrize("start", ["ROIs2017_winter_s2_cloudy/", "./ROIs2017_winter_s2_cloudy/", "./", ""])
def test_a_patch_has_its_place_whatever_stands_before_it(start: str) -> None:
    member = f"{start}s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif"
    assert CLOUDY.place(member) == "ROIs2017_winter_s2_cloudy/s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif"


@pytest.mark.parametrize(
    "member",
    [
        "s2_cloudy_8/ROIs2017_winter_s2_8_p30.tif",  # of another sensor
        "s2_cloudy_8/ROIs1970_fall_s2_cloudy_8_p30.tif",  # of another collection
        "s2_cloudy_80/ROIs2017_winter_s2_cloudy_8_p30.tif",  # in the folder of another region
        "s2_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "ROIs1970_fall_s2_cloudy/s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p030.tif",  # two names of one patch
        "s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif.exe",
        "s2_cloudy_8/../s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "/s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif",
        "s2_cloudy_8/ROIs2017_winter_s2_cloudy_8_p30.tif\n",
        "readme.txt",
    ],
)
def test_fault_22_everything_else_has_no_place(member: str) -> None:
    assert CLOUDY.place(member) is None
