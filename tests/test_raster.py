import http.server
import os
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning

from unclouded.errors import InputError
from unclouded.raster import (
    Raster,
    check_range,
    describe,
    open_geotiff,
    read,
    read_stored,
    same_grid,
    to_physical,
    to_stored,
    write_geotiff,
)
from unclouded.raster import StoredImage as Stored
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor

SIDE = 16
UTM = GeoBox((SIDE, SIDE), Affine(10, 0, 637702.775062324, 0, -10, 3632392.7747218483), "EPSG:32652")
NOWHERE = GeoBox((SIDE, SIDE), Affine.identity(), None)


def moved(geobox: GeoBox, right: float, down: float) -> GeoBox:
    return GeoBox(geobox.shape, geobox.affine @ Affine.translation(right, down), geobox.crs)


def radar(rng: np.random.Generator, side: int = SIDE) -> NDArray[np.float32]:
    return rng.uniform(-25, 0, (2, side, side)).astype(np.float32)


def optical(rng: np.random.Generator, side: int = SIDE) -> NDArray[np.uint16]:
    return rng.integers(200, 11_000, (13, side, side)).astype(np.uint16)


def plain_write(path: Path, values: NDArray[Any], geobox: GeoBox = UTM, **profile: Any) -> Path:
    """Write as anybody's tools do, without this package."""
    count, height, width = values.shape
    place = {"crs": str(geobox.crs), "transform": geobox.affine} if geobox.crs else {}
    profile = {"dtype": values.dtype, **place, **profile}
    with rasterio.open(path, "w", driver="GTiff", count=count, height=height, width=width, **profile) as target:
        target.write(values)
    return path


