"""Maps that users bring."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.geotiff import read_stored, write_geotiff
from unclouded.models.baselines import baseline
from unclouded.prediction.own_map import open_own_map
from unclouded.prediction.scene import ClearedScene, SceneSettings, clear
from unclouded.sensors import SENTINEL1, SENTINEL2

GRID = GeoBox((40, 50), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")


@pytest.fixture
def cleared(tmp_path: Path) -> Callable[..., ClearedScene]:
    """Clears a scene of 0.05 (without data in its first row) by a map, and radar that stands for 0.5."""
    optical = np.full((13, *GRID.shape), 500, np.uint16)
    optical[:, 0] = 0
    write_geotiff(tmp_path / "s2.tif", optical, SENTINEL2.bands, GRID, nodata=0)
    write_geotiff(tmp_path / "s1.tif", np.full((2, *GRID.shape), -12.5, np.float32), SENTINEL1.bands, GRID)

    def clear_by(m: NDArray[Any], **options: Any) -> ClearedScene:
        write_geotiff(tmp_path / "m.tif", m[None], ("m",), options.pop("grid", GRID), **options)
        settings = SceneSettings(window_px=16, cloud_map=tmp_path / "m.tif")
        return clear(baseline("sar-vv"), tmp_path / "s2.tif", tmp_path / "s1.tif", tmp_path / "out", settings)

    return clear_by


def mask(dtype: str = "uint8") -> NDArray[Any]:
    """Cloud on the right."""
    m = np.zeros(GRID.shape, dtype)
    m[:, 30:] = 1
    return m


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_a_mask_of_ones_is_what_is_made(cleared: Callable[..., ClearedScene], dtype: str) -> None:
    scene = cleared(mask(dtype))
    image = read_stored(scene.files["clear"]).values
    assert np.unique(image[:, 1:, 30:]).tolist() == [5000] and np.unique(image[:, 1:, :30]).tolist() == [500]
    assert not image[:, 0].any()
    np.testing.assert_array_equal(read_stored(scene.files["cloud_map"]).values[0, 1:], mask("float32")[1:])


def test_the_map_is_an_input_like_the_images(cleared: Callable[..., ClearedScene], tmp_path: Path) -> None:
    first = cleared(mask())
    assert first.summary["cloud_map"] in first.files["item"].read_text()
    assert "<code>m.tif</code>" in first.files["report"].read_text()
    assert cleared(np.ones(GRID.shape, np.uint8)).summary["key"] != first.summary["key"]


def test_where_the_image_has_no_data_the_map_need_not_say_anything(cleared: Callable[..., ClearedScene]) -> None:
    m = mask("float32")
    m[0] = np.nan
    assert cleared(m).summary["pixels"]["no_data"] == 50


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", np.nan), ("float32", None), ("uint8", 9)])
def test_fault_13_where_the_map_has_no_data_the_pixel_is_made_and_not_called_observed(
    cleared: Callable[..., ClearedScene], dtype: str, nodata: float | None
) -> None:
    m = mask(dtype)
    m[3, 4:6] = 9 if dtype == "uint8" else np.nan
    scene = cleared(m, nodata=nodata)
    assert read_stored(scene.files["clear"]).values[:, 3, 4:6].tolist() == [[5000, 5000]] * 3
    assert read_stored(scene.files["provenance"]).values[0, 3, 3:7].tolist() == [1, 5, 5, 1]
    assert np.isnan(read_stored(scene.files["cloud_map"]).values[0, 3, 4:6]).all()
    assert scene.summary["pixels"]["cloudy_share"] == 39 * 20 / (39 * 50 - 2)
    assert (
        "0.1 % of the scene cannot be judged, because the cloud map has no data there" in scene.summary["remarks"][-1]
    )


@pytest.mark.parametrize(("value", "found"), [(255, "0 to 255"), (2, "0 to 2")])
def test_fault_17_percent_and_classes_are_not_taken_for_a_map(
    cleared: Callable[..., ClearedScene], value: int, found: str
) -> None:
    with pytest.raises(InputError, match=rf"m\.tif has values from {found}, expected 0 for clear to 1 for cloudy"):
        cleared(mask() * np.uint8(value))


def test_fault_11_a_map_on_another_grid_or_of_several_bands_is_refused(
    cleared: Callable[..., ClearedScene], tmp_path: Path
) -> None:
    moved = GeoBox(GRID.shape, GRID.affine @ Affine.translation(0.5, 0), GRID.crs)
    with pytest.raises(InputError, match=r"m\.tif lies on another grid than the optical scene \(50x40 px"):
        cleared(mask(), grid=moved)
    write_geotiff(tmp_path / "two.tif", np.zeros((2, *GRID.shape), np.uint8), ("a", "b"), GRID)
    with pytest.raises(InputError, match="has 2 bands, expected one"), open_own_map(tmp_path / "two.tif", GRID):
        pass


def test_the_map_of_an_earlier_run_is_not_written_over(cleared: Callable[..., ClearedScene], tmp_path: Path) -> None:
    made = cleared(mask()).files["cloud_map"]
    settings = SceneSettings(cloud_map=made)
    with pytest.raises(InputError, match=r"cloud_map\.tif is the input itself"):
        clear(baseline("sar-vv"), tmp_path / "s2.tif", tmp_path / "s1.tif", tmp_path / "out", settings)
