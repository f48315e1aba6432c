"""Time and memory of reading whole products: a Sentinel-2 tile of 10,980 px, a Sentinel-1 scene of 16,685 x 25,788 px.

    python proofs/whole_products.py FOLDER [--side 10980]

FOLDER gets two simulated products of real size, filled with noise, the slowest input of JPEG 2000; later runs reuse
them. Each product is read in a separate process, so that its peak memory is that of the reading alone, to the last row
of the optical grid in strips of 512 rows.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.optical import open_optical
from unclouded.sentinel.radar import open_radar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # generators of simulated products
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from products.radar_product import RadarGeometry, RadarProduct, write_radar_product

SECONDS = {"open_s": "until open", "rows_s": "for the rows", "cpu_s": "of CPU"}
SIDE = 10_980
RADAR = RadarProduct(sigma_slopes=(0.0, -0.006), noise_slopes=(0.0, -2e-5))
RADAR_SHAPE = (16_685, 25_788)


def main() -> None:
    """Simulate missing products, read them, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=SIDE, help="side of the tile; the radar scene is scaled with it")
    parser.add_argument("--read", choices=[*READINGS], help="read one in this process and print it as JSON")
    parser.add_argument("--make", action="store_true", help="only simulate the products")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(READINGS[options.read](options.folder, options.side)))
        return
    if options.make:
        make(options.folder, options.side)
        return
    command = [sys.executable, __file__, str(options.folder), "--side", str(options.side)]
    subprocess.run([*command, "--make"], check=True)  # a child's largest memory is at least that of its parent
    for name in READINGS:
        found = json.loads(
            subprocess.run([*command, "--read", name], check=True, capture_output=True, text=True).stdout
        )
        seconds = [f"{found[key]:6.1f} s {what}" for key, what in SECONDS.items()]
        print(f"{name:28} {', '.join(seconds)}, {found['memory_gib']:.2f} GiB", flush=True)


def texture(rows: int, columns: int) -> NDArray[np.uint16]:
    """Return noise around 1,500 with a standard deviation of 60, repeating a piece of 1,024 px."""
    piece = np.random.default_rng(1).normal(1_500, 60, (1_024, 1_024)).astype(np.uint16)
    return np.tile(piece, (-(-rows // 1_024), -(-columns // 1_024)))[:rows, :columns]


def radar_shape(side: int) -> tuple[int, int]:
    """Return lines and samples of a radar scene in proportion to the tile."""
    lines, pixels = (length * side // SIDE for length in RADAR_SHAPE)
    return lines, pixels


def place(side: int) -> GeoBox:
    """Return a tile in the middle of the radar scene."""
    lines, pixels = radar_shape(side)
    middle = RadarGeometry().place(np.array([lines / 2]), np.array([pixels / 2]))
    x, y = (round(float(axis[0]), -1) for axis in Transformer.from_crs(4326, 32633, always_xy=True).transform(*middle))
    return GeoBox((side, side), Affine(10, 0, x - 5 * side, 0, -10, y + 5 * side), 32633)


def make(folder: Path, side: int) -> None:
    """Write both products, and heights of 0 to 900 m."""
    corner = tuple(round(axis) for axis in (place(side).affine.c, place(side).affine.f))
    if not (folder / "S2").is_dir():
        sides = {band: side * 10 // PIXEL_M[band] for band in SENTINEL2.bands}
        bands = {each: texture(each, each) for each in set(sides.values())}
        product = OpticalProduct(tile="T33TVK", epsg=32633, corner=corner, offset=-1000, baseline="05.10")
        write_optical_product(folder / "S2", {band: bands[each] for band, each in sides.items()}, product)
    if not (folder / "S1").is_dir():
        write_radar_product(folder / "S1", dict.fromkeys(("VV", "VH"), texture(*radar_shape(side)) // 5), RADAR)
    if not (folder / "heights.tif").is_file():
        rows = -(-side // 3) + 440
        wide = GeoBox((rows, rows), Affine(30, 0, corner[0] - 6_600, 0, -30, corner[1] + 6_600), 32633)
        row, column = np.mgrid[:rows, :rows]
        hills = 450 * (1 + np.sin(row / 70) * np.sin(column / 90))
        write_geotiff(folder / "heights.tif", hills[None].astype(np.float32), ("height",), wide)


def measurements(start: float, opened: float) -> dict[str, float]:
    """Return time and memory of a reading."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cpu = time.process_time()
    return {"open_s": opened - start, "rows_s": time.perf_counter() - opened, "cpu_s": cpu, "memory_gib": memory}


def read_optical(folder: Path, side: int, resampling: str) -> dict[str, float]:
    """Read the optical product to its last row."""
    start = time.perf_counter()
    with open_optical(next((folder / "S2").iterdir()), resampling=resampling, work_folder=folder) as scene:
        opened = time.perf_counter()
        for top in range(0, side, 512):
            scene.read(top, min(top + 512, side))
        return measurements(start, opened)


def read_radar(folder: Path, side: int, heights: Path | None) -> dict[str, float]:
    """Read the radar product, on the optical grid, to its last row."""
    start = time.perf_counter()
    with open_radar(next((folder / "S1").iterdir()), place(side), heights=heights, work_folder=folder) as scene:
        opened = time.perf_counter()
        for top in range(0, side, 512):
            scene.read(top, min(top + 512, side))
        return measurements(start, opened)


READINGS = {
    "Sentinel-2, nearest": lambda folder, side: read_optical(folder, side, "nearest"),
    "Sentinel-2, bilinear": lambda folder, side: read_optical(folder, side, "bilinear"),
    "Sentinel-1, geolocation grid": lambda folder, side: read_radar(folder, side, None),
    "Sentinel-1, terrain": lambda folder, side: read_radar(folder, side, folder / "heights.tif"),
}


if __name__ == "__main__":
    main()
