"""Folders of GeoTIFFs, one a band."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.optical_product import PIXEL_M

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.io.rows import Layer, write_cog
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.band_stack import read_acquisition_time
from unclouded.sentinel.optical import open_optical
from unclouded.sentinel.radar import open_radar

GRID = GeoBox((12, 18), Affine(10, 0, 600_000, 0, -10, 5_000_040), "EPSG:32632")


def coarse(factor: int, grid: GeoBox = GRID) -> GeoBox:
    return GeoBox((grid.shape[0] // factor, grid.shape[1] // factor), grid.affine @ Affine.scale(factor), grid.crs)


def image(band: str) -> NDArray[np.uint16]:
    """Every pixel of every band has a number of its own."""
    height, width = coarse(PIXEL_M[band] // 10).shape
    return (1000 * SENTINEL2.bands.index(band) + np.arange(1, height * width + 1).reshape(height, width)).astype(
        "uint16"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirteen bands at their own pixel sizes, named as catalogues do, beside other files."""
    place = tmp_path / "S2A_MSIL1C_20210908T102701_N0301_R065_T32TQM_20210908T102701"
    for band in SENTINEL2.bands:
        file = place / f"T32TQM_20210908T102701_{band}.tif"
        write_geotiff(file, image(band)[None], ("stored",), coarse(PIXEL_M[band] // 10), nodata=0)
    (place / "T32TQM_20210908T102701_TCI.tif").touch()
    (place / "tileInfo.json").write_text('{"timestamp": "2021-09-08T10:27:01Z"}')
    return place


@pytest.fixture
def refused() -> Callable[..., str]:
    def refuse(path: Path, **options: bool) -> str:
        with pytest.raises(InputError) as error, open_optical(path, **options):  # type: ignore[arg-type]
            pass
        return str(error.value)

    return refuse


def test_a_folder_of_bands_is_a_scene_at_10_m_whose_coarser_pixels_are_repeated(folder: Path) -> None:
    with open_optical(folder) as scene:
        assert (scene.geobox, scene.bands) == (GRID, SENTINEL2.bands)
        assert scene.acquired is not None and scene.acquired.isoformat() == "2021-09-08T10:27:01+00:00"
        for band, stored in zip(SENTINEL2.bands, scene.stored(3, 11), strict=True):
            factor = PIXEL_M[band] // 10
            expected = image(band).repeat(factor, axis=0).repeat(factor, axis=1)[3:11]
            np.testing.assert_array_equal(stored, expected)


def test_coarser_pixels_are_interpolated_where_asked(folder: Path) -> None:
    """B05 rises by 1 from column to column of 20 m: by a quarter and three quarters of it at 10 m, rounded."""
    with open_optical(folder, resampling="bilinear") as scene:
        stored = scene.stored(0, 12)[SENTINEL2.bands.index("B05")].astype(int)
    assert stored[0, :6].tolist() == [4001, 4001, 4002, 4002, 4003, 4003]
    assert np.array_equal(stored[1:3, 0], [4003, 4008])  # 4001 and 4010 below it, a quarter of 9 each way


def test_offset_tags_count_band_by_band(folder: Path) -> None:
    layer = Layer(("B04",), "uint16", 0, scale=1e-4, offsets=(-0.1,))
    write_cog(folder / "T32TQM_20210908T102701_B04.tif", [(0, image("B04")[None] + np.uint16(1000))], layer, GRID)
    with open_optical(folder) as scene:
        np.testing.assert_allclose(scene.read(0, 12, ("B04",))[0], image("B04") / 1e4, atol=1e-7)
        np.testing.assert_allclose(scene.read(0, 12, ("B03",))[0], image("B03") / 1e4, atol=1e-7)


def test_fault_18_a_folder_without_b10_is_of_level_2a(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "T32TQM_20210908T102701_B10.tif").unlink()
    assert refused(folder).endswith("has no image named after B10; Level-2A has no B10: fetch the L1C of this scene")
    with open_optical(folder, allow_l2a=True) as scene:
        assert (scene.level, scene.sensor) == ("L2A", SENTINEL2_L2A)
        assert scene.stored(0, 1)[-1, 0, 0] == 12_001


def test_fault_09_bands_that_are_missing_or_there_twice_are_named(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "T32TQM_20210908T102701_B8A.tif").rename(folder / "B08.TIFF")
    assert "has no image named after B8A; fetch them, too" in refused(folder)
    (folder / "T32TQM_20210908T102701_TCI.tif").rename(folder / "b8a.tif")
    assert "has B08.TIFF and T32TQM_20210908T102701_B08.tif for B08, expected one file" in refused(folder)


def test_fault_09_a_band_description_that_contradicts_the_file_name_is_refused(
    folder: Path, refused: Callable[..., str]
) -> None:
    write_geotiff(folder / "T32TQM_20210908T102701_B03.tif", image("B03")[None], ("B04",), GRID)
    assert "B03.tif holds B04, but is named after B03; rename it" in refused(folder)


@pytest.mark.parametrize("moved", [(0.5, 0.0), (0.0, 1.0)])
def test_fault_11_a_band_on_another_grid_is_refused(
    folder: Path, refused: Callable[..., str], moved: tuple[float, float]
) -> None:
    grid = coarse(2)
    other = GeoBox(grid.shape, grid.affine @ Affine.translation(*moved), grid.crs)
    write_geotiff(folder / "T32TQM_20210908T102701_B05.tif", image("B05")[None], ("a",), other)
    assert "B05.tif lies on another grid than the finest band (9x6 px in EPSG:32632" in refused(folder)


def test_fault_13_bands_of_other_types_or_nodata_are_refused(folder: Path, refused: Callable[..., str]) -> None:
    path = folder / "T32TQM_20210908T102701_B03.tif"
    write_geotiff(path, image("B03")[None], ("a",), GRID)  # without a tag 0 is no data all the same
    with open_optical(folder):
        pass
    write_geotiff(path, image("B03")[None], ("a",), GRID, nodata=7)
    assert refused(folder).endswith(
        "B03.tif is uint16 with nodata 7, but B01 is uint16 with nodata 0; convert one of them"
    )
    write_geotiff(path, image("B03")[None].astype(np.int16), ("a",), GRID, nodata=0)
    assert "B03.tif is int16 with nodata 0" in refused(folder)


def test_radar_comes_as_two_files_too(tmp_path: Path) -> None:
    values = {"VV": np.full((1, 12, 18), -9, np.float32), "VH": np.full((1, 12, 18), -15, np.float32)}
    for band, each in values.items():
        write_geotiff(tmp_path / "s1" / f"s1a-iw-{band.lower()}.tiff", each, ("dB",), GRID)
    with open_radar(tmp_path / "s1", GRID) as scene:
        assert scene.read(0, 12)[:, 0, 0].tolist() == [-9, -15]
    write_geotiff(tmp_path / "s1" / "s1a-iw-vh.tiff", values["VH"][:, ::2, ::2], ("dB",), coarse(2))
    with (
        pytest.raises(InputError, match=r"vh\.tiff lies on another grid than the finest band"),
        open_radar(tmp_path / "s1", GRID),
    ):
        pass


ACQUISITION_GRID = GeoBox((2, 2), Affine(10, 0, 0, 0, -10, 0), 32632)


def acquisition_image(path: Path, *, domain: str | None = None, **tags: str) -> Path:
    write_geotiff(path, np.ones((1, 2, 2), np.uint8), ("a",), ACQUISITION_GRID)
    if tags:
        with rasterio.open(path, "r+") as file:
            file.update_tags(ns=domain, **tags)
    return path


def named_time(tmp_path: Path, name: str, folder: Path | None = None) -> str | None:
    time = read_acquisition_time(acquisition_image(tmp_path / name), folder).time
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
def test_names_contain_the_time_of_acquisition(tmp_path: Path, name: str, when: str) -> None:
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
def test_names_without_one_possible_time_are_ignored(tmp_path: Path, name: str) -> None:
    assert named_time(tmp_path, name) is None


@pytest.mark.parametrize("name", ["S2A1C_20210908_065_T32TQM.tif", "2021-09-08_B02.tif", "clip_20210908.tif"])
def test_of_a_day_alone_noon_is_taken_and_noted(tmp_path: Path, name: str) -> None:
    found = read_acquisition_time(acquisition_image(tmp_path / name))
    assert found.time == datetime(2021, 9, 8, 12, tzinfo=UTC)
    assert found.remarks == (f"only the day of acquisition is known ({name}); noon UTC is assumed",)


def test_a_folder_of_bands_has_the_time_of_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "S1A_IW_20210801T052623_DVP_RTC10_G_gpuned_ECC8"
    assert named_time(folder, "VV.tif", folder) == "2021-08-01T05:26:23+0000"
    assert named_time(folder, "VH.tif") is None


@pytest.mark.parametrize("domain", ["IMAGERY", None])
@pytest.mark.parametrize("stamp", ["2021-09-08 04:27:01", "2021-09-08T04:27:01Z", "2021-09-08T06:27:01+02:00"])
def test_the_tag_of_gdal_precedes_the_name(tmp_path: Path, domain: str | None, stamp: str) -> None:
    path = acquisition_image(tmp_path / "S2A_MSIL1C_20200101T000000.tif", domain=domain, ACQUISITIONDATETIME=stamp)
    assert read_acquisition_time(path).time == datetime(2021, 9, 8, 4, 27, 1, tzinfo=UTC)


@pytest.mark.parametrize("tag", ["ACQUISITION_START_TIME", "ZERO_DOPPLER_START_TIME", "acquisition_datetime"])
def test_tags_of_other_writers_are_read(tmp_path: Path, tag: str) -> None:
    found = read_acquisition_time(acquisition_image(tmp_path / "a.tif", **{tag: "2021-09-08T04:27:01.500000Z"}))
    assert found.time == datetime(2021, 9, 8, 4, 27, 1, 500_000, tzinfo=UTC)


def test_the_time_of_writing_is_taken_last_and_noted(tmp_path: Path) -> None:
    found = read_acquisition_time(acquisition_image(tmp_path / "a.tif", TIFFTAG_DATETIME="2021:09:08 04:27:01"))
    assert found.time == datetime(2021, 9, 8, 4, 27, 1, tzinfo=UTC)
    assert found.remarks[0].startswith("the date 2021-09-08 was read from TIFFTAG_DATETIME as UTC; it may be the time")
    later = acquisition_image(tmp_path / "S2A_MSIL1C_20200101T000000.tif", TIFFTAG_DATETIME="2021:09:08 04:27:01")
    assert read_acquisition_time(later).time == datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("stamp", ["yesterday", "9999-12-31T23:59:59-14:00", "0001-01-01", "2021-02-30", ""])
def test_a_tag_that_is_no_possible_time_is_ignored(tmp_path: Path, stamp: str) -> None:
    assert read_acquisition_time(acquisition_image(tmp_path / "a.tif", ACQUISITIONDATETIME=stamp)).time is None


def test_fault_05_what_is_no_geotiff_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"no")
    with pytest.raises(InputError):
        read_acquisition_time(tmp_path / "a.tif")
