from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.geotiff import write_geotiff
from unclouded.scenes.acquisition import acquisition

GRID = GeoBox((2, 2), Affine(10, 0, 0, 0, -10, 0), 32632)


def image(path: Path, *, domain: str | None = None, **tags: str) -> Path:
    write_geotiff(path, np.ones((1, 2, 2), np.uint8), ("a",), GRID)
    if tags:
        with rasterio.open(path, "r+") as file:
            file.update_tags(ns=domain, **tags)
    return path


def named_time(tmp_path: Path, name: str, folder: Path | None = None) -> str | None:
    time = acquisition(image(tmp_path / name), folder).time
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%S%z}"


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.tif", "2021-09-08T04:27:01"),
        ("S2A_MSIL2A_20210908T102701_R065_T32TQM_20220908T181234.tif", "2021-09-08T10:27:01"),  # Planetary Computer
        ("S2B_MSIL2A_20210122T133229.tif", "2021-01-22T13:32:29"),
        ("S2A_OPER_PRD_MSIL1C_PDMC_20160101T120000_R008_V20151231T103000_20151231T103000.tif", "2015-12-31T10:30:00"),
        ("20210908T102559_20220108T102701_T32TQM.tif", "2021-09-08T10:25:59"),  # Earth Engine
        ("T32TQM_20210908T102701_B02_10m.tif", "2021-09-08T10:27:01"),  # Sen2Cor
        ("SENTINEL2A_20210908-103022-457_L2A_T31TFJ_C_V3-0.tif", "2021-09-08T10:30:22"),  # MAJA
        ("S1A_IW_GRDH_1SDV_20210907T235950_20210908T000015_039588_04AE06_C1B5.tif", "2021-09-07T23:59:50"),
        ("Subset_S1A_IW_GRDH_1SDV_20210907T170650_20210907T170715_039588_04AE06_C1B5_TC.tif", "2021-09-07T17:06:50"),
        ("s1a-iw-grd-vv-20210801t052623-20210801t052648-039032-049b0e-001.tiff", "2021-08-01T05:26:23"),
        ("S1A_IW_20210801T052623_DVP_RTC10_G_gpuned_ECC8.tif", "2021-08-01T05:26:23"),  # HyP3
        ("OPERA_L2_RTC-S1_T168-359429-IW2_20231217T052424Z_20231220T055805Z_S1A_30_v1.0.tif", "2023-12-17T05:24:24"),
        ("S1A__IW___A_20210801T170750_VV_gamma0-rtc_db.tif", "2021-08-01T17:07:50"),  # pyroSAR
    ],
)
def test_names_tell_the_time_of_acquisition(tmp_path: Path, name: str, when: str) -> None:
    assert named_time(tmp_path, name) == f"{when}+0000"


@pytest.mark.parametrize(
    "name",
    [
        "S2A_MSIL1C_20211308T042701.tif",  # no such month
        "S2A_MSIL1C_20210908T246061.tif",  # no such hour
        "image_20210230.tif",
        "image_20990101.tif",  # not yet
        "19991231T101010.tif",  # before Sentinel-1
        "120210908.tif",
        "S2A_OPER_MSI_L1C_TL_SGS__20151231T154242_A002747_T32TQM_N02.01.tif",  # the time of processing
        "S1AA_20210801T052623_20210813T052624_VVP012_INT80.tif",  # two images
        "image.tif",
    ],
)
def test_names_without_one_possible_time_tell_nothing(tmp_path: Path, name: str) -> None:
    assert named_time(tmp_path, name) is None


@pytest.mark.parametrize("name", ["S2A1C_20210908_065_T32TQM.tif", "2021-09-08_B02.tif", "clip_20210908.tif"])
def test_of_a_day_alone_noon_is_taken_and_noted(tmp_path: Path, name: str) -> None:
    found = acquisition(image(tmp_path / name))
    assert found.time == datetime(2021, 9, 8, 12, tzinfo=UTC)
    assert found.remarks == (f"of its date only the day is known ({name}); noon in UTC was taken",)


def test_a_folder_of_bands_has_the_time_of_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "S1A_IW_20210801T052623_DVP_RTC10_G_gpuned_ECC8"
    assert named_time(folder, "VV.tif", folder) == "2021-08-01T05:26:23+0000"
    assert named_time(folder, "VH.tif") is None


@pytest.mark.parametrize("domain", ["IMAGERY", None])
@pytest.mark.parametrize("stamp", ["2021-09-08 04:27:01", "2021-09-08T04:27:01Z", "2021-09-08T06:27:01+02:00"])
def test_the_tag_of_gdal_tells_and_goes_before_the_name(tmp_path: Path, domain: str | None, stamp: str) -> None:
    path = image(tmp_path / "S2A_MSIL1C_20200101T000000.tif", domain=domain, ACQUISITIONDATETIME=stamp)
    assert acquisition(path).time == datetime(2021, 9, 8, 4, 27, 1, tzinfo=UTC)


@pytest.mark.parametrize("tag", ["ACQUISITION_START_TIME", "ZERO_DOPPLER_START_TIME", "acquisition_datetime"])
def test_tags_of_other_writers_tell(tmp_path: Path, tag: str) -> None:
    found = acquisition(image(tmp_path / "a.tif", **{tag: "2021-09-08T04:27:01.500000Z"}))
    assert found.time == datetime(2021, 9, 8, 4, 27, 1, 500_000, tzinfo=UTC)


def test_the_time_of_writing_is_taken_last_and_noted(tmp_path: Path) -> None:
    found = acquisition(image(tmp_path / "a.tif", TIFFTAG_DATETIME="2021:09:08 04:27:01"))
    assert found.time == datetime(2021, 9, 8, 4, 27, 1, tzinfo=UTC)
    assert found.remarks[0].startswith("the date 2021-09-08 is that of TIFFTAG_DATETIME, taken as UTC; it may be when")
    later = image(tmp_path / "S2A_MSIL1C_20200101T000000.tif", TIFFTAG_DATETIME="2021:09:08 04:27:01")
    assert acquisition(later).time == datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("stamp", ["yesterday", "9999-12-31T23:59:59-14:00", "0001-01-01", "2021-02-30", ""])
def test_a_tag_that_is_no_possible_time_tells_nothing(tmp_path: Path, stamp: str) -> None:
    assert acquisition(image(tmp_path / "a.tif", ACQUISITIONDATETIME=stamp)).time is None


def test_fault_05_what_is_no_geotiff_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"no")
    with pytest.raises(InputError):
        acquisition(tmp_path / "a.tif")
