"""Areas cut out of a scene, and coarser pixels: positions by hand, means by hand, native 20 m bands unchanged."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from unclouded.errors import InputError
from unclouded.io.geotiff import read_stored, write_geotiff
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.optical import open_optical
from unclouded.sentinel.radar import open_radar
from unclouded.sentinel.radiometry import without_offset
from unclouded.sentinel.target_grid import TargetGrid, averaged_integers, averaged_power

GRID = GeoBox((60, 80), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")


def write_area(path: Path, west: float, south: float, east: float, north: float, kind: str = "Feature") -> Path:
    """Rectangle in metres of the grid, as GeoJSON in degrees."""
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    geometry = {"type": "Polygon", "coordinates": [[list(to_degrees.transform(*corner)) for corner in corners]]}
    feature = {"type": "Feature", "properties": None, "geometry": geometry}
    content = {"Polygon": geometry, "Feature": feature, "FeatureCollection": {"features": [feature]}}[kind]
    path.write_text(json.dumps(content | {"type": kind}))
    return path


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    """Optical image whose bands hold 100 row + column + 1, and radar of -10 and -16 dB."""
    rows, columns = np.mgrid[0:60, 0:80]
    optical = np.stack([100 * rows + columns + 1] * 13).astype(np.uint16)
    write_geotiff(tmp_path / "s2.tif", optical, SENTINEL2.bands, GRID, nodata=0)
    sar = np.stack([np.full((60, 80), -10.0), np.full((60, 80), -16.0)]).astype(np.float32)
    write_geotiff(tmp_path / "s1.tif", sar, SENTINEL1.bands, GRID)
    return tmp_path / "s2.tif", tmp_path / "s1.tif"


def test_the_mean_of_a_block_is_that_of_its_measured_pixels_rounded_half_up() -> None:
    stored = np.array([[[1, 2, 0, 7], [3, 4, 0, 0], [0, 0, 9, 65535], [0, 0, 9, 9]]], np.uint16)
    found = averaged_integers(stored, 2, without_offset(1))
    assert found.tolist() == [[[3, 7], [0, 65535]]]  # 10 / 4 = 2.5; 7 / 1; none; saturated
    assert found.dtype == np.uint16


def test_the_mean_of_blocks_without_gaps_is_the_same_by_either_way() -> None:
    stored = np.random.default_rng(0).integers(1, 65_535, (2, 8, 10)).astype(np.uint16)
    expected = np.floor(stored.reshape(2, 4, 2, 5, 2).mean(axis=(2, 4)) + 0.5)
    assert np.array_equal(averaged_integers(stored, 2, without_offset(2)), expected)
    assert np.array_equal(averaged_integers(stored, 2, without_offset(2, nodata=65_535)), expected)


def test_the_mean_of_radar_is_that_of_the_power() -> None:
    db = np.array([[[-10.0, -20.0], [np.nan, np.nan]]], np.float32)
    assert averaged_power(db, 2)[0, 0, 0] == pytest.approx(10 * np.log10((0.1 + 0.01) / 2), abs=1e-5)
    assert np.isnan(averaged_power(np.full((1, 2, 2), np.nan, np.float32), 2)).all()


@pytest.mark.parametrize("kind", ["Polygon", "Feature", "FeatureCollection"])
def test_an_area_gives_the_smallest_window_and_the_pixels_whose_centres_it_contains(tmp_path: Path, kind: str) -> None:
    area = write_area(tmp_path / "a.geojson", 500_104, 4_999_796, 500_206, 4_999_897, kind)
    target = TargetGrid.of(GRID, area)
    assert (target.rows, target.columns) == ((10, 21), (10, 21))
    inside = target.inside(0, 11)
    # columns 10 to 20 have centres 500,105 to 500,205; rows 10 to 20 have 4,999,895 to 4,999,795, below 4,999,796
    assert inside[:10].all() and not inside[10].any()


def test_an_area_of_coarse_pixels_begins_at_a_coarse_pixel(tmp_path: Path) -> None:
    area = write_area(tmp_path / "a.geojson", 500_112, 4_999_796, 500_206, 4_999_887)
    target = TargetGrid.of(GRID, area, 20)
    assert (target.rows, target.columns) == ((10, 22), (10, 22))
    assert target.geobox == GeoBox((6, 6), Affine(20, 0, 500_100, 0, -20, 4_999_900), "EPSG:32632")


def test_the_part_of_an_image_has_the_integers_of_the_whole(images: tuple[Path, Path], tmp_path: Path) -> None:
    area = write_area(tmp_path / "a.geojson", 500_100, 4_999_800, 500_200, 4_999_900)
    with open_optical(images[0], offset=0) as scene, open_radar(images[1], GRID) as radar:
        target = TargetGrid.of(scene.geobox, area)
        whole = scene.stored(0, 60)
        assert np.array_equal(target.optical(scene).stored(2, 5), whole[:, 12:15, 10:20])
        assert target.radar(radar).read(2, 5).shape == (2, 3, 10)
        coarse = TargetGrid.of(scene.geobox, area, 20)
        # rows 10 and 11, columns 10 and 11: 1011, 1012, 1111, 1112; their mean is 1061.5
        assert coarse.optical(scene).stored(0, 5)[3, 0, 0] == 1062
        assert coarse.radar(radar).read(0, 5)[1] == pytest.approx(-16.0, abs=1e-5)


def test_bands_of_twenty_metres_keep_their_native_integers(optical_product: Callable[..., Path]) -> None:
    product = optical_product()
    with open_optical(product) as scene:
        whole = scene.stored(0, scene.geobox.shape[0])
        coarse = TargetGrid.of(scene.geobox, None, 20).optical(scene)
        native = coarse.stored(0, coarse.geobox.shape[0])
    for band in ("B05", "B8A", "B11"):
        index = scene.bands.index(band)
        assert np.array_equal(native[index], whole[index, ::2, ::2])


def test_a_scene_of_an_area_is_written_in_that_area_only(images: tuple[Path, Path], tmp_path: Path) -> None:
    area = write_area(tmp_path / "a.geojson", 500_104, 4_999_696, 500_306, 4_999_897)
    clouds = np.zeros((1, 60, 80), np.float32)
    clouds[:, 25:] = 1
    write_geotiff(tmp_path / "m.tif", clouds, ("m",), GRID)
    settings = SceneSettings(cloud_map=tmp_path / "m.tif", area=area)
    scene = predict_scene("clear-mean", *images, tmp_path / "out", settings)
    made, traced = read_stored(scene.files["clear"]), read_stored(scene.files["provenance"]).values[0]
    assert made.geobox == GRID[10:31, 10:31]
    rows, columns = np.mgrid[10:31, 10:31]
    expected = 100 * rows + columns + 1
    assert np.array_equal(made.values[0, :15], expected[:15])
    assert (traced[:15] == 1).all() and (traced[15:20] > 1).all()
    assert not traced[20].any() and not made.values[:, 20].any()  # centres at 4,999,695, outside
    assert np.isnan(read_stored(scene.files["cloud_map"]).values[0, 20]).all()
    assert (scene.summary["pixels"]["observed"], scene.summary["pixels"]["no_data"]) == (15 * 21, 21)
    assert scene.summary["pixels"]["cloudy_share"] == 0.25  # of 20 rows
    pictures = [read_stored(scene.files[name]).valid for name in ("visual", "observed_visual")]
    assert all(valid is not None and not valid[:, 20].any() and valid[:, :20].all() for valid in pictures)


def test_a_scene_of_coarse_pixels_holds_the_means_of_the_observed_integers(
    images: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = SceneSettings(clouds={"mode": "product"}, resolution_m=20)
    scene = predict_scene("scene-adapted", *images, tmp_path / "out", settings)
    made, traced = read_stored(scene.files["clear"]), read_stored(scene.files["provenance"]).values[0]
    assert made.geobox == GeoBox((30, 40), Affine(20, 0, 500_000, 0, -20, 5_000_000), "EPSG:32632")
    rows, columns = np.mgrid[0:60:2, 0:80:2]
    observed = traced == 1
    assert observed.any()
    assert np.array_equal(made.values[0][observed], (100 * rows + columns + 1 + 51)[observed])  # 50.5, half up
    assert json.loads(scene.files["item"].read_text())["properties"]["gsd"] == 20


def test_networks_and_other_pixels_are_refused(images: tuple[Path, Path], tmp_path: Path) -> None:
    settings = SceneSettings(clouds={"mode": "continuous"}, resolution_m=20)
    with pytest.raises(InputError, match=r"^the cloud map continuous.* is for pixels of 10 m, found 20; choose"):
        predict_scene("clear-mean", *images, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="pixels of 20 m are made from pixels of 10 m, found"):
        TargetGrid.of(GeoBox((10, 10), Affine(20, 0, 0, 0, -20, 0), "EPSG:32632"), None, 20)


def test_an_area_elsewhere_is_refused_in_one_line(images: tuple[Path, Path], tmp_path: Path) -> None:
    area = write_area(tmp_path / "a.geojson", 600_000, 4_999_796, 600_206, 4_999_897)
    with pytest.raises(InputError, match=r"a\.geojson lies outside the scene .*; choose a scene of that area"):
        predict_scene("clear-mean", *images, tmp_path / "out", SceneSettings(area=area))
    assert not (tmp_path / "out").exists()
    area.write_text('{"type": "Point", "coordinates": [9, 45]}')
    with pytest.raises(InputError, match=r"a\.geojson, feature 0: its geometry is 'Point', expected a polygon"):
        TargetGrid.of(GRID, area)
