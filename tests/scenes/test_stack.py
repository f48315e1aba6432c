"""Folders of GeoTIFFs, one a band."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.cog import Layer, write_cog
from unclouded.errors import InputError
from unclouded.geotiff import write_geotiff
from unclouded.scenes.optical import open_optical
from unclouded.scenes.radar import open_radar
from unclouded.scenes.stack import band_files, is_stack
from unclouded.sensors import SENTINEL1, SENTINEL2, SENTINEL2_L2A
from unclouded.simulation.optical_product import PIXEL_M

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
    (place / "tileInfo.json").touch()
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
    assert refused(folder).endswith("has no GeoTIFF named after B10; Level-2A has no B10: fetch the L1C of this scene")
    with open_optical(folder, allow_l2a=True) as scene:
        assert (scene.level, scene.sensor) == ("L2A", SENTINEL2_L2A)
        assert scene.stored(0, 1)[-1, 0, 0] == 12_001


def test_fault_09_bands_that_are_missing_or_there_twice_are_named(folder: Path, refused: Callable[..., str]) -> None:
    (folder / "T32TQM_20210908T102701_B8A.tif").rename(folder / "B08.TIFF")
    assert "has no GeoTIFF named after B8A; fetch them, too" in refused(folder)
    (folder / "T32TQM_20210908T102701_TCI.tif").rename(folder / "b8a.tif")
    assert "has B08.TIFF and T32TQM_20210908T102701_B08.tif for B08, expected one file" in refused(folder)


def test_fault_09_a_file_that_says_another_band_than_its_name_is_refused(
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


def test_products_and_folders_of_other_files_are_no_stacks(folder: Path, tmp_path: Path) -> None:
    assert is_stack(folder, SENTINEL2) and not is_stack(folder, SENTINEL1)
    assert not is_stack(folder / "tileInfo.json", SENTINEL2) and not is_stack(tmp_path, SENTINEL2)
    assert len(band_files(folder, SENTINEL2)) == 13
    (folder / "MTD_MSIL1C.xml").touch()
    assert not is_stack(folder, SENTINEL2)
