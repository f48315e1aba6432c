import http.server
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
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
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from unclouded.errors import InputError, MachineError
from unclouded.io.geotiff import ImageWindow, open_geotiff, read_grid, read_stored, write_geotiff
from unclouded.io.raster import read, same_grid, to_physical
from unclouded.sensors import SENTINEL1, SENTINEL2

SIDE = 16
UTM = GeoBox((SIDE, SIDE), Affine(10, 0, 637702.775062324, 0, -10, 3632392.7747218483), "EPSG:32652")
NOWHERE = GeoBox((SIDE, SIDE), Affine.identity(), None)


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


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_stored(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def s1(tmp_path: Path) -> Path:
    return plain_write(tmp_path / "s1.tif", radar(np.random.default_rng(1)))


# Damaged files


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.tif").endswith("absent.tif is not a file; check the path")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("is not a file (it is an empty folder); check the path")


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
@settings(max_examples=60)
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


# rasterio's log cannot decode GDAL's message about a changed tag; the file itself is still read or refused.
@pytest.mark.filterwarnings("ignore:.*rasterio._env.log_error:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("profile", PROFILES, ids=str)
@settings(max_examples=60)
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
    assert "a.tif is incomplete or sparse: block 0, 0 of band 1 is missing" in refusal(path)


def test_fault_02_one_missing_tile_is_refused(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", 1, 64, blockxsize=32, blockysize=32)
    with rasterio.open(path, "r+") as file:
        for row, column in ((0, 0), (0, 1), (1, 0)):
            ones = np.ones((1, 32, 32), np.uint16)
            file.write(ones, window=((32 * row, 32 * row + 32), (32 * column, 32 * column + 32)))
    assert "block 1, 1 of band 1 is missing; fetch it again" in refusal(path)


def test_a_rectangle_is_read_as_if_it_were_cut_out(tmp_path: Path) -> None:
    values = optical(np.random.default_rng(0), 64)
    path = plain_write(
        tmp_path / "a.tif", values, GeoBox((64, 64), UTM.affine, UTM.crs), tiled=True, blockxsize=16, blockysize=16
    )
    window = ImageWindow(path, 5, 20, (30, 40))
    found = read_stored(window)
    np.testing.assert_array_equal(found.values, values[:, 5:35, 20:60])
    assert found.geobox == read_grid(window) == read_grid(path)[5:35, 20:60]
    assert found.geobox.affine.c == UTM.affine.c + 200 and found.geobox.affine.f == UTM.affine.f - 50
    assert same_grid(read(window, SENTINEL2).geobox, found.geobox)


@pytest.mark.parametrize("place", [(-1, 0), (0, 60), (50, 0)])
def test_a_rectangle_that_leaves_its_image_is_refused(tmp_path: Path, place: tuple[int, int]) -> None:
    path = plain_write(tmp_path / "a.tif", radar(np.random.default_rng(0), 64))
    with pytest.raises(
        InputError, match=r"a\.tif has 64 x 64 px, expected rows .* to .*; recreate the window for this image"
    ):
        read_stored(ImageWindow(path, *place, (16, 16)))


def test_fault_02_of_a_rectangle_only_its_own_blocks_have_to_be_there(tmp_path: Path) -> None:
    path = sparse(tmp_path / "a.tif", 1, 64, blockxsize=32, blockysize=32)
    with rasterio.open(path, "r+") as file:
        file.write(np.ones((1, 32, 32), np.uint16), window=((32, 64), (32, 64)))
    assert read_stored(ImageWindow(path, 32, 40, (32, 20))).values.all()
    with pytest.raises(InputError, match="block 0, 1 of band 1 is missing"):
        read_stored(ImageWindow(path, 32, 31, (32, 20)))


def test_an_image_of_zeros_is_an_image(tmp_path: Path) -> None:
    path = plain_write(tmp_path / "a.tif", np.zeros((2, 64, 64), np.float32), compress="deflate")
    assert not read_stored(path).values.any()


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
    assert "declares 2 x 10000 x 10000 values in " in message and "never written, or is a decompression bomb" in message
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
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
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
        refusal(path)
    assert asked == []


def test_fault_28_a_vrt_reads_no_other_file(tmp_path: Path, s1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.vrt", "a.tif"):
        (tmp_path / name).write_text(vrt_of(str(s1)))
        assert f"{name} is not a whole GeoTIFF" in refusal(tmp_path / name)
    subprocess.run(["zip", "-q", "a.zip", "s1.tif"], check=False)
    names = [f"/vsizip/{tmp_path}/a.zip/s1.tif", f"zip://{tmp_path}/a.zip!s1.tif", f"GTIFF_DIR:1:{s1}", vrt_of(str(s1))]
    for name in names:
        assert "is not a file" in refusal(Path(name))


def test_fault_28_a_folder_that_is_called_like_a_virtual_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, s1: Path
) -> None:
    monkeypatch.setattr(Path, "resolve", lambda self: Path(f"/vsicurl{self}"))
    assert "looks like a path of GDAL's virtual file systems" in refusal(s1)


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


@pytest.mark.parametrize("variable", ["PROJ_DATA", "PROJ_LIB"])
def test_fault_39_without_the_database_of_proj_nothing_is_read(s1: Path, variable: str) -> None:
    program = (
        "import sys, pathlib; from unclouded.io.geotiff import read_stored; read_stored(pathlib.Path(sys.argv[1]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(s1)],
        env={**os.environ, variable: "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = f"PROJ finds no coordinate systems ({variable}=/nowhere); unset PROJ_DATA and PROJ_LIB and run again"
    assert result.stderr.splitlines()[-1].endswith(expected)


# Names


@settings(max_examples=40)
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_fault_37_a_file_of_any_name_is_written_and_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "雲 und Ø" / f"{name}.tif"
    values = radar(np.random.default_rng(1), 4)
    write_geotiff(path, values, SENTINEL1.bands, GeoBox((4, 4), UTM.affine, UTM.crs))
    np.testing.assert_array_equal(read_stored(path).values, values)


def test_fault_37_a_name_of_255_bytes_is_written_and_read(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".tif", "雲" * 83 + ".tif"):
        write_geotiff(tmp_path / name, radar(np.random.default_rng(1)), SENTINEL1.bands, UTM)
        assert read_stored(tmp_path / name).descriptions == ("VV", "VH")


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
    np.testing.assert_array_equal(read_stored(tmp_path / "a.tif").values, values)


@pytest.fixture
def small_disk(mount_disk: Callable[[int], Path]) -> Path:
    """A disk of 192 KiB."""
    return mount_disk(192)


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
    with suppress(MachineError):
        write_geotiff(path, new, SENTINEL2.bands, GeoBox((64, 64), UTM.affine, UTM.crs))
    kept = read_stored(path).values
    np.testing.assert_array_equal(kept, new if kept.dtype == new.dtype else old)
    assert kept.dtype == (new if free_kib > 108 else old).dtype or 88 < free_kib <= 108
    assert sorted(file.name for file in small_disk.iterdir()) == ["a.tif", "full"]


def test_fault_32_a_full_disk_is_named(small_disk: Path) -> None:
    with pytest.raises(MachineError, match=r"a.tif cannot be written \(No space left on device\); free some space"):
        write_geotiff(
            small_disk / "a.tif",
            optical(np.random.default_rng(2), 128),
            SENTINEL2.bands,
            GeoBox((128, 128), UTM.affine, UTM.crs),
        )


# Gaps


GAP = np.zeros((SIDE, SIDE), bool)
GAP[3:9, 5:12] = True


def gap_written(path: Path, how: str) -> Path:
    """Write two bands of -5 whose gap, filled with 4321, is marked in one of the ways of GeoTIFF."""
    values = np.where(GAP, 4321, -5).astype(np.float32)[None].repeat(2, axis=0)
    mask = np.where(GAP, 0, 255).astype(np.uint8)
    alpha = how == "alpha band"
    shape = {"count": 2 + alpha, "height": SIDE, "width": SIDE, "dtype": "float32", "transform": UTM.affine}
    nodata = {"nodata tag": 4321, "NaN": np.nan}.get(how)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=how == "internal mask"),
        rasterio.open(path, "w", "GTiff", crs="EPSG:32632", nodata=nodata, **shape) as file,
    ):
        file.write(np.where(GAP, np.nan, values).astype(np.float32) if how == "NaN" else values, [1, 2])
        if alpha:
            file.write(mask.astype(np.float32), 3)
            file.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.alpha]
        if how in ("internal mask", "mask beside"):
            file.write_mask(mask)
    if how == "mask of each band":
        with rasterio.open(f"{path}.msk", "w", "GTiff", count=2, height=SIDE, width=SIDE, dtype="uint8") as file:
            file.write(np.stack([mask, mask]))
    return path


WAYS = ("nodata tag", "NaN", "internal mask", "mask beside", "mask of each band", "alpha band")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("how", WAYS)
def test_fault_13_a_gap_is_a_gap_however_the_file_marks_it(tmp_path: Path, how: str) -> None:
    path = gap_written(tmp_path / "a.tif", how)
    assert (tmp_path / "a.tif.msk").exists() == how.startswith("mask")
    stored = read_stored(path)
    assert stored.values.shape == (2, SIDE, SIDE)
    assert np.array_equal(stored.is_gap, np.stack([GAP, GAP]))
    assert np.array_equal(np.isnan(to_physical(stored, SENTINEL1)), stored.is_gap)
    assert np.unique(stored.with_gaps_as(0)).tolist() == [-5, 0]
    part = read_stored(ImageWindow(path, 2, 4, (3, 3)))
    assert np.array_equal(part.is_gap[0], GAP[2:5, 4:7])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_mask_beside_an_image_may_mark_one_band_alone(tmp_path: Path) -> None:
    path = gap_written(tmp_path / "a.tif", "mask of each band")
    with rasterio.open(tmp_path / "a.tif.msk", "r+", driver="GTiff") as file:
        file.write(np.full((SIDE, SIDE), 255, np.uint8), 1)
    assert [bool(band.any()) for band in read_stored(path).is_gap] == [False, True]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_fault_28_a_mask_beside_an_image_is_a_whole_local_geotiff_of_its_size(tmp_path: Path, s1: Path) -> None:
    path = gap_written(tmp_path / "a.tif", "nodata tag")
    mask = tmp_path / "a.tif.msk"
    mask.write_text(vrt_of(str(s1)))
    assert "a.tif.msk is not a whole GeoTIFF" in refusal(path)
    mask.write_bytes(b"")
    assert "a.tif.msk is empty (0 bytes)" in refusal(path)
    mask.unlink()
    mask.symlink_to(tmp_path / "absent")
    assert "a.tif.msk is not a file" in refusal(path)
    mask.unlink()
    with rasterio.open(mask, "w", "GTiff", count=1, height=SIDE, width=SIDE + 1, dtype="uint8") as file:
        file.write(np.ones((1, SIDE, SIDE + 1), np.uint8))
    expected = f"expected 1 or 2 of {SIDE} x {SIDE} px; recreate the mask, or remove it"
    assert expected in refusal(path)


def test_an_alpha_band_with_the_name_of_a_band_is_data(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    shape = {"count": 2, "height": SIDE, "width": SIDE, "dtype": "float32", "transform": UTM.affine}
    with rasterio.open(path, "w", "GTiff", crs="EPSG:32632", **shape) as file:
        file.write(np.full((2, SIDE, SIDE), -5, np.float32))
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        file.descriptions = ("VV", "VH")
    stored = read_stored(path)
    assert stored.values.shape == (2, SIDE, SIDE) and not stored.is_gap.any()