def sparse(path: Path, count: int, side: int, **profile: Any) -> Path:
    """A file that declares an image and holds nothing, like one whose writer was killed."""
    profile = {"dtype": "uint16", "tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True, **profile}
    shape = {"count": count, "height": side, "width": side}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632", transform=UTM.affine, **shape, **profile):
        return path


def refusal(path: Path, sensor: Sensor | None = None) -> str:
    with pytest.raises(InputError) as refused:
        read(path, sensor) if sensor else read_stored(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def s1(tmp_path: Path) -> Path:
    return plain_write(tmp_path / "s1.tif", radar(np.random.default_rng(1)))


@pytest.fixture
def s2(tmp_path: Path) -> Path:
    return plain_write(tmp_path / "s2.tif", optical(np.random.default_rng(2)))


# A raster is values, names and a grid


def test_a_raster_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected values of shape \(2, 16, 16\) .*, found \(1, 16, 16\)"):
        Raster(np.zeros((1, SIDE, SIDE), np.float32), ("VV", "VH"), UTM)


def test_bands_are_selected_by_name_in_the_order_given() -> None:
    raster = Raster(np.stack([np.full((SIDE, SIDE), b, np.float32) for b in (1, 2)]), ("VV", "VH"), UTM)
    assert raster.select(("VH", "VV")).values[:, 0, 0].tolist() == [2.0, 1.0]
    with pytest.raises(InputError, match="no band HH here; there are VV VH"):
        raster.select(("HH",))


# Grids


def test_a_grid_is_the_same_as_itself_with_and_without_a_place_on_earth() -> None:
    assert same_grid(UTM, moved(UTM, 0, 0)) and same_grid(NOWHERE, moved(NOWHERE, 0, 0))


@given(st.floats(0, 1e-7), st.floats(1e-5, 300), st.sampled_from([(1, 0), (0, 1), (-1, 0), (0.6, 0.8)]))
def test_fault_11_a_shift_counts_from_a_millionth_of_a_pixel(
    dust: float, shift: float, to: tuple[float, float]
) -> None:
    assert same_grid(UTM, moved(UTM, dust * to[0], dust * to[1]))
    assert not same_grid(UTM, moved(UTM, shift * to[0], shift * to[1]))


def test_fault_11_half_a_pixel_is_another_grid() -> None:
    assert not same_grid(UTM, moved(UTM, 0.5, 0.5))


def test_fault_11_north_down_is_another_grid() -> None:
    lowest = UTM.affine @ Affine.translation(0, SIDE)
    assert not same_grid(UTM, GeoBox(UTM.shape, lowest @ Affine.scale(1, -1), UTM.crs))


def test_fault_11_a_pixel_of_another_size_is_another_grid() -> None:
    larger = GeoBox(UTM.shape, UTM.affine @ Affine.scale(1.00001), UTM.crs)  # 1.6e-4 px at the far corner
    assert not same_grid(UTM, larger) and same_grid(UTM, larger, tolerance_px=1e-3)


def test_fault_11_another_size_is_another_grid() -> None:
    assert not same_grid(UTM, GeoBox((SIDE, SIDE - 1), UTM.affine, UTM.crs))


@pytest.mark.parametrize("crs", ["EPSG:32651", "EPSG:4326", None])
def test_fault_10_another_crs_is_another_grid(crs: str | None) -> None:
    assert not same_grid(UTM, GeoBox(UTM.shape, UTM.affine, crs))


def test_a_grid_in_words_tells_grids_apart() -> None:
    assert describe(UTM) == "16x16 px in EPSG:32652, corner 637702.775062 3632392.77472, steps 10 -10"
    assert describe(NOWHERE) == "16x16 px in no CRS, corner 0 0, steps 1 1"


# Reading


def test_radar_is_read_as_it_is_stored(s1: Path) -> None:
    raster = read(s1, SENTINEL1)
    np.testing.assert_array_equal(raster.values, radar(np.random.default_rng(1)))
    assert raster.bands == ("VV", "VH") and same_grid(raster.geobox, UTM)


def test_optical_numbers_become_reflectance(s2: Path) -> None:
    raster = read(s2, SENTINEL2)
    np.testing.assert_allclose(raster.values * 10_000, optical(np.random.default_rng(2)), rtol=1e-6)
    assert raster.values.dtype == np.float32


def test_a_file_without_georeference_is_read(tmp_path: Path) -> None:
    with pytest.warns(NotGeoreferencedWarning):
        path = plain_write(tmp_path / "a.tif", radar(np.random.default_rng(1)), NOWHERE)
    assert same_grid(read(path, SENTINEL1).geobox, NOWHERE)


def stored(values: NDArray[Any], nodata: float | None = None) -> Stored:
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    return Stored(values, grid, nodata, (None,) * len(values))


def line(*numbers: float, dtype: str) -> NDArray[Any]:
    return np.array(numbers, dtype).reshape(1, 1, -1)


def test_fault_13_nodata_zero_and_saturation_are_no_data() -> None:
    seen = to_physical(stored(line(0, 1, 5_000, 10_001, 65_534, 65_535, 7, dtype="uint16"), nodata=7), SENTINEL2)
    np.testing.assert_allclose(seen.ravel(), [np.nan, 0.0001, 0.5, 1.0001, 6.5534, np.nan, np.nan], rtol=1e-6)


def test_fault_13_infinite_radar_is_no_data_and_zero_is_a_bright_target() -> None:
    numbers = line(-np.inf, np.inf, np.nan, -9999, 1e300, 0, -12.5, dtype="float64")
    seen = to_physical(stored(numbers, nodata=-9999), SENTINEL1)
    np.testing.assert_array_equal(seen.ravel(), np.float32([np.nan] * 5 + [0, -12.5]))


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=20), st.sampled_from(["uint16", "int16"]))
def test_fault_13_no_data_never_becomes_a_number(numbers: list[int], dtype: str) -> None:
    values = line(*numbers, dtype="int64").astype(dtype)
    seen = to_physical(stored(values), SENTINEL2)
    np.testing.assert_array_equal(np.isnan(seen), (values == 0) | (values.astype(int) == 65_535))


def test_every_stored_number_returns_from_reflectance() -> None:
    numbers = np.arange(1, 65_535, dtype=np.uint16).reshape(1, 1, -1)
    np.testing.assert_array_equal(to_stored(to_physical(stored(numbers), SENTINEL2), SENTINEL2), numbers)


def test_reflectance_is_stored_with_zero_for_no_data_only() -> None:
    reflectance = line(np.nan, np.inf, -np.inf, -0.2, 0, 0.00004, 0.5, 9.9, dtype="float32")
    assert to_stored(reflectance, SENTINEL2).ravel().tolist() == [0, 0, 0, 1, 1, 1, 5_000, 65_534]
    assert to_stored(reflectance, SENTINEL2, np.int16).ravel().tolist() == [0, 0, 0, 1, 1, 1, 5_000, 32_766]


