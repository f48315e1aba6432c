"""A cloud-optimised GeoTIFF written in one pass, against GDAL by way of a plain file, both complete and verified.

The image is a mosaic of the ten real cloudy patches (folder ``triplets`` of the samples), 13 bands. The peer writes a
plain GeoTIFF strip by strip, copies it with GDAL's COG driver (deflate, its default level), and compares the pixels
with those written, as this package did before. Times are processor times of one thread, in turn; the ratio is that of
the medians. The result of both is read by GDAL and compared.

    python benchmarks/writing.py [--size 2745] [--runs 3] [--folder FOLDER]      the last line is one JSON object
    python benchmarks/writing.py --levels      size and MB/s of each level, on eight different patches side by side
"""

import argparse
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile
from rich.console import Console
from scene_clouds import cloudy_patches

from unclouded.io.gdal import gdal_session
from unclouded.io.geotiff import read_stored
from unclouded.io.rows import Layer, write_cog
from unclouded.io.strips import row_ranges
from unclouded.sensors import SENTINEL2

GOAL = 3
STRIP_PX = 1024
"""Rows of the strips: a line of windows of a scene."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--size", type=int, default=2745, help="a quarter of the side of a Sentinel-2 tile")
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--folder", type=Path)
    words.add_argument("--levels", action="store_true")
    options = words.parse_args()
    if options.levels:
        print_levels()
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    image = mosaic(options.size)
    ways: dict[str, Callable[[Path, NDArray[np.uint16]], None]] = {
        "GDAL": by_gdal,
        "deflate": lambda path, values: in_one_pass(path, values, "deflate"),
        "zstd": lambda path, values: in_one_pass(path, values, "zstd"),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for _ in range(options.runs):
            for way, write in ways.items():
                path = Path(folder) / f"{way}.tif"
                started = time.process_time()
                write(path, image)
                seconds[way].append(time.process_time() - started)
                sizes[way] = path.stat().st_size
                if not np.array_equal(read_stored(path).values, image):
                    raise SystemExit(f"{way} wrote other pixels")
    medians = {way: round(median(each), 2) for way, each in seconds.items()}
    for way, spent in medians.items():
        Console().print(f"{way:8} {spent:6.2f} s of processor time, {sizes[way] / 1e6:6.1f} MB", highlight=False)
    ratio = round(medians["GDAL"] / medians["deflate"], 2)
    result = {"name": "writing", "ratio": ratio, "goal": GOAL, "runs": options.runs, "threads": 1}
    print(json.dumps({**result, "size_px": options.size, "seconds": medians, "bytes": sizes}))


def print_levels() -> None:
    """Print size and speed of compression with horizontal differencing in blocks of 512 px, by GDAL in memory."""
    patches = [read_stored(file).values for file in cloudy_patches()[:8]]
    image = np.concatenate([np.concatenate(patches[:4], axis=2), np.concatenate(patches[4:], axis=2)], axis=1)
    shape = {"count": len(image), "height": image.shape[1], "width": image.shape[2], "dtype": "uint16"}
    tiles = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512, "predictor": 2}
    for compress, option, levels in (("deflate", "zlevel", (1, 3, 6, 9)), ("zstd", "zstd_level", (1, 3, 6, 9))):
        for interleave in ("band", "pixel"):
            for level in levels:
                started = time.process_time()
                with gdal_session(), MemoryFile() as memory:
                    coding = {"compress": compress, option: level, "interleave": interleave}
                    with memory.open(**shape, **tiles, **coding) as file:
                        file.write(image)
                    size = len(memory.getbuffer()) / image.nbytes
                speed = image.nbytes / (time.process_time() - started) / 1e6
                line = f"{compress:8} {level}  {interleave:5} {size:6.1%} {speed:5.0f} MB/s"
                Console().print(line, highlight=False)


def mosaic(size: int) -> NDArray[np.uint16]:
    """Return an image of patches, each row shifted by one patch."""
    patches = [read_stored(file).values for file in cloudy_patches()]
    count = -(-size // patches[0].shape[1])
    lines = [
        np.concatenate([patches[(row + column) % len(patches)] for column in range(count)], axis=2)
        for row in range(count)
    ]
    return np.ascontiguousarray(np.concatenate(lines, axis=1)[:, :size, :size])


def grid(image: NDArray[np.uint16]) -> GeoBox:
    return GeoBox(image.shape[1:], Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")


def in_one_pass(path: Path, image: NDArray[np.uint16], compression: str) -> None:
    layer = Layer(SENTINEL2.bands, "uint16", 0, compression=compression)  # type: ignore[arg-type]
    strips = ((top, image[:, top:bottom]) for top, bottom in row_ranges(image.shape[1], STRIP_PX))
    write_cog(path, strips, layer, grid(image))


def by_gdal(path: Path, image: NDArray[np.uint16]) -> None:
    plain = path.with_name("plain.tif")
    common = {"driver": "GTiff", "count": len(image), "height": image.shape[1], "width": image.shape[2], "nodata": 0}
    place = {"dtype": "uint16", "crs": "EPSG:32632", "transform": grid(image).affine}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": "band"}
    strips = row_ranges(image.shape[1], STRIP_PX)
    sums = []
    with rasterio.Env(GDAL_NUM_THREADS=1, GDAL_CACHEMAX=256 << 20):
        with rasterio.open(plain, "w", compress="deflate", predictor=2, **common, **place, **tiles) as file:
            for top, bottom in strips:
                file.write(image[:, top:bottom], window=((top, bottom), (0, image.shape[2])))
                sums.append(zlib.crc32(np.ascontiguousarray(image[:, top:bottom]).data))
        verify(plain, strips, sums)
        options = {"compress": "deflate", "predictor": "standard", "blocksize": 512, "overview_resampling": "average"}
        rasterio.shutil.copy(plain, path, driver="COG", **options)
        verify(path, strips, sums)
    plain.unlink()


def verify(path: Path, strips: list[tuple[int, int]], sums: list[int]) -> None:
    with rasterio.open(path) as file:
        for rows, expected in zip(strips, sums, strict=True):
            if zlib.crc32(file.read(window=(rows, (0, file.width))).data) != expected:
                raise SystemExit(f"{path} differs")


if __name__ == "__main__":
    main()
