from pathlib import Path

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.clouds.map import CloudMapSettings, map_clouds
from unclouded.geotiff import write_geotiff
from unclouded.prediction.mapping import SceneMap, map_scene
from unclouded.prediction.sources import open_sources
from unclouded.prediction.streaming import StripStore
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2

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
    monkeypatch.setattr("unclouded.prediction.mapping.STRIP_PX", strip_px)
    with open_sources(folder / "s2.tif", folder / "s1.tif", folder) as sources:
        return map_scene(sources, RGB, SETTINGS, StripStore(folder, f"map{strip_px}"), lambda *_: None)


def test_strips_of_any_height_make_the_map_of_the_whole(
    optical: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reflectance = np.where(optical == 0, np.nan, optical / np.float32(10_000)).astype(np.float32)
    whole = map_clouds(reflectance, SENTINEL2.bands, SETTINGS)
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
    monkeypatch.setattr("unclouded.prediction.mapping.WIDE_PX", 15)
    assert mapped(tmp_path, monkeypatch, 60).strips == [(0, 30), (30, 60), (60, 90)]


def test_strips_that_are_there_are_not_mapped_again(
    optical: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mapped(tmp_path, monkeypatch, 30)
    (tmp_path / "map30-00000030.strip").unlink()
    seen: list[tuple[int, ...]] = []

    def counted(reflectance: np.ndarray, *rest: object) -> np.ndarray:
        seen.append(reflectance.shape)
        return map_clouds(reflectance, *rest)

    monkeypatch.setattr("unclouded.prediction.mapping.map_clouds", counted)
    again = mapped(tmp_path, monkeypatch, 30)
    assert seen == [(13, 46, 16)]  # 30 rows, and 8 above and below
    np.testing.assert_array_equal(first.cloud_map(0, 90), again.cloud_map(0, 90))


def test_the_whole_scene_is_asked_for_data_with_one_strip_in_memory(
    optical: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = mapped(tmp_path, monkeypatch, 12)
    assert np.array_equal(scene.everywhere(scene.has_data), scene.has_data(0, 90))
    assert len(scene._recent) == 8  # as many as the 90 rows that were asked for at once
    scene.everywhere(scene.has_data)
    assert len(scene._recent) == 1


def test_pixels_are_clear_where_there_is_data_and_m_is_0(tmp_path: Path) -> None:
    store = StripStore(tmp_path, "map")
    store.put(0, {"cloud_map": np.float32([[0.0, 0.0, 0.5]]), "has_data": np.array([[True, False, True]])})
    assert SceneMap(store, [(0, 1)]).is_clear(0, 1).tolist() == [[True, False, False]]