@pytest.mark.parametrize(("count", "sensor"), [(1, SENTINEL1), (3, SENTINEL1), (12, SENTINEL2), (14, SENTINEL2)])
def test_fault_09_another_number_of_bands_is_refused(tmp_path: Path, count: int, sensor: Sensor) -> None:
    path = plain_write(tmp_path / "a.tif", np.ones((count, 4, 4), sensor.dtypes[0]))
    expected = f"has {count} bands, expected the {len(sensor.bands)} of {sensor.name}: {sensor.bands[0]} "
    assert expected in refusal(path, sensor)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(13)), spell=st.sampled_from(["{}", "{} ", "TOA {}", "B_{}", "{} (10 m)"]))
def test_fault_09_another_order_of_named_bands_is_refused(s2: Path, order: list[int], spell: str) -> None:
    shorts = ["1", "2", "3", "4", "5", "6", "7", "8", "8A", "9", "10", "11", "12"]
    names = [spell.format(shorts[i] if spell.startswith("B_") else f"b{shorts[i]}") for i in order]
    with rasterio.open(s2, "r+") as file:
        file.descriptions = names
    if order == sorted(order):
        read(s2, SENTINEL2)
    else:
        found = " ".join(SENTINEL2.bands[i] for i in order)
        assert f"in the order {found}, expected B01 B02 " in refusal(s2, SENTINEL2)


def test_fault_09_radar_in_another_order_is_refused(s1: Path) -> None:
    with rasterio.open(s1, "r+") as file:
        file.descriptions = ["Sigma0_VH_db", "Sigma0_VV_db"]
    assert "has its bands in the order VH VV, expected VV VH; reorder them" in refusal(s1, SENTINEL1)


def test_names_that_name_no_band_are_passed_over(s1: Path) -> None:
    with rasterio.open(s1, "r+") as file:
        file.descriptions = ["first", None]
    read(s1, SENTINEL1)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
def test_fault_17_optical_of_another_type_is_refused(tmp_path: Path, dtype: str) -> None:
    path = plain_write(tmp_path / "a.tif", np.ones((13, 4, 4), dtype))
    expected = f"has values of type {dtype}, expected uint16 or int16 for Sentinel-2 in reflectance x 10000; convert it"
    assert refusal(path, SENTINEL2).endswith(expected)


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_fault_15_integer_radar_is_refused(tmp_path: Path, dtype: str) -> None:
    path = plain_write(tmp_path / "a.tif", np.ones((2, 4, 4), dtype))
    assert f"has values of type {dtype}, expected float32 or float64 for Sentinel-1 in dB" in refusal(path, SENTINEL1)


decibels = st.lists(st.floats(-43, 5, width=32), min_size=1, max_size=30).map(lambda dB: line(*dB, dtype="float32"))


@given(decibels, st.integers(0, 3))
def test_fault_15_linear_radar_is_always_refused(dB: NDArray[np.float32], holes: int) -> None:
    linear = np.power(np.float32(10), dB / 10)
    padded = np.concatenate(
        [linear, np.full((1, 1, holes), np.nan, np.float32), np.zeros((1, 1, holes), np.float32)], -1
    )
    with pytest.raises(InputError, match="most of them positive, expected dB; linear power"):
        check_range(Path("a.tif"), padded, SENTINEL1)


@given(decibels)
def test_fault_15_radar_in_db_is_never_refused(dB: NDArray[np.float32]) -> None:
    check_range(Path("a.tif"), np.concatenate([dB, -np.abs(dB)], -1), SENTINEL1)


@pytest.mark.parametrize("dB", [0.0, 5e-15, -36.0, np.nan])
def test_fault_15_a_patch_of_one_value_is_no_linear_power(dB: float) -> None:
    check_range(Path("a.tif"), np.full((2, 4, 4), dB, np.float32), SENTINEL1)


def test_fault_15_db_times_100_is_refused(tmp_path: Path) -> None:
    path = plain_write(tmp_path / "a.tif", 100 * radar(np.random.default_rng(1)))
    assert "expected dB; dB x 100, or digital numbers? convert them first" in refusal(path, SENTINEL1)


def test_fault_15_digital_numbers_are_refused(tmp_path: Path) -> None:
    path = plain_write(tmp_path / "a.tif", np.full((2, 4, 4), 250, np.float32))
    assert "has values from 250 to 250, expected dB; dB x 100, or digital numbers?" in refusal(path, SENTINEL1)


