import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rio_cogeo.cogeo import cog_validate

from unclouded.errors import InputError, MachineError
from unclouded.io.geotiff import open_geotiff, read_stored, write_geotiff
from unclouded.io.raster import read, same_grid
from unclouded.io.rows import Layer, open_rows, write_cog, write_rows
from unclouded.io.strips import read_ahead
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor

ROWS, COLUMNS = 700, 520

GRID = GeoBox((ROWS, COLUMNS), Affine(10, 0, 500_000.5, 0, -10, 5_000_480.25), "EPSG:32632")

UNEVEN = (0, 1, 255, 257, 600, 700)
"""Where strips end: within tiles of 256 rows, at their edges, and one row high."""


def small(side: int) -> GeoBox:
    return GeoBox((side, side), GRID.affine, GRID.crs)


def coordinates() -> NDArray[np.uint16]:
    return np.stack(np.mgrid[:ROWS, :COLUMNS]).astype(np.uint16)


def radar(rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-25, -1, (2, rows, columns)).astype(np.float32)


def in_strips(path: Path, sensor: Sensor, ends: tuple[int, ...]) -> NDArray[np.float32]:
    with open_rows(path, sensor) as scene:
        return np.concatenate([scene.read(top, bottom) for top, bottom in pairwise(ends)], axis=1)


def write_strips(path: Path, strips: Iterable[tuple[int, NDArray[Any]]], geobox: GeoBox) -> None:
    with write_rows(path, SENTINEL1.bands, geobox, "float32") as write:
        for top, values in strips:
            write(top, values)


def refusal(path: Path, sensor: Sensor) -> str:
    with pytest.raises(InputError) as refused, open_rows(path, sensor):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


# Reading


