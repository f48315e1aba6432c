from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import PRODUCT, CloudMapSettings, cloud_map
from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.models.baselines import baseline
from unclouded.prediction.cloud_mapping import SceneMap, map_scene, open_user_mask
from unclouded.prediction.products import Provenance
from unclouded.prediction.scene import PredictedScene, SceneSettings, predict_scene
from unclouded.prediction.sources import open_sources
from unclouded.prediction.tiling import StripCheckpoint
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.sun import Sun

GRID = GeoBox.from_bbox((0, 0, 160, 900), "EPSG:32632", resolution=10)  # 90 rows, 16 columns

SETTINGS = CloudMapSettings(threshold=0.9)


@pytest.fixture
def optical(tmp_path: Path) -> np.ndarray:
    """Bright below row 40; no B04 in the first row."""
    stored = np.random.default_rng(0).integers(300, 900, (13, 90, 16)).astype(np.uint16)
    stored[:, 40:] += 6000
    stored[3, 0] = 0
    write_geotiff(tmp_path / "s2.tif", stored, SENTINEL2.bands, GRID, nodata=0)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 90, 16), -9, np.float32), SENTINEL1.bands, GRID)
    return stored


def mapped(folder: Path, monkeypatch: pytest.MonkeyPatch, strip_px: int) -> SceneMap:
    monkeypatch.setattr("unclouded.prediction.cloud_mapping.STRIP_PX", strip_px)
    with open_sources(folder / "s2.tif", folder / "s1.tif", folder) as sources:
        return map_scene(sources, RGB, SETTINGS, StripCheckpoint(folder, f"map{strip_px}"), lambda *_: None)


