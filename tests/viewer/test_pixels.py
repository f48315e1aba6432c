"""Tiles and pixels equal what rasterio reads from the files."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from products.viewer_example import GRID, SHAPE, ExampleScene, coordinate_bands

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import RGB, SENTINEL2
from unclouded.viewer.pixels import WHITEST, levels_of, read_pixel, read_tile
from unclouded.viewer.registry import Registry
from unclouded.viewer.scenes import Scene, Sources, find_scenes, open_scene


@pytest.fixture(scope="module")
def scene(example: ExampleScene) -> Scene:
    (found,) = find_scenes(example.folder)
    return open_scene(found, Registry(), Sources((example.inputs,), (example.truth,)), example.folder)


def test_the_coarsest_level_shows_the_image_in_one_tile() -> None:
    assert [levels_of(shape) for shape in ((256, 256), (257, 10), (1024, 1024), (10980, 10980))] == [1, 2, 3, 7]


def test_an_exact_tile_holds_the_stored_numbers(scene: Scene) -> None:
    content, kind = read_tile(scene.layer("result"), RGB, 0, 1, 2)
    tile = np.frombuffer(content, "<u2").reshape(3, 256, 256)
    expected = coordinate_bands(13)[SENTINEL2.indices(*RGB)][:, 512:640, 256:512]
    assert kind == "application/octet-stream"
    assert np.array_equal(tile[:, :128], expected)
    assert not tile[:, 128:].any()  # below the last row of the scene


def test_a_coarse_tile_is_a_picture_of_the_square_roots(scene: Scene) -> None:
    content, kind = read_tile(scene.layer("result"), RGB, 2, 0, 0)
    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert kind == "image/webp"
    assert (picture[:160, :150, 3] == 255).all()
    assert not picture[160:, :, 3].any()
    stored = coordinate_bands(13)[SENTINEL2.indices("B04")[0], ::4, ::4] / 10_000
    seen = (picture[:160, :150, 0] / 255.0) ** 2 * WHITEST
    assert np.abs(seen - stored)[5:-5, 5:70].max() < 0.02


def test_tiles_of_maps_are_exact_at_every_level(scene: Scene) -> None:
    content, _ = read_tile(scene.layer("provenance"), ("band-1",), 2, 0, 0)
    codes = np.frombuffer(content, "u1").reshape(256, 256)
    assert (codes[3:25, 3:150] == 3).all()
    assert (codes[25:160, :150] == 1).all()
    assert not codes[160:].any()


@pytest.mark.parametrize("tile", [(0, 3, 0), (0, 0, 3), (3, 0, 0), (2, 1, 0)])
def test_fault_31_a_tile_outside_of_the_image_is_refused(scene: Scene, tile: tuple[int, int, int]) -> None:
    with pytest.raises(IndexError):
        read_tile(scene.layer("result"), RGB, *tile)


def test_an_unknown_band_is_refused(scene: Scene) -> None:
    with pytest.raises(InputError, match="no band B99"):
        read_tile(scene.layer("result"), ("B99",), 0, 0, 0)


def test_the_spectrum_of_a_pixel_equals_the_file(scene: Scene, example: ExampleScene) -> None:
    with rasterio.open(example.folder / "clear.tif") as file:
        stored = file.read(window=((321, 322), (450, 451)))[:, 0, 0]
    spectrum = read_pixel(scene.layer("result"), 321, 450)
    assert list(spectrum) == list(SENTINEL2.bands)
    assert list(spectrum.values()) == pytest.approx(stored / 10_000)
    assert spectrum["B01"] == pytest.approx((500 + 3 * 321) / 10_000)


def test_values_of_all_kinds_of_layers(scene: Scene) -> None:
    under_cloud = {name: read_pixel(scene.layer(name), 50, 60) for name in ("cloud-map", "provenance", "confidence")}
    assert under_cloud == {
        "cloud-map": {"band-1": 1.0},
        "provenance": {"band-1": 3.0},
        "confidence": {"band-1": pytest.approx(0.62)},
    }
    assert read_pixel(scene.layer("radar"), 0, 0) == {"VV": -10.0, "VH": -17.5}
    assert read_pixel(scene.layer("confidence"), 200, 0) == {"band-1": None}  # not predicted
    assert read_pixel(scene.layer("cloud-map"), 2, 3) == {"band-1": None}  # unknown is not clear
    assert set(read_pixel(scene.layer("observed"), 5, 7).values()) == {None}  # stored 0


def test_an_offset_is_applied_once(tmp_path: Path) -> None:
    from dataclasses import replace

    values = np.full((13, 300, 280), 1500, np.uint16)
    write_geotiff(tmp_path / "plain.tif", values, SENTINEL2.bands, GRID[:300, :280], nodata=0)
    (found,) = find_scenes(tmp_path)
    (layer,) = open_scene(found, Registry(), Sources(), tmp_path).layers
    assert layer.role == "optical"
    assert read_pixel(layer, 0, 0)["B04"] == pytest.approx(0.15)
    assert read_pixel(replace(layer, offsets=(-1000,) * 13), 0, 0)["B04"] == pytest.approx(0.05)


def test_large_images_without_overviews_are_reduced(tmp_path: Path) -> None:
    rows = np.broadcast_to(np.arange(1, 2101, dtype=np.uint16)[:, None], (2100, 300))
    write_geotiff(tmp_path / "tall.tif", np.stack([rows] * 3), RGB, GRID.zoom_to((2100, 300)), nodata=0)
    (found,) = find_scenes(tmp_path)
    (layer,) = open_scene(found, Registry(), Sources(), tmp_path).layers
    content, _ = read_tile(layer, RGB, 3, 0, 1)
    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert (picture[: math.ceil(2100 / 8) - 256, :37, 3] == 255).all()
    assert not picture[7:, :, 3].any()
    assert (picture[0, 0, 0] / 255) ** 2 * WHITEST == pytest.approx(0.2050, abs=0.006)  # row 2049 of the file


def test_no_pixel_is_outside_of_the_scene(scene: Scene) -> None:
    with pytest.raises(IndexError):
        read_pixel(scene.layer("result"), SHAPE[0], 0)
