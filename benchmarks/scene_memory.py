"""Peak memory of ``predict`` for all 13 bands in two lines of windows of a tile's width, in a separate process.

Memory grows with the width of a scene, and hardly with its height or the number of its cloudy windows, of which one is
predicted at a time. So the scene is a mosaic of the ten real triplets (folder ``triplets`` of the samples) of 10,980
columns and two lines of windows, each with one cloudy window by a user's cloud map. The ratio is that of the goal and
the peak.

    python benchmarks/scene_memory.py [--width 10980] [--uncertainty] [--folder FOLDER]    one JSON object at the end
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scene import SAMPLES

from unclouded.io.geotiff import read_stored
from unclouded.io.rows import write_rows
from unclouded.sensors import SENTINEL1, SENTINEL2, Sensor

GOAL_GIB, GOAL_WITH_UNCERTAINTY_GIB = 3.0, 4.0
WINDOW_PX, ROWS, CLOUD_PX = 1024, 2100, 900


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--width", type=int, default=10_980)
    words.add_argument("--uncertainty", action="store_true")
    words.add_argument("--folder", type=Path)
    options = words.parse_args()
    goal = GOAL_WITH_UNCERTAINTY_GIB if options.uncertainty else GOAL_GIB
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        grid = GeoBox((ROWS, options.width), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
        write_mosaic(folder / "s2.tif", "s2_cloudy", SENTINEL2, grid)
        write_mosaic(folder / "s1.tif", "s1", SENTINEL1, grid)
        write_map(folder / "m.tif", grid)
        command = [sys.executable, "-m", "unclouded", "predict", "scene-adapted", "--bands", "all"]
        command += ["--cloudy", str(folder / "s2.tif"), "--sar", str(folder / "s1.tif")]
        command += ["--cloud-map", str(folder / "m.tif"), "--out", str(folder / "out")]
        subprocess.run([*command, *(["--uncertainty"] if options.uncertainty else [])], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak_gib = used.ru_maxrss / 2**20
    result = {"name": "scene_memory", "ratio": round(goal / peak_gib, 2), "goal": 1, "runs": 1}
    figures = {"width_px": options.width, "uncertainty": options.uncertainty, "peak_gib": round(peak_gib, 2)}
    print(json.dumps({**result, "threads": os.cpu_count(), **figures}))


def write_mosaic(path: Path, folder: str, sensor: Sensor, grid: GeoBox) -> None:
    """Write a mosaic of patches, each row shifted by one patch."""
    patches = [read_stored(file).values for file in sorted((SAMPLES / folder).glob("*.tif"))]
    side, (height, width) = patches[0].shape[1], grid.shape
    with write_rows(path, sensor.bands, grid, patches[0].dtype, nodata=0 if sensor is SENTINEL2 else None) as write:
        for row, top in enumerate(range(0, height, side)):
            line = [patches[(row + column) % len(patches)] for column in range(-(-width // side))]
            write(top, np.concatenate(line, axis=2)[:, : height - top, :width])


def write_map(path: Path, grid: GeoBox) -> None:
    """Write a map with a cloud in the middle of each line of windows."""
    m = np.zeros((1, *grid.shape), np.uint8)
    left = (grid.shape[1] - CLOUD_PX) // 2
    for top in range(60, ROWS - CLOUD_PX, WINDOW_PX):
        m[:, top : top + CLOUD_PX, left : left + CLOUD_PX] = 1
    with write_rows(path, ("m",), grid, "uint8") as write:
        write(0, m)


if __name__ == "__main__":
    main()
