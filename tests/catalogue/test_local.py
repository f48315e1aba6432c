from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from products.manifest import zip_product
from shapely.geometry import shape

from unclouded.catalogue.local import describe_scenes, products_in
from unclouded.errors import InputError


def test_an_optical_product_is_described_without_its_pixels(
    optical_product: Callable[..., Path], tmp_path: Path
) -> None:
    folder = optical_product()
    for image in folder.rglob("*.jp2"):
        image.write_bytes(b"")
    (record,) = describe_scenes(folder)
    assert (record.name, record.kind) == ("S2A_MSIL1C_20210908T102701_N0301_R065_T32TQM_20210908T102701", "optical")
    assert record.acquired == datetime(2021, 9, 8, 10, 27, 1, 24_000, tzinfo=UTC) and record.cloud_percent is None
    west, south, east, north = shape(record.footprint).bounds
    assert (east - west, north - south) == pytest.approx((0.0151, 0.0113), abs=5e-4)  # 1.2 km at 44 degrees
    assert record.zone == "32N"


def test_a_product_of_the_old_format_is_as_many_scenes_as_it_has_tiles(joined_product: Path, tmp_path: Path) -> None:
    for path in (joined_product, zip_product(joined_product, tmp_path / "old.zip")):
        north, south = describe_scenes(path)
        assert (north.name[-7:], south.name[-7:]) == ("/T32TQM", "/T33TUG")
        assert (north.tile, south.tile, north.zone, south.zone) == ("T32TQM", "T33TUG", "32N", "33N")
        assert north.place == south.place == str(path)
        assert shape(north.footprint).bounds[0] == pytest.approx(11.503, abs=1e-3)  # 199,960 m east of 9 degrees
        assert shape(south.footprint).bounds[0] == pytest.approx(12.496, abs=1e-3)  # 200,000 m west of 15


def test_a_radar_product_lies_within_its_geolocation_grid(radar_product: Callable[..., Path], tmp_path: Path) -> None:
    folder = radar_product()
    (record,) = describe_scenes(folder)
    assert (record.kind, record.acquired.day) == ("radar", 7)
    outline = shape(record.footprint)
    assert outline.is_valid and len(outline.exterior.coords) == 21  # 5 steps a side
    (packed,) = describe_scenes(zip_product(folder, tmp_path / f"{record.name}.zip"))
    assert (packed.name, packed.footprint) == (record.name, record.footprint)


def test_fault_18_other_products_are_named_in_the_refusal(optical_product: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a Level-2A product, expected Level-1C"):
        describe_scenes(optical_product(level="L2A"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is an empty folder, expected a Sentinel-2 Level-1C product"):
        describe_scenes(tmp_path / "empty")
    (tmp_path / "a.tif").write_bytes(b"II")
    with pytest.raises(InputError, match="is a GeoTIFF, which has no date to choose by"):
        describe_scenes(tmp_path / "a.tif")


def test_folders_zips_and_images_may_be_products_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.SAFE", ".hidden", "a"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04")
    for name in ("notes.txt", "d.tif", "MTD_MSIL1C.xml"):
        (tmp_path / name).touch()
    assert [path.name for path in products_in(tmp_path)] == ["a", "b.SAFE", "c.zip", "d.tif"]
    with pytest.raises(InputError, match=r"is not a folder \(it is an empty file; fetch it again\); check the path"):
        products_in(tmp_path / "notes.txt")


def test_real_metadata_hold_place_date_and_clouds(samples: Path) -> None:
    name = "S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135.SAFE"
    (record,) = describe_scenes(samples / "safe" / name)
    assert record.cloud_percent == 5.4828 and record.footprint["type"] == "MultiPolygon"  # over the antimeridian
    (radar,) = describe_scenes(
        samples / "safe" / "S1A_IW_GRDH_1SDV_20260606T181903_20260606T181928_064852_082C02_1C0B.zip"
    )
    assert shape(radar.footprint).bounds == pytest.approx((176.67, 50.91, 180.69, 52.76), abs=0.01)