def test_reflectance_may_fall_as_low_as_the_offset_of_1000_lets_it(tmp_path: Path) -> None:
    lowest = plain_write(tmp_path / "a.tif", np.full((13, 4, 4), -1_000, np.int16))
    assert read(lowest, SENTINEL2).values.min() == np.float32(-0.1)


def test_fault_13_a_number_for_no_data_without_its_tag_is_refused(tmp_path: Path) -> None:
    values = np.full((13, 4, 4), 300, np.int16)
    values[:, 0, 0] = -9_999
    untagged = plain_write(tmp_path / "untagged.tif", values)
    expected = "has values from -0.9999 to 0.03, expected reflectance; does -9999 mean no data? tag it"
    assert refusal(untagged, SENTINEL2).endswith(expected)
    tagged = plain_write(tmp_path / "tagged.tif", values, nodata=-9_999)
    assert np.isnan(read(tagged, SENTINEL2).values).sum() == 13


# Damaged files


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.tif").endswith("absent.tif is not a file; check the path")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("is not a file; check the path")


def test_fault_19_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    assert refusal(tmp_path / "a.tif").endswith("a.tif is empty (0 bytes); fetch it again")


@pytest.mark.parametrize("content", [b"\0", b"II*\0", b"MM\0*\0\0\0\x08", b"{}", b"<html>", b"\0" * 5_000])
def test_fault_05_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert "a.tif is not a whole GeoTIFF (" in refusal(tmp_path / "a.tif")


