"""The cloud map of a whole scene: time and peak memory of ``unclouded clouds`` in a separate process.

The scene is a mosaic of the ten real cloudy patches (folder ``triplets`` of the samples), 13 bands, of any size. The
ratio is that of processor times: of the s2cloudless package for the ten patches, on one thread, scaled to the pixels of
the scene, over that of the command for the scene, with reading, mapping, writing and verification.

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

from unclouded.clouds.s2cloudless import BANDS, package_probability
from unclouded.io.geotiff import read_stored
from unclouded.io.raster import read
from unclouded.io.rows import write_rows
from unclouded.sensors import SENTINEL2

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))


GOAL = 10
"""Lower than for detection alone (``clouds.py``), as reading, smoothing, writing and verification count, too."""


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
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s, peak_gib = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    package_s = package_seconds_a_pixel() * options.size**2
    raw_gib = options.size**2 * 13 * 2 / 2**30
    Console().print(
        f"{options.size} x {options.size} px, 13 bands ({raw_gib:.2f} GiB): {seconds:.0f} s by the clock, "
        f"{processor_s:.0f} s of processor time, peak {peak_gib:.2f} GiB; the package alone would take "
        f"{package_s:.0f} s of processor time"
    )
    figures = {"size_px": options.size, "seconds": round(seconds, 1), "processor_seconds": round(processor_s, 1)}
    result = {"name": "scene_clouds", "ratio": round(package_s / processor_s, 1), "goal": GOAL, "runs": 1}
    print(json.dumps({**result, "threads": os.cpu_count(), **figures, "peak_gib": round(peak_gib, 3)}))


def package_seconds_a_pixel() -> float:
    """Return the processor time of the package, mean over the ten patches."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by LightGBM when it is loaded, at the package's first call
    package_probability(np.zeros((10, 8, 8), np.float32), BANDS)
    patches = [read(file, SENTINEL2).select(BANDS).values for file in cloudy_patches()]
    started = time.process_time()
    for patch in patches:
        package_probability(patch, BANDS)
    return (time.process_time() - started) / sum(patch[0].size for patch in patches)


def cloudy_patches() -> list[Path]:
    return sorted((SAMPLES / "triplets" / "s2_cloudy").glob("*.tif"))


def write_mosaic(path: Path, size: int) -> None:
    """Return a mosaic of patches, each row shifted by one patch."""
    patches = [read_stored(file).values for file in cloudy_patches()]
    side = patches[0].shape[1]
    grid = GeoBox((size, size), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
    with write_rows(path, SENTINEL2.bands, grid, "uint16", nodata=0) as write:
        for row, top in enumerate(range(0, size, side)):
            line = [patches[(row + column) % len(patches)] for column in range(-(-size // side))]
            write(top, np.concatenate(line, axis=2)[:, : size - top, :size])


if __name__ == "__main__":
    main()
