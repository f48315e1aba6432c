"""Patches of SEN12MS-CR-TS, found by their official names."""

from datetime import date
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.patches.time_series import TEST_REGIONS, find_time_series


def official(root: Path, sensor: str, region: str, number: int, day: str, patch: int = 7) -> Path:
    seed, place = region.split("_")
    name = f"{sensor}_{region}_ImgNo_{number}_{day}_patch_{patch}.tif"
    path = root / seed / place / sensor.upper() / str(number) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_dates_are_sorted_by_time_and_radar_belongs_to_its_number(tmp_path: Path) -> None:
    later = official(tmp_path, "s2", "ROIs1970_21", 10, "2018-05-06")
    earlier = official(tmp_path, "s2", "ROIs1970_21", 2, "2018-01-26")
    radar = official(tmp_path, "s1", "ROIs1970_21", 10, "2018-05-03")
    official(tmp_path, "s1", "ROIs1970_21", 10, "2018-05-03", patch=8)  # of a patch without optical images
    (one,) = find_time_series(tmp_path)
    assert (one.name, one.region) == ("ROIs1970_21_p7", "ROIs1970_21")
    assert [(image.number, image.date, image.optical, image.sar) for image in one.dates] == [
        (2, date(2018, 1, 26), earlier, None),
        (10, date(2018, 5, 6), later, radar),
    ]


def test_the_official_split_is_by_region(tmp_path: Path) -> None:
    official(tmp_path, "s2", "ROIs1970_21", 0, "2018-01-03")
    official(tmp_path, "s2", "ROIs1970_20", 0, "2018-01-03")
    assert [one.region for one in find_time_series(tmp_path, "test")] == ["ROIs1970_20"]
    assert [one.region for one in find_time_series(tmp_path, "train")] == ["ROIs1970_21"]
    assert len(TEST_REGIONS) == 13


def test_other_folders_and_impossible_dates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no time series, expected files such as ROIs1970/21/S2/0/s2_"):
        find_time_series(tmp_path)
    official(tmp_path, "s2", "ROIs1970_21", 0, "2018-02-30")
    with pytest.raises(InputError, match="has no valid date in its name, 2018-02-30"):
        find_time_series(tmp_path)