PROFILES: list[dict[str, Any]] = [
    {"interleave": "pixel"},
    {"interleave": "band"},
    {"interleave": "band", "compress": "deflate", "predictor": 2},
    {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"},
    {"compress": "deflate", "BIGTIFF": "YES"},
    {"compress": "deflate", "ENDIANNESS": "BIG"},
]


@pytest.mark.parametrize("profile", PROFILES, ids=str)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_fault_05_a_file_cut_anywhere_is_refused_or_whole(
    tmp_path: Path, profile: dict[str, Any], data: st.DataObject
) -> None:
    values = optical(np.random.default_rng(3), 24)
    path = plain_write(tmp_path / "a.tif", values, nodata=7, **profile)
    with rasterio.open(path, "r+") as file:
        file.descriptions = SENTINEL2.bands
    content = path.read_bytes()
    kept = data.draw(st.integers(1, len(content) - 1))
    cut = tmp_path / "cut.tif"
    cut.write_bytes(content[:kept])
    with suppress(InputError):
        seen = read_stored(cut)  # what was cut meant nothing
        np.testing.assert_array_equal(seen.values, values)
        assert same_grid(seen.geobox, GeoBox((24, 24), UTM.affine, UTM.crs)) and seen.nodata == 7
        assert seen.descriptions == SENTINEL2.bands


@pytest.mark.parametrize("profile", PROFILES, ids=str)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_fault_05_a_file_with_another_byte_is_read_or_refused(
    tmp_path: Path, profile: dict[str, Any], data: st.DataObject
) -> None:
    path = plain_write(tmp_path / "a.tif", optical(np.random.default_rng(3), 8), nodata=7, **profile)
    with rasterio.open(path, "r+") as file:
        file.descriptions = SENTINEL2.bands
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    changed = tmp_path / "changed.tif"
    changed.write_bytes(content)
    with suppress(InputError):
        read(changed, SENTINEL2)


def test_fault_05_a_file_cut_by_one_pixel_is_refused(s1: Path) -> None:
    s1.write_bytes(s1.read_bytes()[:-4])
    assert "s1.tif is not a whole GeoTIFF" in refusal(s1)


@pytest.mark.parametrize("profile", [*PROFILES, {"nodata": 7}, {"nodata": np.nan, "dtype": "float32"}], ids=str)
def test_fault_02_a_file_never_written_is_refused(tmp_path: Path, profile: dict[str, Any]) -> None:
    shape = {"count": 2, "height": 64, "width": 64, "crs": "EPSG:32632", "transform": UTM.affine}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", SPARSE_OK=True, **shape, **{"dtype": "uint16", **profile}):
        pass
    assert "a.tif was not written to its end, or is sparse: block 0, 0 of band 1 is missing" in refusal(path)


def test_fault_02_one_missing_tile_is_refused(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", 1, 64, blockxsize=32, blockysize=32)
    with rasterio.open(path, "r+") as file:
        for row, column in ((0, 0), (0, 1), (1, 0)):
            ones = np.ones((1, 32, 32), np.uint16)
            file.write(ones, window=((32 * row, 32 * row + 32), (32 * column, 32 * column + 32)))
    assert "block 1, 1 of band 1 is missing; fetch it again" in refusal(path)


def test_an_image_of_zeros_is_an_image(tmp_path: Path) -> None:
    path = plain_write(tmp_path / "a.tif", np.zeros((2, 64, 64), np.float32), compress="deflate")
    assert not read(path, SENTINEL1).values.any()


def test_pixels_without_size_are_refused(tmp_path: Path) -> None:
    flat = GeoBox((SIDE, SIDE), Affine(10, 0, 5e5, 10, 0, 5e6), "EPSG:32632")
    path = plain_write(tmp_path / "a.tif", radar(np.random.default_rng(1)), flat)
    assert "has pixels without size" in refusal(path)


# Hostile files


def test_fault_20_giant_dimensions_are_refused_before_reading(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", 2, 40_000)
    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "declares 2 x 40000 x 40000 values, expected at most 1,872,000,000; cut it first" in message
    assert peak < 10 << 20


def test_fault_20_a_file_that_unfolds_a_thousandfold_is_refused_before_reading(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", 2, 10_000)
    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "declares 2 x 10000 x 10000 values in " in message and "never written or is a bomb" in message
    assert peak < 10 << 20


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_fault_20_giant_blocks_are_refused_before_reading(tmp_path: Path, interleave: str) -> None:
    side = 9_000 if interleave == "pixel" else 13_000  # one strip of 309 or 322 MiB
    path = tmp_path / "a.tif"
    shape = {"count": 2, "height": side, "width": side, "dtype": "uint16", "blockysize": side, "compress": "lzw"}
    with (
        pytest.warns(NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", SPARSE_OK=True, interleave=interleave, **shape),
    ):
        pass
    assert f"is stored in blocks of {side} x {side} px, too large to read safely; retile it" in refusal(path)


@pytest.fixture
def canary() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine that counts who asks."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def vrt_of(source: str) -> str:
    return (
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}">'
        + "".join(
            f'<VRTRasterBand dataType="Float32" band="{band}"><SimpleSource><SourceFilename>{source}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
            for band in (1, 2)
        )
        + "</VRTDataset>"
    )


@pytest.mark.enable_socket
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_fault_28_no_name_and_no_content_reaches_the_network(tmp_path: Path, canary: tuple[str, list[str]]) -> None:
    host, asked = canary
    hidden = tmp_path / "hidden.tif"
    hidden.write_text(vrt_of(f"/vsicurl/http://{host}/in-file.tif"))
    with pytest.raises(OSError), rasterio.open(hidden) as plain:
        plain.read()
    assert asked, "rasterio alone does ask, or this test proves nothing"
    asked.clear()
    names = [
        f"/vsicurl/http://{host}/a.tif",
        f"/vsizip//vsicurl/http://{host}/a.zip/a.tif",
        f"http://{host}/a.tif",
        f"WMS:http://{host}/",
        vrt_of(f"/vsicurl/http://{host}/inline.tif"),
    ]
    for path in [hidden, *map(Path, names)]:
        refusal(path, SENTINEL1)
    assert asked == []


def test_fault_28_a_vrt_reads_no_other_file(tmp_path: Path, s1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.vrt", "a.tif"):
        (tmp_path / name).write_text(vrt_of(str(s1)))
        assert f"{name} is not a whole GeoTIFF" in refusal(tmp_path / name, SENTINEL1)
    subprocess.run(["zip", "-q", "a.zip", "s1.tif"], check=False)
    names = [f"/vsizip/{tmp_path}/a.zip/s1.tif", f"zip://{tmp_path}/a.zip!s1.tif", f"GTIFF_DIR:1:{s1}", vrt_of(str(s1))]
    for name in names:
        assert "is not a file; check the path" in refusal(Path(name), SENTINEL1)


def test_fault_28_a_folder_that_is_called_like_a_virtual_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, s1: Path
) -> None:
    monkeypatch.setattr(Path, "resolve", lambda self: Path(f"/vsicurl{self}"))
    assert "looks like an address of GDAL's virtual file systems" in refusal(s1)


def test_no_side_car_file_changes_what_is_read(tmp_path: Path) -> None:
    with pytest.warns(NotGeoreferencedWarning):
        path = plain_write(tmp_path / "a.tif", radar(np.random.default_rng(1)), NOWHERE)
    for suffix in ("tfw", "wld", "tifw"):
        (tmp_path / f"a.{suffix}").write_text("10\n0\n0\n-10\n500000\n5000000\n")
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><SRS>EPSG:32632</SRS><PAMRasterBand band="1"><NoDataValue>-5</NoDataValue>'
        "<Description>VH</Description></PAMRasterBand></PAMDataset>"
    )
    with rasterio.open(path) as plain:
        assert plain.transform.a == 10 and plain.nodata == -5, "GDAL alone does read them, or this test proves nothing"
    seen = read_stored(path)
    assert same_grid(seen.geobox, NOWHERE) and seen.nodata is None and seen.descriptions == (None, None)


# Names


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_fault_37_a_file_of_any_name_is_written_and_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "雲 und Ø" / f"{name}.tif"
    values = radar(np.random.default_rng(1), 4)
    write_geotiff(path, values, SENTINEL1.bands, GeoBox((4, 4), UTM.affine, UTM.crs))
    np.testing.assert_array_equal(read(path, SENTINEL1).values, values)


def test_fault_37_a_name_of_255_bytes_is_written_and_read(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".tif", "雲" * 83 + ".tif"):
        write_geotiff(tmp_path / name, radar(np.random.default_rng(1)), SENTINEL1.bands, UTM)
        assert read(tmp_path / name, SENTINEL1).bands == ("VV", "VH")


# Writing


@pytest.mark.parametrize("side", [SIDE, 520])
@pytest.mark.parametrize("geobox", [UTM, NOWHERE], ids=["utm", "nowhere"])
def test_the_coordinate_scene_returns_from_its_file(tmp_path: Path, geobox: GeoBox, side: int) -> None:
    grid = GeoBox((side, side), geobox.affine, geobox.crs)
    rows, columns = np.mgrid[:side, :side]
    values = np.stack([rows, columns]).astype(np.uint16)
    write_geotiff(tmp_path / "a.tif", values, ("row", "column"), grid, nodata=0, tags={"made_by": "test"})
    seen = read_stored(tmp_path / "a.tif")
    np.testing.assert_array_equal(seen.values, values)
    assert same_grid(seen.geobox, grid) and seen.nodata == 0 and seen.descriptions == ("row", "column")
    with open_geotiff(tmp_path / "a.tif") as file:
        assert file.tags()["made_by"] == "test" and (file.block_shapes[0] == (256, 256)) == (side > 512)


def test_no_data_returns_from_its_file(tmp_path: Path) -> None:
    values = radar(np.random.default_rng(1))
    values[0, 3, 4] = np.nan
    write_geotiff(tmp_path / "a.tif", values, SENTINEL1.bands, UTM, nodata=np.nan)
    np.testing.assert_array_equal(read(tmp_path / "a.tif", SENTINEL1).values, values)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 192 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here; run as root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("free_kib", range(0, 116, 4))
def test_fault_32_on_a_full_disk_a_file_is_whole_or_refused(small_disk: Path, free_kib: int) -> None:
    path = small_disk / "a.tif"
    old, new = (
        radar(np.random.default_rng(1), 4),
        optical(np.random.default_rng(2), 64),
    )  # the new one needs 90 to 110 KiB
    write_geotiff(path, old, SENTINEL1.bands, GeoBox((4, 4), UTM.affine, UTM.crs))
    disk = os.statvfs(small_disk)
    (small_disk / "full").write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - free_kib * 1024))
    with suppress(InputError):
        write_geotiff(path, new, SENTINEL2.bands, GeoBox((64, 64), UTM.affine, UTM.crs))
    kept = read_stored(path).values
    np.testing.assert_array_equal(kept, new if kept.dtype == new.dtype else old)
    assert kept.dtype == (new if free_kib > 108 else old).dtype or 88 < free_kib <= 108
    assert sorted(file.name for file in small_disk.iterdir()) == ["a.tif", "full"]


def test_fault_32_a_full_disk_is_named(small_disk: Path) -> None:
    with pytest.raises(InputError, match=r"a.tif cannot be written \(.*\); is the disk full\?"):
        write_geotiff(
            small_disk / "a.tif",
            optical(np.random.default_rng(2), 128),
            SENTINEL2.bands,
            GeoBox((128, 128), UTM.affine, UTM.crs),
        )
