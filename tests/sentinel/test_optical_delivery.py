"""Optical images as archives deliver them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.optical_product import PIXEL_M

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import COMMON_NAME, SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.identify import BandStack, identify
from unclouded.sentinel.optical import MAYBE_OFFSET, open_optical, read_level
from unclouded.sentinel.optical_stack import read_optical_time

SIDE = 120
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 699_960, 0, -10, 4_900_020), "EPSG:32632")
EARTH_ENGINE = (
    "B1",
    "B10",
    "B11",
    "B12",
    "B2",
    "B3",
    "B4",
    "B5",
    "B6",
    "B7",
    "B8",
    "B8A",
    "B9",
    "QA10",
    "QA20",
    "QA60",
)


def refused(path: Path, **options: Any) -> str:
    def read() -> None:
        with open_optical(path, **options) as scene:
            scene.stored(0, scene.geobox.shape[0])
            if scene.has_classes:
                scene.classes(0, scene.geobox.shape[0])

    with pytest.raises(InputError) as error:
        read()
    assert "\n" not in str(error.value)
    return str(error.value)


def image(band: str, metres: int, offset: int = 0) -> NDArray[np.uint16]:
    """Ground whose level is that of its band, with no data in the first 60 m."""
    side = SIDE * 10 // metres
    rows, columns = np.mgrid[:side, :side] * metres // 60
    values = (400 + 100 * SENTINEL2.bands.index(band) + 10 * ((rows + columns) % 7) + offset).astype(np.uint16)
    values[: 60 // metres] = 0
    return values


def grid(metres: int) -> GeoBox:
    return GRID.zoom_out(metres / 10)


def write_common_names(folder: Path, names: Callable[[str], str], offset: int = 0) -> Path:
    """Write the bands of L2A as GeoTIFFs at their own pixel sizes, and the classes."""
    folder.mkdir()
    for band in SENTINEL2_L2A.bands:
        metres = PIXEL_M[band]
        write_geotiff(folder / f"{names(band)}.tif", image(band, metres, offset)[None], ("",), grid(metres), nodata=0)
    classes = np.full((1, SIDE // 2, SIDE // 2), 4, np.uint8)
    classes[0, 10:20] = 9
    write_geotiff(folder / "scl.tif", classes, ("",), grid(20), nodata=0)
    return folder


def earth_search(band: str) -> str:
    return {"B05": "rededge1", "B06": "rededge2", "B07": "rededge3"}.get(band, COMMON_NAME[band])


def item(folder: Path, properties: dict[str, Any], bands: dict[str, Any] | None = None, **more: Any) -> Path:
    assets = {earth_search(band): {"href": f"./{earth_search(band)}.tif"} for band in SENTINEL2_L2A.bands}
    for asset in assets.values():
        asset |= {"raster:bands": [bands]} if bands else {}
    content = {"type": "Feature", "stac_version": "1.0.0", "properties": properties, "assets": assets} | more
    (folder / "item.json").write_text(json.dumps(content))
    return folder


# Folders of GeoTIFFs with common names, and items.


@pytest.mark.parametrize("names", [COMMON_NAME.__getitem__, earth_search])
def test_a_folder_of_common_names_is_l2a_with_classes(tmp_path: Path, names: Callable[[str], str]) -> None:
    folder = write_common_names(tmp_path / "a", names)
    assert read_level(identify(folder, SENTINEL2)).has_classes
    with open_optical(folder, allow_l2a=True, offset=0) as scene:
        assert (scene.level, scene.sensor) == ("L2A", SENTINEL2_L2A)
        stored = scene.stored(0, SIDE)
        np.testing.assert_array_equal(stored[1], image("B02", 10))
        np.testing.assert_array_equal(stored[0], image("B01", 60).repeat(6, 0).repeat(6, 1))
        assert (scene.classes(20, 40) == 9).all() and (scene.classes(41, SIDE) == 4).all()


@pytest.mark.parametrize(
    ("properties", "bands", "offset"),
    [
        ({"earthsearch:boa_offset_applied": True}, {"scale": 0.0001, "offset": -0.1}, 0),
        ({"earthsearch:boa_offset_applied": False}, {"scale": 0.0001, "offset": -0.1}, -1000),
        ({}, {"scale": 0.0001, "offset": 0}, 0),
        ({"s2:processing_baseline": "05.09"}, None, -1000),
        ({"s2:processing_baseline": "02.14"}, None, 0),
    ],
)
def test_the_offset_is_that_of_the_item(
    tmp_path: Path, properties: dict[str, Any], bands: dict[str, Any] | None, offset: int
) -> None:
    folder = write_common_names(tmp_path / "a", earth_search, -offset)
    item(folder, properties | {"datetime": "2023-06-25T23:46:21Z"}, bands, collection="sentinel-2-l2a")
    with open_optical(folder, allow_l2a=True) as scene:
        assert scene.radiometry.offsets == (offset,) * 12
        assert MAYBE_OFFSET not in scene.remarks
        assert any("processing baseline" in remark for remark in scene.remarks) == (bands is None)
        assert f"{scene.acquired:%Y-%m-%dT%H:%M:%S}" == "2023-06-25T23:46:21"
        np.testing.assert_allclose(scene.read(60, SIDE)[1], image("B02", 10)[60:] / 1e4, atol=1e-6)
    assert read_optical_time(_stack(folder)) == scene.acquired
    other = 0 if offset else -1000
    assert f"has the offset {offset} in its metadata, not {other}" in refused(folder, allow_l2a=True, offset=other)


def _stack(folder: Path) -> BandStack:
    found = identify(folder, SENTINEL2)
    assert isinstance(found, BandStack)
    return found


def test_contradictory_and_damaged_items_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_common_names(tmp_path / "a", lambda band: f"S2A_20210908T102701_{earth_search(band)}")
    tagged = {"scale": 0.0001, "offset": -0.1}
    applied = {"earthsearch:boa_offset_applied": False}
    wrong: list[tuple[str, Any]] = [
        ("states L1C, but the images have no B10", ({}, tagged, {"collection": "sentinel-2-l1c"})),
        ("states 2023-06-25, but the images are of 2021-09-08", ({"datetime": "2023-06-25T23:46:21Z"}, tagged, {})),
        ("has the time 'yesterday', expected one of ISO 8601", ({"datetime": "yesterday"}, tagged, {})),
        ("has the scale 0.001 for", (applied, {"scale": 0.001, "offset": 0}, {})),
        ("has the offset 0.1 for", (applied, {"scale": 0.0001, "offset": 0.1}, {})),
        ("and offset None, expected numbers", (applied, {"scale": 0.0001, "offset": None}, {})),
        ("is not a STAC item, expected a Feature", ({}, None, {"type": "FeatureCollection"})),
    ]
    for message, (properties, bands, more) in wrong:
        item(folder, properties, bands, **more)
        assert message in refused(folder, allow_l2a=True)
    (folder / "item.json").write_text('{"type": "Feature", "properties": {')
    assert "item.json is not JSON" in refused(folder, allow_l2a=True)
    item(folder, applied, tagged)
    content = json.loads((folder / "item.json").read_text())
    del content["assets"]["blue"]["raster:bands"]
    (folder / "item.json").write_text(json.dumps(content))
    assert "item.json has no offset for B02" in refused(folder, allow_l2a=True)


def test_wrong_classes_beside_the_bands_are_refused(tmp_path: Path) -> None:
    folder = write_common_names(tmp_path / "a", earth_search)
    write_geotiff(folder / "scl.tif", np.full((1, 60, 60), 400, np.uint16), ("",), grid(20))
    assert "scl.tif holds numbers that are not classes" in refused(folder, allow_l2a=True, offset=0)
    write_geotiff(folder / "scl.tif", np.ones((1, 50, 60), np.uint8), ("",), grid(20)[:50, :])
    assert "scl.tif, the scene classification, lies on another grid" in refused(folder, allow_l2a=True, offset=0)


# Exports of Earth Engine.


def export(path: Path, names: tuple[str, ...], dtype: str = "float64", **changed: float) -> Path:
    values = []
    for name in names:
        known = name.startswith("B")
        band = SENTINEL2.named([name])[0] if known else "B01"
        values.append(image(band, 10).astype(dtype) if known else np.full((SIDE, SIDE), changed.get(name, 0), dtype))
    write_geotiff(path, np.stack(values), names, GRID)
    return path


def test_an_export_of_earth_engine_is_read_by_the_names_of_its_bands(tmp_path: Path) -> None:
    path = export(tmp_path / "20210908T102021_20210908T102459_T32TQM.tif", EARTH_ENGINE)
    with open_optical(path, offset=0) as scene:
        assert scene.level == "L1C"
        stored = scene.stored(0, SIDE)
        assert stored.dtype == np.uint16
        for band, values in zip(SENTINEL2.bands, stored, strict=True):
            np.testing.assert_array_equal(values, image(band, 10))
    sr = (*(name for name in EARTH_ENGINE if name != "B10"), "AOT", "SCL", "TCI_R", "MSK_CLDPRB")
    with open_optical(export(tmp_path / "sr.tif", sr, SCL=5), allow_l2a=True, offset=0) as scene:
        assert scene.level == "L2A"
        assert (scene.classes(0, SIDE) == 5).all()
        np.testing.assert_array_equal(scene.stored(0, SIDE)[-1], image("B12", 10))


def test_floats_without_whole_numbers_and_bands_named_twice_are_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "a.tif", EARTH_ENGINE)
    shutil.copy(path, tmp_path / "b.tif")
    for change, expected in (
        (lambda values: values / 1e4, "has values of type float64, expected uint16 or int16"),
        (lambda values: values - 2000, "expected reflectance x 10000 from 0 to 65534"),
    ):
        bands = np.stack([image(SENTINEL2.named([name])[0], 10).astype(float) for name in EARTH_ENGINE[:13]])
        write_geotiff(path, change(bands), EARTH_ENGINE[:13], GRID)
        assert expected in refused(path)
    write_geotiff(path, np.ones((14, 9, 9), np.uint16), (*EARTH_ENGINE[:13], "B2"), GRID[:9, :9])
    assert "has several bands named B02, expected one" in refused(path)
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:-5000])
    assert "b.tif" in refused(tmp_path / "b.tif")


# Folders of JPEG 2000 images as in the archive on AWS.


def aws(product: Path, folder: Path, layout: str) -> Path:
    """Copy the images of a product to folders of one pixel size, or flat."""
    for path in product.glob("GRANULE/*/IMG_DATA/**/*.jp2"):
        name = path.stem.removesuffix("_10m").removesuffix("_20m").removesuffix("_60m").rpartition("_")[2]
        place = folder / (path.parent.name if layout == "folders" else "")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"{name}.jp2")
    (folder / "tileInfo.json").write_text('{"timestamp": "2021-09-08T10:27:01.024Z"}')
    return folder


@pytest.mark.parametrize(("level", "layout"), [("L2A", "folders"), ("L1C", "flat")])
def test_a_folder_of_jpeg_2000_equals_its_product(
    tmp_path: Path, optical_product: Callable[..., Path], level: str, layout: str
) -> None:
    product = optical_product(level=level)
    folder = aws(product, tmp_path / "aws", layout)
    with open_optical(product, allow_l2a=True) as whole, open_optical(folder, allow_l2a=True, offset=0) as scene:
        assert (scene.level, scene.geobox) == (level, whole.geobox)
        np.testing.assert_array_equal(scene.stored(0, SIDE), whole.stored(0, SIDE))
        assert scene.acquired == whole.acquired
        assert any("no manifest.safe" in remark for remark in scene.remarks)


def test_damaged_jpeg_2000_folders_are_refused(tmp_path: Path, optical_product: Callable[..., Path]) -> None:
    folder = aws(optical_product(level="L2A"), tmp_path / "aws", "folders")
    blue, red = folder / "R10m" / "B02.jp2", folder / "R10m" / "B04.jp2"
    whole = blue.read_bytes()
    blue.write_bytes(whole[: len(whole) // 2])
    assert "B02.jp2 is not a whole JPEG 2000 image" in refused(folder, allow_l2a=True)
    blue.write_bytes((folder / "R20m" / "B05.jp2").read_bytes())
    assert "B02.jp2 has pixels of 20 x -20, expected 10 m" in refused(folder, allow_l2a=True)
    blue.write_bytes(whole)
    red.write_bytes(b"GIF89a")
    assert "B04.jp2 is not a whole JPEG 2000 image" in refused(folder, allow_l2a=True)
    red.unlink()
    assert "has no image named after" in refused(folder, allow_l2a=True)
