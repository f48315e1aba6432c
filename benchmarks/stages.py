"""Cost of one Sentinel-2 tile by stage, and of all land tiles: processor time, bytes in and out.

The input are simulated products, half under clouds: Sentinel-2 in JPEG 2000, and a larger Sentinel-1 scene, in the
proportion of a real one to a tile (16,685 x 25,788 px to 10,980 x 10,980). Every stage runs as in the commands, on one
thread, in two sizes. Processor times and bytes are extrapolated to a tile as a constant and a share proportional to the
pixels; stages on patches by the number of patches, the adaptation of a remover by the 25 windows of 256 px of its
sample, the comparison of radar and optical image by its 25 blocks of 512 px. Every window has clouds, so the cost of
their removal is an upper limit: windows without clouds cost nothing.

    python benchmarks/stages.py [--sizes 600 1980] [--width 64] [--folder FOLDER]     the last line is one JSON object
    python benchmarks/stages.py --patches      the stages of curation only

``benchmarks/tables/tiles.py`` writes the tables of docs/scale.md from its results.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from unclouded.clouds.map import CloudMapSettings
from unclouded.curation.region_task import curating
from unclouded.curation.regions import CurationSettings
from unclouded.files import content_hash
from unclouded.io.geotiff import write_geotiff
from unclouded.io.raster import to_stored
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.remover import CloudRemover
from unclouded.patches.cutting import PATCH_PX, STRIDE_PX
from unclouded.patches.reading import TOKENS
from unclouded.patches.roi import Roi
from unclouded.prediction.auto_remover import auto_remover
from unclouded.prediction.scene import SceneSettings, predict_scene
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.sentinel.optical import open_optical
from unclouded.sentinel.radar import open_radar
from unclouded.settings import settings_from
from unclouded.simulation.region import simulate_region

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # generators of simulated products
from products.optical_product import PIXEL_M, OpticalProduct, write_optical_product
from products.radar_product import RadarGeometry, RadarProduct, write_radar_product

TILE_PX = 10_980
RADAR_PX = (16_685, 25_788)
"""Lines and samples of a Sentinel-1 scene, IW GRD in high resolution."""
BLOCKS = 25
"""Largest number of pixels of a tile in which radar and optical image are compared."""
SAMPLE_PX = 25 * 256**2
"""Number of pixels of the sample to which a remover is adapted; a scene of at most 1280 px is its own sample."""
RADAR = RadarProduct(sigma_slopes=(0.0, -0.006), noise_slopes=(0.0, -2e-5))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--sizes", type=int, nargs=2, default=(600, 1980), help="pixels, multiples of 6 up to 2000")
    words.add_argument("--width", type=int, default=64)
    words.add_argument("--folder", type=Path)
    words.add_argument("--patches", action="store_true", help="measure the stages of curation only")
    options = words.parse_args()
    torch.set_num_threads(1)
    found = measured(options.sizes, options.width, options.folder, curated if options.patches else cost_of)
    for stage, seconds in found["cpu_s_a_tile"].items():
        print(f"{stage:50} {seconds:10,.0f} s of processor time a tile")
    for name, count in found["bytes_a_tile"].items():
        print(f"{name:50} {count / 1e9:10.2f} GB a tile")
    print(json.dumps(found))


def measured(
    sizes: tuple[int, int], width: int, folder: Path | None, cost: Callable[["Place", int], "Cost"]
) -> dict[str, Any]:
    costs = []
    for size in (min(sizes), *sorted(sizes)):  # the first run imports and compiles, and does not count
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            place = Place.made(Path(temporary), size)
            costs.append(cost(place, width))
    _, small, large = costs
    stages = {name: on_a_tile(name, small.seconds[name], large.seconds[name], *sorted(sizes)) for name in large.seconds}
    counts = {name: on_a_tile(name, small.bytes[name], large.bytes[name], *sorted(sizes)) for name in large.bytes}
    return {
        "name": "stages",
        "ratio": 0,
        "goal": 0,
        "runs": 1,
        "threads": 1,
        "sizes_px": sorted(sizes),
        "width": width,
        "cpu_s_a_tile": {stage: round(seconds, 1) for stage, seconds in stages.items()},
        "bytes_a_tile": {name: round(count) for name, count in counts.items()},
        "gflop_a_mpx": round(gflop_a_mpx(width), 1),
    }


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time by stage, and bytes by kind of data."""

    seconds: dict[str, float]
    bytes: dict[str, float]