@pytest.mark.parametrize(
    "layout",
    [
        {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"},
        {"blockysize": 7, "interleave": "pixel"},
        {"blockysize": 7, "interleave": "band", "compress": "lzw"},
    ],
    ids=["tiles", "strips of all bands", "strips of one band"],
)
def test_strips_are_the_rows_of_the_scene(tmp_path: Path, layout: dict[str, Any]) -> None:
    stored = np.random.default_rng(2).integers(0, 11_000, (13, ROWS, COLUMNS)).astype(np.uint16)
    stored[:, 3, :9] = (0, 7, 65_535) * 3
    profile = {"driver": "GTiff", "count": 13, "height": ROWS, "width": COLUMNS, "dtype": "uint16", "nodata": 7}
    with rasterio.open(tmp_path / "a.tif", "w", crs="EPSG:32632", transform=GRID.affine, **profile, **layout) as file:
        file.write(stored)
    whole = read(tmp_path / "a.tif", SENTINEL2)
    assert np.isnan(whole.values[:, 3, :9]).all()
    np.testing.assert_array_equal(in_strips(tmp_path / "a.tif", SENTINEL2, UNEVEN), whole.values)
    with open_rows(tmp_path / "a.tif", SENTINEL2) as scene:
        assert scene.bands == whole.bands and same_grid(scene.geobox, whole.geobox)


def test_rows_are_read_in_any_order_and_more_than_once(tmp_path: Path) -> None:
    values = radar(16, 16)
    write_geotiff(tmp_path / "a.tif", values, SENTINEL1.bands, small(16))
    with open_rows(tmp_path / "a.tif", SENTINEL1) as scene:
        for top, bottom in ((8, 16), (0, 9), (8, 16)):
            np.testing.assert_array_equal(scene.read(top, bottom), values[:, top:bottom])


@pytest.mark.parametrize(("top", "bottom"), [(-1, 4), (4, 4), (5, 4), (10, 17)])
def test_rows_that_are_not_there_are_no_rows(tmp_path: Path, top: int, bottom: int) -> None:
    write_geotiff(tmp_path / "a.tif", radar(16, 16), SENTINEL1.bands, small(16))
    with (
        open_rows(tmp_path / "a.tif", SENTINEL1) as scene,
        pytest.raises(ValueError, match=f"a.tif has rows 0 to 16, not {top} to {bottom}"),
    ):
        scene.read(top, bottom)


def test_fault_09_another_number_of_bands_is_refused_at_once(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", radar(16, 16), SENTINEL1.bands, small(16))
    assert "has 2 bands, expected the 13 of Sentinel-2: B01 " in refusal(tmp_path / "a.tif", SENTINEL2)


def test_fault_09_another_order_of_bands_is_refused_at_once(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", radar(16, 16), ("VH", "VV"), small(16))
    assert "has its bands in the order VH VV, expected VV VH" in refusal(tmp_path / "a.tif", SENTINEL1)


def test_fault_15_linear_radar_is_refused_at_once(tmp_path: Path) -> None:
    linear = np.power(np.float32(10), radar() / 10)
    linear[:, 100:600] = np.nan  # also where the middle of the scene has no data
    write_geotiff(tmp_path / "a.tif", linear, SENTINEL1.bands, GRID, nodata=np.nan)
    assert "most of them positive, expected dB; if this is linear power" in refusal(tmp_path / "a.tif", SENTINEL1)


def test_fault_15_a_strip_of_bright_targets_is_read(tmp_path: Path) -> None:
    values = radar()
    values[:, 5] = 12
    write_geotiff(tmp_path / "a.tif", values, SENTINEL1.bands, GRID)
    np.testing.assert_array_equal(in_strips(tmp_path / "a.tif", SENTINEL1, (5, 6)), values[:, 5:6])


def test_fault_15_one_digital_number_is_refused_where_it_is_read(tmp_path: Path) -> None:
    values = radar()
    values[0, 5, 5] = 250
    write_geotiff(tmp_path / "a.tif", values, SENTINEL1.bands, GRID)
    with open_rows(tmp_path / "a.tif", SENTINEL1) as scene:
        scene.read(6, ROWS)
        with pytest.raises(InputError, match=r"to 250, expected dB; if this is dB x 100"):
            scene.read(0, 6)


def test_fault_13_a_scene_without_data_is_read_as_nan(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", np.full((2, 16, 16), np.nan, np.float32), SENTINEL1.bands, small(16))
    assert np.isnan(in_strips(tmp_path / "a.tif", SENTINEL1, (0, 3, 16))).all()


@pytest.mark.parametrize("tiled", [True, False])
def test_fault_05_a_scene_cut_by_one_byte_is_refused_at_once(tmp_path: Path, tiled: bool) -> None:
    path = tmp_path / "a.tif"
    shape = {"count": 2, "height": ROWS, "width": COLUMNS, "dtype": "float32", "tiled": tiled, "compress": "lzw"}
    with rasterio.open(path, "w", "GTiff", crs="EPSG:32632", transform=GRID.affine, **shape) as file:
        file.write(radar())
    path.write_bytes(path.read_bytes()[:-1])
    assert "a.tif is not a whole GeoTIFF (" in refusal(path, SENTINEL1)


def test_fault_05_damage_within_a_scene_names_the_scene_even_while_another_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_geotiff(path, radar(), SENTINEL1.bands, GRID)
    with open_geotiff(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 100] = bytes(100)
    path.write_bytes(content)
    with (
        pytest.raises(InputError, match=r"a\.tif is not a whole GeoTIFF"),
        open_rows(path, SENTINEL1) as scene,
        write_rows(tmp_path / "b.tif", SENTINEL1.bands, GRID, "float32") as write,
    ):
        write(0, scene.read(0, ROWS))
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_an_error_of_the_caller_is_not_the_scenes(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "a.tif", radar(16, 16), SENTINEL1.bands, small(16))
    with pytest.raises(UnicodeDecodeError), open_rows(tmp_path / "a.tif", SENTINEL1):
        b"\xff".decode()


def test_fault_02_a_scene_never_written_is_refused_at_once(tmp_path: Path) -> None:
    shape = {"count": 2, "height": 64, "width": 64, "dtype": "float32", "SPARSE_OK": True}
    with rasterio.open(tmp_path / "a.tif", "w", "GTiff", crs="EPSG:32632", transform=GRID.affine, **shape):
        pass
    assert "a.tif is incomplete or sparse" in refusal(tmp_path / "a.tif", SENTINEL1)


# Writing


@pytest.mark.parametrize("ends", [UNEVEN, (0, ROWS), tuple(range(0, ROWS + 1, 50))], ids=str)
def test_the_coordinate_scene_in_strips_is_the_file_written_at_once(tmp_path: Path, ends: tuple[int, ...]) -> None:
    values, options = coordinates(), {"nodata": 0, "tags": {"made_by": "test"}}
    write_geotiff(tmp_path / "once.tif", values, ("row", "column"), GRID, **options)
    with write_rows(tmp_path / "strips.tif", ("row", "column"), GRID, np.uint16, **options) as write:
        for top, bottom in pairwise(ends):
            write(top, values[:, top:bottom])
    seen, once = read_stored(tmp_path / "strips.tif"), read_stored(tmp_path / "once.tif")
    np.testing.assert_array_equal(seen.values, values)
    assert seen.geobox == once.geobox and seen.nodata == 0 and seen.descriptions == once.descriptions
    with open_geotiff(tmp_path / "strips.tif") as strips, open_geotiff(tmp_path / "once.tif") as at_once:
        assert strips.profile == at_once.profile and strips.tags() == at_once.tags()
        assert strips.block_shapes == [(256, 256)] * 2


def test_no_data_and_a_view_return_from_their_file(tmp_path: Path) -> None:
    values = np.asfortranarray(radar(20, 20))
    values[:, 4, 4] = (np.nan, -0.0)
    with write_rows(tmp_path / "a.tif", SENTINEL1.bands, small(20), "float32", nodata=np.nan) as write:
        write(0, values[:, :7])
        write(7, values[:, 7:])
    np.testing.assert_array_equal(read_stored(tmp_path / "a.tif").values, values)


@pytest.mark.parametrize(
    ("strips", "message"),
    [
        ([(0, 8)], "expected 20 rows, found 8; write them all"),
        ([], "expected 20 rows, found 0; write them all"),
        ([(0, 8), (9, 20)], "expected rows from 8 to at most 20, found 9 to 20"),
        ([(0, 8), (7, 20)], "expected rows from 8 to at most 20, found 7 to 20"),
        ([(0, 20), (0, 20)], "expected rows from 20 to at most 20, found 0 to 20"),
        ([(0, 21)], "expected rows from 0 to at most 20, found 0 to 21"),
        ([(0, 0)], "expected rows from 0 to at most 20, found 0 to 0"),
    ],
    ids=str,
)
def test_rows_left_out_or_repeated_are_refused(tmp_path: Path, strips: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=f"a.tif: {message}"):
        write_strips(tmp_path / "a.tif", [(top, radar(bottom - top, 20)) for top, bottom in strips], small(20))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("strip", [np.zeros((2, 5, 20)), np.zeros((1, 5, 20), "f4"), np.zeros((2, 5, 19), "f4")])
def test_a_strip_of_another_type_or_shape_is_refused(tmp_path: Path, strip: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"expected a strip of float32 of shape \(2, rows, 20\), found float"):
        write_strips(tmp_path / "a.tif", [(0, strip)], small(20))
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_geotiff(path, coordinates(), ("row", "column"), GRID)
    before = zlib.crc32(path.read_bytes())

    def strips() -> Iterator[tuple[int, NDArray[np.float32]]]:
        yield 0, radar()
        raise KeyError("of the caller")

    with pytest.raises(KeyError, match="of the caller"):
        write_strips(path, strips(), GRID)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"] and zlib.crc32(path.read_bytes()) == before


KILLED = """
import os, signal, sys
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from pathlib import Path
from unclouded.io.rows import write_rows
grid = GeoBox((700, 520), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32632")
with write_rows(Path(sys.argv[1]), ("a", "b"), grid, "uint16") as write:
    write(0, np.ones((2, 700, 520), np.uint16))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_fault_03_a_killed_process_leaves_the_older_file_and_a_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_geotiff(path, coordinates(), ("row", "column"), GRID)
    before = zlib.crc32(path.read_bytes())
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert zlib.crc32(path.read_bytes()) == before
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(".partial.tif")] == ["a.tif"]


@pytest.fixture
def small_disk(mount_disk: Callable[[int], Path]) -> Path:
    """A disk of 512 KiB."""
    return mount_disk(512)


def write_noise(path: Path) -> NDArray[np.uint16]:
    """About 150 KiB that do not compress, in four strips."""
    values = np.random.default_rng(3).integers(0, 65_536, (1, 280, 280)).astype(np.uint16)
    with write_rows(path, ("noise",), small(280), "uint16") as write:
        for top in range(0, 280, 70):
            write(top, values[:, top : top + 70])
    return values


def test_fault_32_on_a_full_disk_strips_are_refused_and_the_older_file_stays(small_disk: Path) -> None:
    path, old = small_disk / "a.tif", radar(4, 4)
    write_geotiff(path, old, SENTINEL1.bands, small(4))
    disk = os.statvfs(small_disk)
    for free_kib in range(0, 152, 8):
        (small_disk / "full").write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - free_kib * 1024))
        with pytest.raises(MachineError, match=r"a.tif cannot be written \(.*\); "):
            write_noise(path)
        np.testing.assert_array_equal(read_stored(path).values, old)
        assert sorted(file.name for file in small_disk.iterdir()) == ["a.tif", "full"]
    (small_disk / "full").unlink()
    np.testing.assert_array_equal(write_noise(path), read_stored(path).values)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632"])
def test_fault_10_ground_control_points_are_no_grid(tmp_path: Path, crs: str) -> None:
    path = tmp_path / "a.tif"
    points = [GroundControlPoint(row=r, col=c, x=9 + c / 1e4, y=44 - r / 1e4) for r in (0, 9) for c in (0, 9)]
    with rasterio.open(path, "w", "GTiff", count=2, height=10, width=10, dtype="float32", crs=crs, gcps=points) as file:
        file.write(np.full((2, 10, 10), -12, np.float32))
    with pytest.raises(InputError, match="has ground control points only, so it is not geocoded; give the whole"):
        open_rows(path, SENTINEL1).__enter__()


def test_fault_10_rational_polynomials_are_no_grid(tmp_path: Path) -> None:
    ones = [1.0] + [0.0] * 19
    rpcs = RPC(100, 50, 44, 1, ones, ones, 5, 10, 9, 1, ones, ones, 5, 10)
    with rasterio.open(
        tmp_path / "a.tif", "w", "GTiff", count=2, height=10, width=10, dtype="float32", rpcs=rpcs
    ) as file:
        file.write(np.full((2, 10, 10), -12, np.float32))
    with pytest.raises(InputError, match="has rational polynomials only, so it is not geocoded"):
        open_rows(tmp_path / "a.tif", SENTINEL1).__enter__()


COG_GRID = GeoBox((1100, 700), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")


def strips(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(top, values[:, top : top + 256]) for top in range(0, values.shape[1], 256)]


def test_a_cog_holds_pixels_tags_and_units_and_has_overviews(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 9_999, (2, 1100, 700)).astype(np.uint16)
    layer = Layer(("B04", "B03"), "uint16", 0, scale=1e-4, offsets=(-0.1, -0.1), tags={"A": "b"})
    write_cog(tmp_path / "image.tif", strips(values), layer, COG_GRID)
    stored = read_stored(tmp_path / "image.tif")
    assert np.array_equal(stored.values, values)
    assert (stored.nodata, stored.descriptions) == (0, ("B04", "B03"))
    assert (stored.scales, stored.offsets) == ((1e-4, 1e-4), (-0.1, -0.1))
    valid, errors, warnings = cog_validate(tmp_path / "image.tif")
    assert valid, (errors, warnings)
    with rasterio.open(tmp_path / "image.tif") as file:
        assert file.overviews(1) == [2, 4]
        assert file.tags()["A"] == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_overviews_of_means_leave_nodata_out_and_those_of_names_simulate_none(tmp_path: Path) -> None:
    values = np.zeros((1, 1100, 700), np.uint16)
    values[:, ::2, ::2] = 8
    for overviews in ("average", "nearest"):
        layer = Layer(("B04",), "uint16", 0, overviews)
        write_cog(tmp_path / f"{overviews}.tif", strips(values), layer, COG_GRID)
        with rasterio.open(tmp_path / f"{overviews}.tif", overview_level=0) as file:
            assert set(np.unique(file.read())) <= {0, 8}


def test_the_same_strips_give_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((1, 1100, 700)).astype(np.float32)
    for name in "ab":
        write_cog(tmp_path / f"{name}.tif", strips(values), Layer(("m",), "float32"), COG_GRID)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    (tmp_path / "image.tif").write_text("older")
    values = np.zeros((1, 1100, 700), np.uint8)
    with pytest.raises(ValueError, match="expected 1100 rows, found 256"):
        write_cog(tmp_path / "image.tif", strips(values)[:1], Layer(("a",), "uint8"), COG_GRID)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_rows_are_read_ahead_by_one_range() -> None:
    begun: list[int] = []

    def read(top: int, bottom: int) -> list[int]:
        begun.append(top)
        return list(range(top, bottom))

    rows = read_ahead(read, [(0, 2), (2, 4), (4, 5)])
    assert next(rows) == [0, 1]
    assert list(rows) == [[2, 3], [4]] and begun == [0, 2, 4]
    assert list(read_ahead(read, [])) == []


def test_an_error_of_a_reader_is_raised_in_its_turn(tmp_path: Path) -> None:
    def read(top: int, bottom: int) -> int:
        if top:
            raise InputError("row 1 is damaged")
        return top

    rows = read_ahead(read, [(0, 1), (1, 2)])
    assert next(rows) == 0
    with pytest.raises(InputError, match="row 1 is damaged"):
        next(rows)


def test_fault_05_damage_read_ahead_by_another_thread_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    write_geotiff(path, radar(), SENTINEL1.bands, GRID)
    with open_geotiff(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 100] = bytes(100)
    path.write_bytes(content)
    with (
        open_rows(path, SENTINEL1) as scene,
        pytest.raises(InputError, match=r"a\.tif is not a whole GeoTIFF"),
    ):
        list(read_ahead(scene.stored, [(256, 264), (0, 8)]))
    assert capfd.readouterr() == ("", "")
