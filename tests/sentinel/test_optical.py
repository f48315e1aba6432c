import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.manifest import zip_product
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product

from unclouded.errors import InputError, MachineError
from unclouded.io.geotiff import write_geotiff
from unclouded.io.raster import read
from unclouded.io.rows import open_rows
from unclouded.sensors import SENTINEL2, SENTINEL2_L2A
from unclouded.sentinel.optical import MAYBE_OFFSET, open_optical

Write = Callable[..., Path]
GRID = GeoBox((120, 120), Affine(10, 0, 699_960, 0, -10, 4_900_020), 32632)


def reflectance(path: Path, ends: tuple[int, ...] = (0, 120), **options: Any) -> NDArray[np.float32]:
    with open_optical(path, **options) as scene:
        return np.concatenate([scene.read(a, b) for a, b in itertools.pairwise(ends)], axis=1)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises((InputError, MachineError)) as error, open_optical(path, **options) as scene:
        scene.read(0, scene.geobox.shape[0])
    assert "\n" not in str(error.value)
    return str(error.value)


# Products


@pytest.mark.parametrize("layout", ["compact", "old"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_integers_of_a_product_are_its_pixels(
    tmp_path: Path, optical_product: Write, simulated: dict[str, NDArray[np.uint16]], layout: str, packed: bool
) -> None:
    folder = optical_product(layout=layout)
    path = zip_product(folder, tmp_path / "product.zip") if packed else folder
    with open_optical(path) as scene:
        assert scene.bands == SENTINEL2.bands and scene.geobox == GRID and scene.remarks == ()
        stored, seen = scene.stored(0, 120), scene.read(0, 120)
    for index, band in enumerate(SENTINEL2.bands):
        factor = PIXEL_M[band] // 10
        np.testing.assert_array_equal(stored[index], simulated[band].repeat(factor, 0).repeat(factor, 1))
    expected = np.where((stored == 0) | (stored == 65_535), np.nan, stored.astype(np.float32) / np.float32(10_000))
    np.testing.assert_array_equal(seen, expected)


def test_of_several_tiles_in_a_zip_the_named_one_is_unpacked_and_read(joined_product: Path, tmp_path: Path) -> None:
    packed = zip_product(joined_product, tmp_path / "old.zip")
    for tile, epsg in (("T33TUG", 32633), ("32tqm", 32632)):
        work = tmp_path / tile
        work.mkdir()
        with open_optical(packed, tile=tile, work_folder=work) as scene:
            assert scene.geobox.crs is not None and scene.geobox.crs.epsg == epsg
            assert (scene.stored(60, 61)[1] == 5000).all() == (tile == "T33TUG")
            (granules,) = work.glob("*/unpacked/*/GRANULE")
            assert len(list(granules.iterdir())) == 1
    with pytest.raises(InputError, match="holds the tiles T32TQM T33TUG"), open_optical(packed):
        pass


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_fault_16_twin_products_with_and_without_offset_are_bit_equal(optical_product: Write, resampling: str) -> None:
    plain = reflectance(optical_product("a", baseline="03.00"), resampling=resampling)
    twin = optical_product("b", baseline="05.09", offset=-1000, checksum="SHA3-256")
    np.testing.assert_array_equal(reflectance(twin, resampling=resampling), plain)
    reprocessed = optical_product("c", acquired=datetime(2019, 7, 1, tzinfo=UTC), baseline="05.00", offset=-1000)
    np.testing.assert_array_equal(reflectance(reprocessed, resampling=resampling), plain)
    assert np.isnan(plain[:, 0]).all() and 1.19 < np.nanmax(plain) <= np.float32(1.1999)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_rows_in_any_strips_are_the_scene(optical_product: Write, resampling: str) -> None:
    folder = optical_product()
    whole = reflectance(folder, resampling=resampling)
    np.testing.assert_array_equal(reflectance(folder, (0, 1, 7, 64, 119, 120), resampling=resampling), whole)


def test_a_scene_has_metadata(optical_product: Write) -> None:
    with open_optical(optical_product(offset=-1000, baseline="05.10")) as scene:
        assert scene.metadata() == {
            "product": "S2A_MSIL1C_20210908T102701_N0510_R065_T32TQM_20210908T102701",
            "level": "L1C",
            "acquired": "2021-09-08T10:27:01.024000+00:00",
            "baseline": "05.10",
            "radiometry": "reflectance = (DN + offset) / 10000, offset -1000, applied on reading",
        }


def test_what_is_written_back_is_what_was_stored(optical_product: Write) -> None:
    with open_optical(optical_product(offset=-1000)) as scene:
        stored = scene.stored(30, 50)
        np.testing.assert_array_equal(scene.radiometry.encode(scene.read(30, 50)), stored)


def test_the_working_folder_is_left_empty(tmp_path: Path, optical_product: Write) -> None:
    work = tmp_path / "work"
    work.mkdir()
    path = zip_product(optical_product(), tmp_path / "product.zip")
    with open_optical(path, work_folder=work):
        assert len(list(work.rglob("*.raw"))) == 13
    assert not list(work.iterdir())


def test_rows_that_are_not_there_are_no_rows(optical_product: Write) -> None:
    with open_optical(optical_product()) as scene:
        for top, bottom in ((-1, 4), (4, 4), (0, 121)):
            with pytest.raises(ValueError, match=f"has rows 0 to 120, not {top} to {bottom}"):
                scene.stored(top, bottom)


def test_fault_16_the_offset_of_a_product_is_in_its_metadata(optical_product: Write) -> None:
    assert "has the offset -1000 in its metadata, not 0; leave the setting out" in refused(
        optical_product(offset=-1000), offset=0
    )


def test_fault_32_a_full_disk_is_reported_before_decoding(
    optical_product: Write, full_disk: Callable[[], None]
) -> None:
    folder = optical_product()
    full_disk()
    assert "MiB free, expected 1 MiB to decode" in refused(folder)


# Damage


@settings(max_examples=8)
@given(share=st.floats(0, 0.9999), band=st.sampled_from(SENTINEL2.bands), listed=st.booleans())
def test_fault_06_a_cut_image_is_refused(
    tmp_path: Path, session_product: Path, share: float, band: str, listed: bool
) -> None:
    folder = tmp_path / "cut"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(session_product, folder)
    (image,) = folder.rglob(f"*_{band}.jp2")
    content = image.read_bytes()
    image.write_bytes(content[: int(share * len(content))])
    if not listed:
        (folder / "manifest.safe").unlink()
    message = refused(folder)
    assert image.name in message
    assert ("of its manifest; fetch it again" in message) == listed


@settings(max_examples=8)
@given(place=st.floats(0, 0.9999), bit=st.integers(0, 7), band=st.sampled_from(SENTINEL2.bands))
def test_fault_06_a_flipped_bit_is_refused(
    tmp_path: Path, session_product: Path, place: float, bit: int, band: str
) -> None:
    folder = tmp_path / "flipped"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(session_product, folder)
    (image,) = folder.rglob(f"*_{band}.jp2")
    content = bytearray(image.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    image.write_bytes(content)
    assert f"{image.name} has another checksum than in its manifest; fetch it again" in refused(folder)


@settings(max_examples=8)
@given(share=st.floats(0.001, 0.9999))
def test_fault_07_a_cut_zip_is_refused(tmp_path: Path, session_product: Path, share: float) -> None:
    path = tmp_path / "whole.zip"
    if not path.exists():
        zip_product(session_product, path)
    content = path.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: int(share * len(content))])
    assert "cut.zip is not a whole zip (" in refused(tmp_path / "cut.zip")


def test_a_missing_manifest_causes_a_remark(session_product: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(session_product, tmp_path / "a")
    whole = reflectance(folder)
    (folder / "manifest.safe").unlink()
    with open_optical(folder) as scene:
        assert scene.remarks[0].startswith("no manifest.safe: the files were verified by decoding")
        np.testing.assert_array_equal(scene.read(0, 120), whole)


def test_fault_06_zeros_in_one_band_are_damage_without_a_manifest(
    tmp_path: Path, simulated: dict[str, NDArray[np.uint16]]
) -> None:
    simulated["B03"][60:, 60:] = 0
    folder = write_optical_product(tmp_path, simulated, OpticalProduct())
    assert np.isnan(reflectance(folder)[2, 60:, 60:]).all()  # as its manifest states
    (folder / "manifest.safe").unlink()
    assert "has no data in 30.0% of B03, and in 5.0% of its other bands; without manifest.safe" in refused(folder)


def test_fault_27_metadata_that_points_outside_is_refused(tmp_path: Path, optical_product: Write) -> None:
    folder = optical_product()
    (path,) = folder.glob("MTD*.xml")
    path.write_text(path.read_text().replace("IMG_DATA/T32TQM", "../../../secret/T32TQM", 1))
    (folder / "manifest.safe").unlink()
    assert "outside its folder; do not trust it" in refused(folder)


def test_fault_18_radar_is_named(tmp_path: Path) -> None:
    (tmp_path / "annotation").mkdir()
    (tmp_path / "annotation" / "s1a-iw-slc-vv-x.xml").touch()
    assert "is a Sentinel-1 IW SLC product, expected a Sentinel-2 Level-1C product" in refused(tmp_path)


# GeoTIFFs


def stack(path: Path, scale: float | None = None, offset: float | None = None, **options: Any) -> Path:
    stored = np.random.default_rng(3).integers(1, 9_000, (13, 120, 120)).astype(options.pop("dtype", "uint16"))
    stored[:, 5, 5] = 0
    write_geotiff(path, stored, SENTINEL2.bands, GRID, **options)
    with rasterio.open(path, "r+") as file:
        if scale is not None:
            file.scales = (scale,) * 13
        if offset is not None:
            file.offsets = (offset,) * 13
    return path


def test_a_geotiff_is_a_scene(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif", dtype="int16", nodata=-9999)
    with open_optical(path) as scene:
        assert (scene.geobox, scene.level, scene.identity) == (GRID, "L1C", None)
        assert (scene.radiometry.dtype, scene.radiometry.nodata) == ("int16", -9999)
        assert scene.metadata()["product"] == "a.tif"
        np.testing.assert_array_equal(scene.read(0, 120), read(path, SENTINEL2).values)
        np.testing.assert_array_equal(scene.radiometry.encode(scene.read(3, 9)), scene.stored(3, 9))


@pytest.mark.parametrize("stamp", ["2021-09-08T10:27:01Z", "2021-09-08", "2021-09-08T23:59:00Z", None])
def test_the_sun_of_a_geotiff_follows_from_time_and_place_at_half_past_ten_in_doubt(
    tmp_path: Path, stamp: str | None
) -> None:
    path = stack(tmp_path / "a.tif")
    if stamp is not None:
        with rasterio.open(path, "r+") as file:
            file.update_tags(ACQUISITIONDATETIME=stamp)
    with open_optical(path) as scene:
        if stamp is None:
            assert scene.sun is None
            return
        assert scene.sun is not None
        assert scene.sun.azimuth_deg == pytest.approx(157, abs=6)
        assert scene.sun.elevation_deg == pytest.approx(48, abs=3)


@pytest.mark.parametrize("open_scene", [open_optical, lambda path: open_rows(path, SENTINEL2)])
def test_fault_16_the_offset_tag_of_a_geotiff_is_applied_once_by_every_reader(
    tmp_path: Path, open_scene: Callable[[Path], Any]
) -> None:
    plain = read(stack(tmp_path / "a.tif"), SENTINEL2).values
    tagged = stack(tmp_path / "b.tif", 0.0001, -0.1)
    with open_scene(tagged) as scene:
        np.testing.assert_allclose(scene.read(0, 120), plain - np.float32(0.1), atol=1e-6)
    np.testing.assert_allclose(read(tagged, SENTINEL2).values, plain - np.float32(0.1), atol=1e-6)


def test_fault_16_the_user_gives_the_offset_of_an_untagged_file(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif")
    with open_optical(path, offset=-1000) as scene:
        np.testing.assert_allclose(scene.read(0, 120), read(path, SENTINEL2).values - np.float32(0.1), atol=1e-6)
        assert "offset -1000" in scene.metadata()["radiometry"]


def test_the_user_gives_the_day_of_a_geotiff(tmp_path: Path) -> None:
    path = stack(tmp_path / "T32TQM_20200101T101010.tif")
    days = ((None, "2020-01-01T10:10"), (date(2020, 1, 1), "2020-01-01T10:10"), (date(2021, 7, 14), "2021-07-14T12:00"))
    for given_day, expected in days:
        with open_optical(path, date=given_day) as scene:
            assert scene.metadata()["acquired"].startswith(expected)
            assert scene.sun is not None and scene.acquired is not None
            assert (scene.sun.elevation_deg > 50) == (scene.acquired.month == 7)


def test_another_day_than_that_of_a_product_is_refused(optical_product: Write) -> None:
    with (
        pytest.raises(InputError, match=r"acquired on \d{4}-\d\d-\d\d, not 1999-01-01; leave the date out"),
        open_optical(optical_product(), date=date(1999, 1, 1)),
    ):
        pass


def test_fault_16_an_untagged_file_in_which_nothing_is_dark_is_doubted(tmp_path: Path) -> None:
    """The cirrus band of a clear scene has a few dozen steps, and a thousand more with the offset."""

    def remarks(cirrus: int, **options: Any) -> tuple[str, ...]:
        stored = np.full((13, 80, 80), 2000, np.uint16)
        stored[SENTINEL2.bands.index("B10")], stored[:, 40, 40] = cirrus, 0
        write_geotiff(tmp_path / "a.tif", stored, SENTINEL2.bands, GRID[:80, :80])
        with open_optical(tmp_path / "a.tif", **options) as scene:
            return scene.remarks

    assert (remarks(12), remarks(1012), remarks(949)) == ((), (MAYBE_OFFSET,), ())
    assert remarks(1012, offset=0) == remarks(1012, offset=-1000) == ()


def test_fault_16_tag_and_user_cannot_both_apply_an_offset(tmp_path: Path) -> None:
    tagged = stack(tmp_path / "a.tif", 0.0001, -0.1)
    with open_optical(tagged, offset=-1000) as scene:
        assert set(scene.radiometry.offsets) == {-1000}
    assert "has the offset -1000 in its metadata, not -2000" in refused(tagged, offset=-2000)
    assert "has the offset -1000 in its metadata, not 0" in refused(tagged, offset=0)


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(0.001, 0.0), (0.0001, 0.00005), (None, -0.1), (0.0001, -2.0), (float("nan"), 0.0), (0.0, 0.0)],
)
def test_fault_17_other_tags_are_refused(tmp_path: Path, scale: float | None, offset: float) -> None:
    message = refused(stack(tmp_path / "a.tif", scale, offset))
    assert "has tags of scale" in message and "expected 0.0001 and whole steps of it, or none; convert it" in message


def test_scale_tags_without_offset_change_nothing(tmp_path: Path) -> None:
    plain = reflectance(stack(tmp_path / "a.tif"))
    np.testing.assert_array_equal(reflectance(stack(tmp_path / "b.tif", 0.0001, 0.0)), plain)


def test_fault_18_surface_reflectance_is_taken_only_when_asked_for(tmp_path: Path, optical_product: Write) -> None:
    product = optical_product(level="L2A", offset=-1000)
    assert "is a Level-2A product, expected Level-1C" in refused(product)
    write_geotiff(tmp_path / "a.tif", np.full((12, 120, 120), 500, np.uint16), SENTINEL2_L2A.bands, GRID)
    assert "has 12 bands, expected the 13 of Sentinel-2" in refused(tmp_path / "a.tif")
    for path in (product, tmp_path / "a.tif"):
        with open_optical(path, allow_l2a=True) as scene:
            assert (scene.sensor, scene.level) == (SENTINEL2_L2A, "L2A") and scene.read(0, 9).shape == (12, 9, 120)


@settings(max_examples=10)
@given(order=st.permutations(SENTINEL2.bands))
def test_fault_09_named_bands_are_read_by_name_in_any_order(tmp_path: Path, order: list[str]) -> None:
    small = np.stack([np.full((4, 4), 1 + SENTINEL2.bands.index(band), np.uint16) for band in order])
    write_geotiff(tmp_path / "a.tif", small, tuple(order), GeoBox((4, 4), GRID.affine, GRID.crs))
    with open_optical(tmp_path / "a.tif") as scene:
        assert scene.stored(0, 4)[:, 0, 0].tolist() == list(range(1, 14))
        assert scene.names_bands


def test_fault_05_a_cut_geotiff_is_refused(tmp_path: Path) -> None:
    content = stack(tmp_path / "a.tif").read_bytes()
    for share in (0.001, 0.3, 0.9999):
        (tmp_path / "b.tif").write_bytes(content[: int(share * len(content))])
        assert "b.tif" in refused(tmp_path / "b.tif")


@pytest.mark.parametrize(
    "name", ["absent.tif", "/vsicurl/http://127.0.0.1/a.tif", "/vsizip/a.zip/a.tif", "<VRTDataset>"]
)
def test_fault_28_addresses_are_no_files(name: str) -> None:
    assert "is not a file; check the path" in refused(Path(name))


def test_fault_19_nothing_is_no_scene(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "empty").mkdir()
    assert "a.tif is empty (0 bytes); fetch it again" in refused(tmp_path / "a.tif")
    assert "is an empty folder, expected a Sentinel-2 Level-1C product" in refused(tmp_path / "empty")


def test_fault_28_the_description_of_a_web_service_is_no_product(tmp_path: Path) -> None:
    (tmp_path / "wms.xml").write_text(
        "<GDAL_WMS><Service><ServerUrl>http://127.0.0.1/</ServerUrl></Service></GDAL_WMS>"
    )
    assert "is a folder without a product, expected a Sentinel-2 Level-1C product" in refused(tmp_path / "wms.xml")


# Parts of one tile in one pass


def parts(folder: Path, *described: OpticalProduct, rows: tuple[int, ...] = (0, 60, 120)) -> Path:
    """Products of 120 rows that have data in some of them: 1000 in the first, 2000 in the second, less their offset."""
    for number, product in enumerate(described):
        bands = {}
        for band, pixel_m in PIXEL_M.items():
            values = np.zeros((1200 // pixel_m,) * 2, np.uint16)
            top, bottom = rows[number] * 10 // pixel_m, rows[number + 1] * 10 // pixel_m
            values[top:bottom] = 1000 * (number + 1) - (product.offset or 0)
            bands[band] = values
        write_optical_product(folder, bands, product)
    return folder


FIRST = OpticalProduct()
SECOND = replace(FIRST, acquired=FIRST.acquired + timedelta(seconds=14))


def test_parts_of_one_tile_in_one_pass_are_one_image(tmp_path: Path) -> None:
    with open_optical(parts(tmp_path / "two", SECOND, FIRST)) as scene:
        assert scene.identity == f"{FIRST.identity} + {SECOND.identity}"
        assert scene.acquired == FIRST.acquired and scene.geobox == GRID
        assert scene.remarks[-1].startswith("2 products of one tile and pass were joined: ")
        stored = scene.stored(0, 120)
        assert (stored[:, :60] == 1000).all() and (stored[:, 60:] == 2000).all()
        np.testing.assert_array_equal(scene.stored(30, 90), stored[:, 30:90])


def test_where_parts_overlap_the_earlier_one_counts(tmp_path: Path) -> None:
    parts(tmp_path / "two", FIRST, SECOND, rows=(0, 0, 120))  # the second has all rows
    parts(tmp_path / "two", FIRST)  # the first has the upper half
    with open_optical(tmp_path / "two") as scene:
        assert (scene.stored(0, 60) == 1000).all() and (scene.stored(60, 120) == 2000).all()


def test_parts_of_different_offsets_have_one_reflectance(tmp_path: Path) -> None:
    later = replace(SECOND, baseline="05.09", offset=-1000)
    with open_optical(parts(tmp_path / "two", FIRST, later)) as scene:
        assert scene.radiometry.offsets == (-1000,) * 13 and scene.baseline == "03.01 and 05.09"
        seen, stored = scene.read(0, 120), scene.stored(0, 120)
    assert (stored[:, :60] == 2000).all() and (stored[:, 60:] == 3000).all()
    np.testing.assert_array_equal(seen[:, :60], np.float32(0.1))
    np.testing.assert_array_equal(seen[:, 60:], np.float32(0.2))


def test_parts_may_be_zips_and_a_single_product_in_a_folder_is_found(tmp_path: Path) -> None:
    parts(tmp_path / "safe", FIRST, SECOND)
    (tmp_path / "zips").mkdir()
    for product in (FIRST, SECOND):
        zip_product(tmp_path / "safe" / f"{product.identity}.SAFE", tmp_path / "zips" / f"{product.identity}.zip")
    np.testing.assert_array_equal(reflectance(tmp_path / "zips"), reflectance(tmp_path / "safe"))
    with open_optical(parts(tmp_path / "one", FIRST)) as scene:
        assert scene.identity == FIRST.identity and scene.remarks == ()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(SECOND, tile="T32TQN"), "expected one Sentinel-2 product, or parts of one tile in one pass; give one"),
        (replace(SECOND, acquired=FIRST.acquired + timedelta(days=5)), "or parts of one tile in one pass; give one of"),
        (replace(SECOND, corner=(600_000, 4_900_020)), "which are of different places or passes; give one of them"),
    ],
)
def test_products_that_are_no_parts_of_one_image_are_refused(
    tmp_path: Path, other: OpticalProduct, reason: str
) -> None:
    assert reason in refused(parts(tmp_path / "two", FIRST, other))


def test_versions_and_copies_of_one_product_are_refused(tmp_path: Path) -> None:
    version = replace(FIRST, baseline="05.09", offset=-1000)
    parts(tmp_path / "two", FIRST, version)
    assert "which are one product; give one of them" in refused(tmp_path / "two")
    name = version.identity.replace(f"{FIRST.acquired:%Y%m%dT%H%M%S}", "20210908T102702", 1)
    (tmp_path / "two" / f"{version.identity}.SAFE").rename(tmp_path / "two" / f"{name}.SAFE")
    assert "two versions of one product; give one of them" in refused(tmp_path / "two")


def test_a_granule_of_another_name_is_named(tmp_path: Path) -> None:
    product = parts(tmp_path, FIRST) / f"{FIRST.identity}.SAFE"
    (granule,) = (product / "GRANULE").iterdir()
    granule.rename(granule.with_name("L1C_T32TQM_A032448_20210908T102759"))
    (product / "manifest.safe").unlink()
    message = refused(product)
    assert f"no metadata for the granule {FIRST.granule} that its own metadata name" in message
    assert "found the granule L1C_T32TQM_A032448_20210908T102759; give the folder its name again" in message
