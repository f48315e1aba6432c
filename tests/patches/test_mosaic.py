from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.patches.mosaic import clear_regions, reduced, stitch
from unclouded.sensors import RGB, SENTINEL2

WHOLE = GeoBox((48, 40), Affine(10, 0, 637702.775, 0, -10, 3632392.77), "EPSG:32652")


@pytest.fixture
def cut(tmp_path: Path) -> Callable[..., Path]:
    """Cut a piece of a scene whose pixels hold their own row and column."""

    def piece(name: str, top: int, left: int, side: int = 16, grid: GeoBox = WHOLE) -> Path:
        rows, columns = np.mgrid[top : top + side, left : left + side]
        values = np.stack([100 * rows + columns + 1 + band for band in range(13)]).astype(np.uint16)
        path = tmp_path / f"{name}.tif"
        write_geotiff(path, values, SENTINEL2.bands, grid[top : top + side, left : left + side])
        return path

    return piece


def test_every_pixel_is_placed_by_its_georeference(cut: Callable[..., Path]) -> None:
    mosaic = stitch([cut("b", 8, 20), cut("a", 0, 8), cut("c", 30, 8)], RGB)
    assert mosaic.geobox == WHOLE[0:46, 8:36]
    rows, columns = np.mgrid[0:46, 8:36]
    known = np.isfinite(mosaic.values[0])
    expected = (100 * rows + columns + 1 + 3) / 10_000  # B04 is the fourth band
    np.testing.assert_allclose(mosaic.values[0][known], expected[known], rtol=1e-6)
    assert known.sum() == 3 * 16 * 16 - 8 * 4  # two of them overlap in 8 rows and 4 columns
    assert not known[24:30].any()


def test_a_patch_on_another_pixel_grid_is_refused(cut: Callable[..., Path]) -> None:
    shifted = GeoBox((48, 40), WHOLE.affine @ Affine.translation(0.4, 0), WHOLE.crs)
    with pytest.raises(InputError, match="lies on another pixel grid"):
        stitch([cut("a", 0, 0), cut("b", 0, 16, grid=shifted)], RGB)


def test_patches_of_two_places_are_refused(cut: Callable[..., Path]) -> None:
    far = GeoBox((48, 40), WHOLE.affine @ Affine.translation(30_000, 0), WHOLE.crs)
    with pytest.raises(InputError, match="expected at most 20,000"):
        stitch([cut("a", 0, 0), cut("b", 0, 0, grid=far)], RGB)


def test_a_patch_without_georeference_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.tif"
    write_geotiff(path, np.ones((13, 16, 16), np.uint16), SENTINEL2.bands, GeoBox((16, 16), Affine.identity(), None))
    with pytest.raises(InputError, match="has no georeference"):
        stitch([path], RGB)


def test_blocks_average_the_valid_pixels() -> None:
    values = np.array([[[1, 3, 9], [np.nan, 5, 9], [9, 9, 9]]], np.float32)
    np.testing.assert_array_equal(reduced(values, 2), [[[3.0]]])
    assert np.isnan(reduced(np.full((1, 2, 2), np.nan, np.float32), 2)).all()


def test_regions_are_found_by_their_clear_images_alone(official_root: Path) -> None:
    for path in (official_root / "ROIs1158_spring_s1" / "s1_106").iterdir():
        path.unlink()
    (region,) = clear_regions(official_root)
    assert str(region.roi) == "ROIs1158_spring_106"
    assert [path.stem.rpartition("_")[2] for path in region.clear] == ["p9", "p10"]


def test_a_flat_layout_without_official_names_has_no_regions(tmp_path: Path, touch: Callable[..., Path]) -> None:
    root = touch(tmp_path / "flat", "s1/a.tif", "s2_cloudy/a.tif", "s2_cloudfree/a.tif")
    with pytest.raises(InputError, match="no clear image with an official name"):
        clear_regions(root)
