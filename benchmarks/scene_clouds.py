"""The cloud map of a whole scene: seconds and peak memory of ``unclouded clouds``, in a process of its own.

The scene is a mosaic of the ten real cloudy patches (folder ``triplets`` of the samples), 13 bands, as large as asked.

    python benchmarks/scene_clouds.py [--size 10980] [--folder FOLDER]      the last line is one JSON object
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rich.console import Console

from unclouded.geotiff import read_stored
from unclouded.sensors import SENTINEL2
from unclouded.strips import write_rows

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--size", type=int, default=10_980)
    words.add_argument("--folder", type=Path, default=None)
    options = words.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        scene = Path(folder) / "scene.tif"
        write_mosaic(scene, options.size)
        started = time.perf_counter()
        out = str(Path(folder) / "m.tif")
        subprocess.run([sys.executable, "-m", "unclouded", "clouds", str(scene), "--out", out], check=True)
        seconds = time.perf_counter() - started
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    raw_gib = options.size**2 * 13 * 2 / 2**30
    Console().print(
        f"{options.size} x {options.size} px, 13 bands ({raw_gib:.2f} GiB): {seconds:.0f} s, peak {peak_gib:.2f} GiB"
    )
    figures = {"size_px": options.size, "seconds": round(seconds, 1), "peak_gib": round(peak_gib, 3)}
    print(json.dumps({"name": "scene_clouds", **figures, "threads": os.cpu_count(), "runs": 1}))


def write_mosaic(path: Path, size: int) -> None:
    """Patches side by side, each row of them shifted by one."""
    patches = [read_stored(file).values for file in sorted((SAMPLES / "triplets" / "s2_cloudy").glob("*.tif"))]
    side = patches[0].shape[1]
    grid = GeoBox((size, size), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
    with write_rows(path, SENTINEL2.bands, grid, "uint16", nodata=0) as write:
        for row, top in enumerate(range(0, size, side)):
            line = [patches[(row + column) % len(patches)] for column in range(-(-size // side))]
            write(top, np.concatenate(line, axis=2)[:, : size - top, :size])


if __name__ == "__main__":
    main()