def on_a_tile(name: str, small: float, large: float, small_px: int, large_px: int) -> float:
    """Extrapolate a cost to a whole tile."""
    if name.startswith("adapt"):
        return large * max(1.0, SAMPLE_PX / large_px**2)
    if name.startswith("compare"):
        return large * BLOCKS / min(BLOCKS, (large_px // 512) ** 2)
    if "patches" in name:
        return large * ((TILE_PX - PATCH_PX) // STRIDE_PX + 1) ** 2
    a_pixel = (large - small) / (large_px**2 - small_px**2)
    return large + a_pixel * (TILE_PX**2 - large_px**2)


class Place:
    """Products of a simulated region, and the same images as GeoTIFFs on one grid."""

    def __init__(self, folder: Path, size: int, optical: Path, radar: Path, grid: GeoBox) -> None:
        self.folder, self.size, self.optical, self.radar, self.grid = folder, size, optical, radar, grid
        self.heights = folder / "heights.tif"
        files = [path for product in (optical, radar) for path in product.rglob("*") if path.is_file()]
        self.bytes_in = sum(path.stat().st_size for path in files)

    @classmethod
    def made(cls, folder: Path, size: int) -> "Place":
        rng = np.random.default_rng(0)
        region = simulate_region(Roi("ROIs0000", "summer", 1), rng, size, coverage=0.45)
        stored = to_stored(region.cloudy.values, SENTINEL2).astype(np.uint16)
        shape = tuple(round(side * size / TILE_PX) for side in RADAR_PX)
        middle = RadarGeometry().place(np.array([shape[0] / 2]), np.array([shape[1] / 2]))
        x, y = (
            round(float(axis[0]), -1) for axis in Transformer.from_crs(4326, 32633, always_xy=True).transform(*middle)
        )
        corner = (round(x - 5 * size), round(y + 5 * size))
        grid = GeoBox((size, size), Affine(10, 0, corner[0], 0, -10, corner[1]), 32633)
        bands = {
            band: coarse(values, PIXEL_M[band] // 10) for band, values in zip(SENTINEL2.bands, stored, strict=True)
        }
        product = OpticalProduct(tile="T33TVK", epsg=32633, corner=corner)
        optical = write_optical_product(folder, bands, product)
        numbers = rng.normal(300, 60, shape).clip(1).astype(np.uint16)
        radar = write_radar_product(folder, dict.fromkeys(("VV", "VH"), numbers), RADAR)
        made = cls(folder, size, optical, radar, grid)
        wide = GeoBox((size // 2, size // 2), Affine(30, 0, corner[0] - 2_500, 0, -30, corner[1] + 2_500), 32633)
        row, column = np.mgrid[: size // 2, : size // 2]
        hills = 450 * (1 + np.sin(row / 70) * np.sin(column / 90))
        write_geotiff(made.heights, hills[None].astype(np.float32), ("height",), wide)
        clear = to_stored(region.clear.values, SENTINEL2)
        for name, values, kind in (("cloudy", stored, SENTINEL2), ("clear", clear, SENTINEL2)):
            write_geotiff(folder / f"{name}.tif", values, kind.bands, grid, nodata=0)
        write_geotiff(folder / "radar.tif", region.sar.values, SENTINEL1.bands, grid)
        return made


def coarse(values: np.ndarray, times: int) -> np.ndarray:
    """Return the means of blocks, as in a band of larger pixels."""
    rows, columns = (side // times for side in values.shape)
    blocks = values[: rows * times, : columns * times].reshape(rows, times, columns, times)
    return np.asarray(np.rint(blocks.mean(axis=(1, 3))), np.uint16)


def read(place: Place, product: str) -> None:
    """Read a product to its last row."""
    opened = {
        "optical": lambda: open_optical(place.optical, work_folder=place.folder),
        "placed": lambda: open_radar(place.radar, place.grid, work_folder=place.folder),
        "terrain": lambda: open_radar(place.radar, place.grid, heights=place.heights, work_folder=place.folder),
    }[product]
    with opened() as scene:
        for top in range(0, place.size, 512):
            scene.read(top, min(top + 512, place.size))


def cost_of(place: Place, width: int) -> Cost:
    """Return the cost of every stage at the size of the region; for patches, that of each."""
    seconds = {
        "hash both products": spent(lambda: [content_hash(place.optical), content_hash(place.radar)]),
        "read Sentinel-2": spent(lambda: read(place, "optical")),
        "read Sentinel-1, geolocation grid": spent(lambda: read(place, "placed")),
        "read Sentinel-1, terrain": spent(lambda: read(place, "terrain")),
    }
    counts = {"in": float(place.bytes_in)}
    for name, remover, mode in (("scene-adapted", auto_remover(), "continuous"), ("network", fresh(width), "ones")):
        cost = predicted(place, name, remover, mode)
        seconds, counts = seconds | cost.seconds, counts | cost.bytes
    cost = curated(place, width)
    return Cost(seconds | cost.seconds, counts | cost.bytes)


def predicted(place: Place, name: str, remover: CloudRemover, mode: str) -> Cost:
    """Measure the stages of ``predict`` after opening both images."""
    settings = SceneSettings(clouds=CloudMapSettings(mode=mode))  # type: ignore[arg-type]
    cleared = predict_scene(remover, place.optical, place.radar, place.folder / name, settings, clock=time.process_time)
    spent = cleared.summary["seconds"]
    seconds = {"map clouds": spent["mapping"], "compare radar and optics": spent["comparing"]}
    seconds = {} if mode == "ones" else seconds
    seconds |= {f"adapt, {name}": spent["adapting"], f"clear, {name}": spent["clearing"]}
    seconds |= {f"write products, {name}": spent["writing"]}
    return Cost(seconds, {name: float(sum(one["bytes"] for one in cleared.summary["files"].values()))})


def curated(place: Place, width: int) -> Cost:
    """Measure the stages of ``curate`` on images on one grid, per patch, whatever the width of a network."""
    region = {"roi": "ROIs0000_summer_1"} | {name: f"{name}.tif" for name in ("radar", "clear", "cloudy")}
    found, rows = {}, []
    for coverage in (False, True):
        settings = settings_from(CurationSettings, {"regions": [region], "coverage": coverage})
        (task,) = curating(settings, place.folder, place.folder / f"root-{coverage}")
        began = time.process_time()
        rows = task.run()
        found[coverage] = (time.process_time() - began) / len(rows)
    sizes = [sum(row[f"{token}_bytes"] for token in TOKENS) for row in rows if row["status"] == "kept"]
    if not sizes:
        raise SystemExit(f"no patch was kept: {rows[0]['reason']}")
    seconds = {
        "cut, screen, write and hash patches": found[False],
        "map the clouds of patches": found[True] - found[False],
    }
    return Cost(seconds, {"patches": float(median(sizes))})


def fresh(width: int) -> NetworkRemover:
    """Return a network with random weights, which takes as long as a trained one."""
    torch.manual_seed(0)
    settings = NetworkSettings(width=width)
    return NetworkRemover(settings.build(), settings)


def gflop_a_mpx(width: int) -> float:
    """Return the operations of the generator for a million pixels, counted by torch; a multiply-add is two."""
    from torch.utils.flop_counter import FlopCounterMode

    generator = NetworkSettings(width=width).build()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(*(torch.zeros(1, channels, 256, 256) for channels in (3, 3, 1)))
    return counter.get_total_flops() / 256**2 / 1e3


def spent(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
