from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from products.manifest import zip_product
from products.radar_product import RadarProduct

from unclouded.errors import InputError
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.identify import (
    BandStack,
    GeoTiff,
    ImageFolder,
    OnePass,
    identify,
    images_in,
    products_of,
    single_image,
)
from unclouded.sentinel.safe import ProductZip, SafeProduct

Write = Callable[..., Path]


def test_every_kind_of_image_is_identified(optical_product: Write, radar_product: Write, tmp_path: Path) -> None:
    optical, radar = optical_product("a"), radar_product("b")
    packed = zip_product(optical, tmp_path / "packed.tif")  # the content counts, not the name
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    for path in (optical, optical / "manifest.safe", optical / "MTD_MSIL1C.xml"):
        assert identify(path, SENTINEL2) == SafeProduct(optical)
    assert identify(packed, SENTINEL2) == ProductZip(packed)
    assert identify(radar.parent, SENTINEL1) == OnePass(radar.parent, (SafeProduct(radar),))
    assert identify(optical.parent, SENTINEL2) == OnePass(optical.parent, (SafeProduct(optical),))
    for name in ("a.tif", "missing.SAFE"):
        assert identify(str(tmp_path / name), SENTINEL2) == GeoTiff(tmp_path / name)


def test_an_identified_image_is_returned_unchanged(tmp_path: Path) -> None:
    source = SafeProduct(tmp_path / "missing")
    assert identify(source, SENTINEL2) is source


def test_files_named_after_bands_are_a_stack_unless_beside_the_metadata_of_a_product(tmp_path: Path) -> None:
    for name in ("T32TQM_B02_10m.tif", "B03.TIFF", "b8a.tif", "TCI.tif", ".B04.tif", "B05.jp2"):
        (tmp_path / name).touch()
    source = identify(tmp_path, SENTINEL2)
    assert isinstance(source, BandStack) and source.path == tmp_path
    names = {band: [path.name for path in paths] for band, paths in source.files.items()}
    assert names == {"B02": ["T32TQM_B02_10m.tif"], "B03": ["B03.TIFF"], "B8A": ["b8a.tif"]}
    assert identify(tmp_path, SENTINEL1) == ImageFolder(tmp_path)
    (tmp_path / "MTD_MSIL1C.xml").touch()
    assert identify(tmp_path, SENTINEL2) == SafeProduct(tmp_path)


def test_products_of_several_passes_are_refused(radar_product: Write) -> None:
    radar_product("many")
    folder = radar_product("many", acquired=RadarProduct().acquired + timedelta(days=12)).parent
    reason = r"many holds Sentinel-1 products from 2021-09-07 17:06 to 2021-09-19 17:06, expected slices of one pass"
    with pytest.raises(InputError, match=reason):
        identify(folder, SENTINEL1)


def test_folders_without_products_of_the_sensor_are_no_image(optical_product: Write, tmp_path: Path) -> None:
    folder = optical_product("b").parent
    assert identify(folder, SENTINEL1) == ImageFolder(folder)
    (tmp_path / "c" / "S1A_IW_GRDH_1SDV_20210907T170650_x.SAFE").mkdir(parents=True)  # empty
    source = identify(tmp_path / "c", SENTINEL1)
    assert isinstance(source, ImageFolder) and products_of(source) == (SafeProduct(tmp_path / "c"),)


def test_a_folder_of_products_of_several_passes_is_listed_image_by_image(
    optical_product: Write, tmp_path: Path
) -> None:
    first = optical_product("many")
    second = optical_product("many", tile="T32TQN")
    (tmp_path / "many" / "a.tif").touch()
    (tmp_path / "many" / ".hidden.tif").touch()
    assert single_image(first) == SafeProduct(first)
    assert single_image(first.parent) is None
    assert images_in(first.parent) == sorted([first, second, first.parent / "a.tif"])
