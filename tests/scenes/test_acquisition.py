from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.geotiff import write_geotiff
from unclouded.scenes.acquisition import acquired

GRID = GeoBox((2, 2), Affine(10, 0, 0, 0, -10, 0), 32632)


def image(path: Path, *, domain: str | None = None, **tags: str) -> Path:
    write_geotiff(path, np.ones((1, 2, 2), np.uint8), ("a",), GRID)
    if tags:
        with rasterio.open(path, "r+") as file:
            file.update_tags(ns=domain, **tags)
    return path


@pytest.mark.parametrize(
    ("name", "when"),
    [
        (
            "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.tif",
            datetime(2021, 9, 8, 4, 27, 1, tzinfo=UTC),
        ),
        ("S2B_MSIL2A_20210122T133229.tif", datetime(2021, 1, 22, 13, 32, 29, tzinfo=UTC)),
        (
            "S1A_IW_GRDH_1SDV_20210907T170650_20210907T170715_039588_04AE06_C1B5.tif",
            datetime(2021, 9, 7, 17, 6, 50, tzinfo=UTC),
        ),
        ("S2A_OPER_PRD_MSIL1C_PDMC_20160101T120000_R008_V20151231T103000.tif", None),  # the first date is another
        ("S2A_MSIL1C_20211308T042701.tif", None),  # no such month
        ("20210908T042701.tif", None),
    ],
)
def test_names_of_products_tell_when(tmp_path: Path, name: str, when: datetime | None) -> None:
    assert acquired(image(tmp_path / name)) == when


@pytest.mark.parametrize("domain", ["IMAGERY", None])
@pytest.mark.parametrize("stamp", ["2021-09-08 04:27:01", "2021-09-08T04:27:01Z"])
def test_the_tag_of_gdal_tells_and_goes_before_the_name(tmp_path: Path, domain: str | None, stamp: str) -> None:
    path = image(tmp_path / "S2A_MSIL1C_20200101T000000.tif", domain=domain, ACQUISITIONDATETIME=stamp)
    assert acquired(path) == datetime(2021, 9, 8, 4, 27, 1, tzinfo=UTC)


def test_a_tag_that_is_no_time_tells_nothing(tmp_path: Path) -> None:
    assert acquired(image(tmp_path / "a.tif", ACQUISITIONDATETIME="yesterday")) is None


def test_fault_05_what_is_no_geotiff_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"no")
    with pytest.raises(InputError):
        acquired(tmp_path / "a.tif")
