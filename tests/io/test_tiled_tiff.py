"""Files written block by block, judged by GDAL, rio-cogeo and tifffile."""

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rio_cogeo.cogeo import cog_validate

from unclouded.errors import MachineError
from unclouded.io import tiled_tiff
from unclouded.io.geotiff import read_stored
from unclouded.io.tiled_tiff import Compression, Layer

ROWS, COLUMNS = 301, 203
GRID = GeoBox((ROWS, COLUMNS), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
BANDS = ("B04", "B03")


def integers() -> NDArray[np.uint16]:
    """Noise with nodata 0 in a third of the pixels."""
    rng = np.random.default_rng(0)
    return np.where(rng.random((2, ROWS, COLUMNS)) < 0.3, 0, rng.integers(1, 9_999, (2, ROWS, COLUMNS))).astype(
        np.uint16
    )


def written(
    path: Path, values: NDArray[Any], ends: tuple[int, ...] = (0, ROWS + 1), block_px: int = 64, **options: Any
) -> Path:
    nodata = np.nan if values.dtype.kind == "f" else 0
    nodata, overviews = options.pop("nodata", nodata), options.pop("overviews", "average")
    compression = options.pop("compression", "deflate")
    layer = Layer(BANDS, values.dtype.name, nodata, overviews, compression=compression)
    grid = GRID[: values.shape[1], : values.shape[2]]
    with tiled_tiff.tiled_tiff(path, layer, grid, block_px, **{"cloud_optimised": True, **options}) as write:
        for top, bottom in pairwise(ends):
            write(values[:, top:bottom])
    return path


@pytest.mark.parametrize("cloud_optimised", [True, False])
@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_threads_and_strips_do_not_change_a_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Compression, cloud_optimised: bool
) -> None:
    monkeypatch.setattr(tiled_tiff, "_UNIT_PX", 128)
    options = {"compression": compression, "cloud_optimised": cloud_optimised}
    once = written(tmp_path / "once.tif", integers(), **options).read_bytes()
    for threads, ends in ((1, (0, 1, 64, 65, 300, ROWS)), (2, (0, 128, ROWS)), (5, tuple(range(ROWS + 1)))):
        monkeypatch.setattr(tiled_tiff, "threads", lambda threads=threads: threads)
        assert written(tmp_path / "again.tif", integers(), ends, **options).read_bytes() == once
    assert np.array_equal(read_stored(tmp_path / "again.tif").values, integers())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.tif", "once.tif"]


@pytest.mark.parametrize("compression", ["deflate", "zstd"])
def test_files_of_both_sizes_are_cloud_optimised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Compression
) -> None:
    for limit in (2**32, 0):  # the second makes a BigTIFF
        monkeypatch.setattr(tiled_tiff, "_CLASSIC_BYTES", limit)
        path = written(tmp_path / f"{limit}.tif", integers(), compression=compression)
        assert path.read_bytes()[:4] == (b"II*\0" if limit else b"II+\0")
        valid, errors, warnings = cog_validate(path, strict=True)
        assert valid, (errors, warnings)
        with rasterio.open(path) as file:
            assert file.overviews(1) == [2, 4, 8] and file.block_shapes == [(64, 64)] * 2
        np.testing.assert_array_equal(read_stored(path).values, integers())


def test_another_reader_finds_the_same_pixels_and_overviews(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", integers())
    np.testing.assert_array_equal(tifffile.imread(path), integers())
    with tifffile.TiffFile(path) as file, rasterio.open(path, overview_level=1) as overview:
        assert [level.shape for level in file.series[0].levels] == [
            (2, 301, 203),
            (2, 151, 102),
            (2, 76, 51),
            (2, 38, 26),
        ]
        np.testing.assert_array_equal(file.series[0].levels[2].asarray(), overview.read())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_overviews_are_those_of_gdal(tmp_path: Path, dtype: str) -> None:
    values = (integers()[:, :300, :200] % 251).astype(dtype)
    if dtype == "float32":
        values[values == 0] = np.nan
    for overviews in ("average", "nearest"):
        path = written(tmp_path / f"{overviews}.tif", values, overviews=overviews)
        with rasterio.open(path) as ours:
            kept = ("width", "height", "count", "dtype", "nodata", "driver", "transform")
            profile = {key: ours.profile[key] for key in kept}
        with rasterio.open(tmp_path / "gdal.tif", "w", **profile) as file:
            file.write(values)
        with rasterio.open(tmp_path / "gdal.tif", "r+") as file:
            file.build_overviews([2, 4], Resampling[overviews])
        for level in (0, 1):
            with rasterio.open(path, overview_level=level) as ours:
                found = ours.read()
            with rasterio.open(tmp_path / "gdal.tif", overview_level=level) as gdal:
                np.testing.assert_allclose(found, gdal.read(), rtol=1e-6)


def test_the_mean_of_four_pixels_by_hand(tmp_path: Path) -> None:
    """1 and 4 are 2.5, rounded up to 3; 0 is no data; a last column of 7 and 8 is 7.5, rounded up to 8."""
    values = np.zeros((2, ROWS, COLUMNS), np.uint16)
    values[:, :2, :2] = [[1, 0], [4, 0]]
    values[:, :2, -1] = (7, 8)
    with rasterio.open(written(tmp_path / "a.tif", values), overview_level=0) as file:
        first = file.read(1)[0]
    assert (first[0], first[1], first[-1]) == (3, 0, 8)


def test_without_nodata_all_pixels_count(tmp_path: Path) -> None:
    values = np.zeros((2, ROWS, COLUMNS), np.uint16)
    values[:, 0, 0] = 8
    with rasterio.open(written(tmp_path / "a.tif", values, nodata=None), overview_level=0) as file:
        assert file.nodata is None and file.read(1)[0, 0] == 2


@pytest.mark.parametrize("place", [3, 400, -3])
def test_fault_32_a_byte_that_changed_on_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    assemble = tiled_tiff._assemble

    def damaged(path: Path, *args: Any, **options: Any) -> int:
        checksum = assemble(path, *args, **options)
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        return checksum

    monkeypatch.setattr(tiled_tiff, "_assemble", damaged)
    reason = r"a\.tif cannot be written \(read-back differs from what was written\); is the disk full\?"
    with pytest.raises(MachineError, match=reason):
        written(tmp_path / "a.tif", integers())
    assert not list(tmp_path.iterdir())


def test_fault_32_blocks_that_changed_while_they_waited_are_refused(tmp_path: Path) -> None:
    layer = Layer(BANDS, "uint16", 0)

    def write_and_damage() -> None:
        with tiled_tiff.tiled_tiff(tmp_path / "a.tif", layer, GRID, 64, cloud_optimised=True) as write:
            write(integers())
            level = write.__self__  # type: ignore[attr-defined]
            level.file.seek(10)
            level.file.write(b"changed")

    with pytest.raises(MachineError, match="read-back differs"):
        write_and_damage()
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    """Blocks of 64 rows of 4 bands and 1000 columns are 512 kB; all rows of the larger image would be 16 MB."""
    strip = np.random.default_rng(0).integers(0, 9_999, (4, 128, 1000)).astype(np.uint16)
    layer, peaks = Layer(("a", "b", "c", "d"), "uint16", 0), []
    for rows in (512, 2048):
        grid = GeoBox((rows, 1000), GRID.affine, GRID.crs)
        tracemalloc.start()
        try:
            with tiled_tiff.tiled_tiff(tmp_path / "a.tif", layer, grid, 64, cloud_optimised=True) as write:
                for _ in range(0, rows, 128):
                    write(strip)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < 12e6
