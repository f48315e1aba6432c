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
from rasterio.errors import NotGeoreferencedWarning

from unclouded.errors import InputError
from unclouded.io.geotiff import StoredImage as Stored
from unclouded.io.raster import (
    Raster,
    check_limits,
    check_range,
    check_stored,
    describe_grid,
    offset_steps,
    read,
    same_grid,
    to_physical,
    to_stored,
)
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


def refusal(path: Path, sensor: Sensor) -> str:
    with pytest.raises(InputError) as refused:
        read(path, sensor)
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
    with pytest.raises(InputError, match="no band HH; choose from VV VH"):
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


def test_descriptions_of_different_grids_differ() -> None:
    assert describe_grid(UTM) == "16x16 px in EPSG:32652, corner 637702.775062 3632392.77472, steps 10 -10"
    assert describe_grid(NOWHERE) == "16x16 px in no CRS, corner 0 0, steps 1 1"


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


def stored(values: NDArray[Any], nodata: float | None = None, scale: float = 1.0, offset: float = 0.0) -> Stored:
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    count = len(values)
    return Stored(values, grid, nodata, (None,) * count, (scale,) * count, (offset,) * count)


def line(*numbers: float, dtype: str) -> NDArray[Any]:
    return np.array(numbers, dtype).reshape(1, 1, -1)


def test_fault_16_an_offset_tag_is_added_before_dividing() -> None:
    image = stored(line(1, 1_000, 3_500, 0, 65_535, dtype="uint16"), scale=0.0001, offset=-0.1)
    seen = to_physical(image, SENTINEL2).ravel()
    np.testing.assert_array_equal(seen, np.float32([-0.0999, 0, 0.25, np.nan, np.nan]))
    assert offset_steps(image, SENTINEL2) == (-1000,)


def test_fault_17_radar_with_a_scale_is_refused() -> None:
    image = stored(np.zeros((2, 1, 1), np.float32), scale=0.01)
    with pytest.raises(
        InputError, match=r"a\.tif has tags of scale 0\.01 and offset 0, expected 1 and whole steps of it"
    ):
        check_stored(Path("a.tif"), image, SENTINEL1)


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


def test_fault_18_twelve_bands_are_taken_for_l2a_and_two_for_radar(tmp_path: Path) -> None:
    for count, product in ((12, "Sentinel-2 L2A"), (2, "Sentinel-1")):
        path = plain_write(tmp_path / "a.tif", np.ones((count, 4, 4), "uint16"))
        assert refusal(path, SENTINEL2).endswith(f"B12; is it a file of {product}?")


@settings(max_examples=30)
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
    with pytest.raises(InputError, match="most of them positive, expected dB; if this is linear power"):
        check_range(Path("a.tif"), padded, SENTINEL1)


@given(decibels)
def test_fault_15_radar_in_db_is_never_refused(dB: NDArray[np.float32]) -> None:
    check_range(Path("a.tif"), np.concatenate([dB, -np.abs(dB)], -1), SENTINEL1)


@pytest.mark.parametrize("dB", [0.0, 5e-15, -36.0, np.nan])
def test_fault_15_a_patch_of_one_value_is_no_linear_power(dB: float) -> None:
    check_range(Path("a.tif"), np.full((2, 4, 4), dB, np.float32), SENTINEL1)


def test_fault_15_db_times_100_is_refused(tmp_path: Path) -> None:
    path = plain_write(tmp_path / "a.tif", 100 * radar(np.random.default_rng(1)))
    assert "expected dB; if this is dB x 100, set --units" in refusal(path, SENTINEL1)


def test_fault_15_digital_numbers_are_refused(tmp_path: Path) -> None:
    path = plain_write(tmp_path / "a.tif", np.full((2, 4, 4), 250, np.float32))
    assert "has values from 250 to 250, expected dB; if this is dB x 100" in refusal(path, SENTINEL1)


def test_reflectance_may_fall_as_low_as_the_offset_of_1000_lets_it(tmp_path: Path) -> None:
    lowest = plain_write(tmp_path / "a.tif", np.full((13, 4, 4), -1_000, np.int16))
    assert read(lowest, SENTINEL2).values.min() == np.float32(-0.1)


def test_fault_13_a_number_for_no_data_without_its_tag_is_refused(tmp_path: Path) -> None:
    values = np.full((13, 4, 4), 300, np.int16)
    values[:, 0, 0] = -9_999
    untagged = plain_write(tmp_path / "untagged.tif", values)
    expected = "has values from -0.9999 to 0.03, expected reflectance; if -9999 means no data, set it as nodata tag"
    assert refusal(untagged, SENTINEL2).endswith(expected)
    tagged = plain_write(tmp_path / "tagged.tif", values, nodata=-9_999)
    assert np.isnan(read(tagged, SENTINEL2).values).sum() == 13


def test_a_strip_of_bright_targets_is_within_the_limits_that_a_scene_of_them_is_not() -> None:
    ships = np.full((2, 1, 4), 12, np.float32)
    check_limits(Path("a.tif"), ships, SENTINEL1)
    with pytest.raises(InputError, match=r"a\.tif has values from 12 to 12, most of them positive, expected dB"):
        check_range(Path("a.tif"), ships, SENTINEL1)