def test_the_map_does_not_depend_on_the_height_of_the_strips(
    optical: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reflectance = np.where(optical == 0, np.nan, optical / np.float32(10_000)).astype(np.float32)
    whole = cloud_map(reflectance, SENTINEL2.bands, SETTINGS)
    assert whole[1:].std() > 0.1
    for strip_px in (12, 768):
        scene = mapped(tmp_path, monkeypatch, strip_px)
        np.testing.assert_array_equal(scene.cloud_map(0, 90), whole)
        assert np.array_equal(scene.cloud_map(37, 62), whole[37:62])
        assert np.isnan(whole[0]).all() and scene.seen(0, 90).all()
        assert not scene.has_data(0, 1).any()
        assert scene.has_data(1, 90).all()


def test_wide_scenes_are_mapped_in_strips_of_half_the_height(
    optical: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mapped(tmp_path, monkeypatch, 48).strips == [(0, 48), (48, 90)]
    monkeypatch.setattr("unclouded.prediction.cloud_mapping.WIDE_PX", 15)
    assert mapped(tmp_path, monkeypatch, 60).strips == [(0, 30), (30, 60), (60, 90)]


def test_finished_strips_are_not_mapped_again(
    optical: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mapped(tmp_path, monkeypatch, 30)
    (tmp_path / "map30-00000030.strip").unlink()
    seen: list[tuple[int, ...]] = []

    def counted(reflectance: np.ndarray, *rest: object) -> np.ndarray:
        seen.append(reflectance.shape)
        return cloud_map(reflectance, *rest)

    monkeypatch.setattr("unclouded.prediction.cloud_mapping.cloud_map", counted)
    again = mapped(tmp_path, monkeypatch, 30)
    assert seen == [(13, 46, 16)]  # 30 rows, and 8 above and below
    np.testing.assert_array_equal(first.cloud_map(0, 90), again.cloud_map(0, 90))


def test_masks_of_the_whole_scene_are_read_one_strip_at_a_time(
    optical: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = mapped(tmp_path, monkeypatch, 12)
    assert np.array_equal(scene.everywhere(scene.has_data), scene.has_data(0, 90))
    assert len(scene._recent) == 8  # as many as the 90 rows that were asked for at once
    scene.everywhere(scene.has_data)
    assert len(scene._recent) == 1


def test_pixels_are_clear_where_there_is_data_and_m_is_0(tmp_path: Path) -> None:
    store = StripCheckpoint(tmp_path, "map")
    store.put(0, {"cloud_map": np.float32([[0.0, 0.0, 0.5]]), "has_data": np.array([[True, False, True]])})
    assert SceneMap(store, [(0, 1)]).is_clear(0, 1).tolist() == [[True, False, False]]


OWN_MAP_GRID = GeoBox((40, 50), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")


@pytest.fixture
def predict(tmp_path: Path) -> Callable[..., PredictedScene]:
    """Predict a scene of reflectance 0.05, without data in its first row, with a user map; the radar gives 0.5."""
    optical = np.full((13, *OWN_MAP_GRID.shape), 500, np.uint16)
    optical[:, 0] = 0
    write_geotiff(tmp_path / "s2.tif", optical, SENTINEL2.bands, OWN_MAP_GRID, nodata=0)
    write_geotiff(
        tmp_path / "s1.tif", np.full((2, *OWN_MAP_GRID.shape), -12.5, np.float32), SENTINEL1.bands, OWN_MAP_GRID
    )

    def clear_by(m: NDArray[Any], **options: Any) -> PredictedScene:
        write_geotiff(tmp_path / "m.tif", m[None], ("m",), options.pop("grid", OWN_MAP_GRID), **options)
        settings = SceneSettings(window_px=16, cloud_map=tmp_path / "m.tif")
        return predict_scene(baseline("sar-vv"), tmp_path / "s2.tif", tmp_path / "s1.tif", tmp_path / "out", settings)

    return clear_by


def mask(dtype: str = "uint8") -> NDArray[Any]:
    """Cloud on the right."""
    m = np.zeros(OWN_MAP_GRID.shape, dtype)
    m[:, 30:] = 1
    return m


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_the_ones_of_a_user_mask_are_the_predicted_pixels(predict: Callable[..., PredictedScene], dtype: str) -> None:
    scene = predict(mask(dtype))
    image = read_stored(scene.files["clear"]).values
    assert np.unique(image[:, 1:, 30:]).tolist() == [5000] and np.unique(image[:, 1:, :30]).tolist() == [500]
    assert not image[:, 0].any()
    np.testing.assert_array_equal(read_stored(scene.files["cloud_map"]).values[0, 1:], mask("float32")[1:])


def test_a_user_map_is_listed_as_an_input(predict: Callable[..., PredictedScene], tmp_path: Path) -> None:
    first = predict(mask())
    assert first.summary["cloud_map"] in first.files["item"].read_text()
    assert "<code>m.tif</code>" in first.files["report"].read_text()
    assert predict(np.ones(OWN_MAP_GRID.shape, np.uint8)).summary["key"] != first.summary["key"]


def test_the_user_map_may_have_no_data_where_the_image_has_none(predict: Callable[..., PredictedScene]) -> None:
    m = mask("float32")
    m[0] = np.nan
    assert predict(m).summary["pixels"]["no_data"] == 50


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", np.nan), ("float32", None), ("uint8", 9)])
def test_fault_13_pixels_without_data_in_the_user_map_are_predicted(
    predict: Callable[..., PredictedScene], dtype: str, nodata: float | None
) -> None:
    m = mask(dtype)
    m[3, 4:6] = 9 if dtype == "uint8" else np.nan
    scene = predict(m, nodata=nodata)
    assert read_stored(scene.files["clear"]).values[:, 3, 4:6].tolist() == [[5000, 5000]] * 3
    assert read_stored(scene.files["provenance"]).values[0, 3, 3:7].tolist() == [1, 5, 5, 1]
    assert np.isnan(read_stored(scene.files["cloud_map"]).values[0, 3, 4:6]).all()
    assert scene.summary["pixels"]["cloudy_share"] == 39 * 20 / (39 * 50 - 2)
    assert (
        "0.1 % of the scene has no known cloud state, because the cloud map has no data there"
        in scene.summary["remarks"][-1]
    )


@pytest.mark.parametrize(("value", "found"), [(255, "0 to 255"), (2, "0 to 2")])
def test_fault_17_percentages_and_class_codes_are_refused_as_a_map(
    predict: Callable[..., PredictedScene], value: int, found: str
) -> None:
    with pytest.raises(InputError, match=rf"m\.tif has values from {found}, expected 0 for clear to 1 for cloudy"):
        predict(mask() * np.uint8(value))


def test_fault_11_a_map_on_another_grid_or_of_several_bands_is_refused(
    predict: Callable[..., PredictedScene], tmp_path: Path
) -> None:
    moved = GeoBox(OWN_MAP_GRID.shape, OWN_MAP_GRID.affine @ Affine.translation(0.5, 0), OWN_MAP_GRID.crs)
    with pytest.raises(InputError, match=r"m\.tif lies on another grid than the optical scene \(50x40 px"):
        predict(mask(), grid=moved)
    write_geotiff(tmp_path / "two.tif", np.zeros((2, *OWN_MAP_GRID.shape), np.uint8), ("a", "b"), OWN_MAP_GRID)
    with (
        pytest.raises(InputError, match="has 2 bands, expected one"),
        open_user_mask(tmp_path / "two.tif", OWN_MAP_GRID),
    ):
        pass


def test_the_output_never_overwrites_the_user_map(predict: Callable[..., PredictedScene], tmp_path: Path) -> None:
    made = predict(mask()).files["cloud_map"]
    settings = SceneSettings(cloud_map=made)
    with pytest.raises(InputError, match=r"cloud_map\.tif is the input itself"):
        predict_scene(baseline("sar-vv"), tmp_path / "s2.tif", tmp_path / "s1.tif", tmp_path / "out", settings)


# The product map.


@pytest.fixture
def shaded(tmp_path: Path) -> np.ndarray:
    """Grass with an opaque cloud, and 1000 m to the west of it ground with a quarter of the light."""
    spectrum = np.array([1400, 1100, 1000, 800, 1200, 2500, 2900, 3000, 3100, 900, 15, 2000, 1100], np.uint16)
    stored = np.tile(spectrum[:, None, None], (1, 300, 400))
    stored[:, 100:150, 200:250] = 6000
    stored[10, 100:150, 200:250] = 300
    stored[:, 100:150, 100:150] = np.maximum(spectrum // 4, 700)[:, None, None]
    stored[10, 100:150, 100:150] = 15
    stored[3, 0] = 0
    grid = GeoBox.from_bbox((500_000, 5_000_000, 504_000, 5_003_000), "EPSG:32632", resolution=10)
    write_geotiff(tmp_path / "s2.tif", stored, SENTINEL2.bands, grid, nodata=0)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 300, 400), -9, np.float32), SENTINEL1.bands, grid)
    return stored


IN_CLOUD, IN_SHADOW = (slice(104, 146), slice(204, 246)), (slice(104, 146), slice(104, 146))


def predicted(folder: Path, **settings: Any) -> PredictedScene:
    return predict_scene(
        baseline("clear-mean", RGB), folder / "s2.tif", folder / "s1.tif", folder / "out", SceneSettings(**settings)
    )


def test_without_weights_shadow_is_replaced_and_named_in_provenance_and_summary(
    shaded: np.ndarray, tmp_path: Path
) -> None:
    scene = predicted(tmp_path, sun=Sun(90, 45))
    codes = read_stored(scene.files["provenance"]).values[0]
    m = read_stored(scene.files["cloud_map"]).values[0]
    assert (codes[IN_SHADOW] == Provenance.SHADOW).all() and (m[IN_SHADOW] > 0.9).all()
    assert (codes[IN_CLOUD] == Provenance.SYNTHESISED).all()
    assert (codes[0] == Provenance.UNKNOWN_CLOUD).all()
    assert (codes[1:80] == Provenance.OBSERVED).all() and (codes[180:] == Provenance.OBSERVED).all()
    assert np.isnan(m[0]).all()  # B04 is missing there
    assert scene.summary["pixels"]["shadow"] == (codes == Provenance.SHADOW).sum()
    assert scene.summary["settings"]["clouds"]["mode"] == "product"
    assert scene.summary["settings"]["sun"] == {"azimuth_deg": 90, "elevation_deg": 45}


def test_dark_ground_on_the_wrong_side_of_the_cloud_is_kept(shaded: np.ndarray, tmp_path: Path) -> None:
    shaded = np.concatenate([shaded] * 5, axis=2)  # so wide that no cloud outside may cast the shadow
    shaded[:, 100:150, :800] = shaded[:, 100:150, 1200:] = shaded[:, :1, :1] * 0 + shaded[:, 200:201, :1]
    grid = GeoBox.from_bbox((500_000, 5_000_000, 520_000, 5_003_000), "EPSG:32632", resolution=10)
    write_geotiff(tmp_path / "s2.tif", shaded, SENTINEL2.bands, grid, nodata=0)
    write_geotiff(tmp_path / "s1.tif", np.full((2, 300, 2000), -9, np.float32), SENTINEL1.bands, grid)
    west = read_stored(predicted(tmp_path, sun=Sun(270, 45)).files["provenance"]).values[0]
    assert (west[104:146, 904:946] == Provenance.OBSERVED).all()
    east = read_stored(predicted(tmp_path, sun=Sun(90, 45)).files["provenance"]).values[0]
    assert (east[104:146, 904:946] == Provenance.SHADOW).all()


def test_the_product_map_of_a_scene_does_not_depend_on_the_strips(
    shaded: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reflectance = np.where(shaded == 0, np.nan, shaded / np.float32(10_000)).astype(np.float32)
    whole = cloud_map(reflectance, SENTINEL2.bands, PRODUCT)
    for strip_px in (70, 768):
        monkeypatch.setattr("unclouded.prediction.cloud_mapping.STRIP_PX", strip_px)
        with open_sources(tmp_path / "s2.tif", tmp_path / "s1.tif", tmp_path) as sources:
            store = StripCheckpoint(tmp_path, f"map{strip_px}")
            scene = map_scene(sources, RGB, PRODUCT, store, lambda *_: None)
            again = map_scene(sources, RGB, PRODUCT, store, lambda *_: None)  # from the checkpoint
        np.testing.assert_allclose(scene.cloud_map(0, 300), whole, atol=1e-6)
        assert scene.is_shadow(0, 300)[IN_SHADOW].all()
        assert np.array_equal(again.is_shadow(0, 300), scene.is_shadow(0, 300))
