"""Time and memory of a whole scene, from two GeoTIFFs to the products, and of eager float32 with s2cloudless.

The scene is a mosaic of the ten real triplets (folder ``triplets`` of the samples), processed by a network of full
width with random weights in a separate process. The ratio is that of processor times. The peer maps the ten patches
with the s2cloudless package and processes one of the scene's windows, margins included, with the plain network in eager
float32; both are scaled to the pixels of the scene. It reads and writes nothing.

    python benchmarks/scene.py [--size 2745] [--window 1024] [--width 64] [--folder FOLDER]
        [--engine openvino] [--precision int8]
    python benchmarks/scene.py --without-weights --curve 10980      best remover without weights for the scene, 13 bands
    python benchmarks/scene.py --curve 2048 4096 8192 10980        seconds and peak memory by size, without the peer

The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from rich.console import Console

from unclouded.clouds.s2cloudless import BANDS, package_probability
from unclouded.io.geotiff import read_stored
from unclouded.io.raster import read
from unclouded.io.rows import write_rows
from unclouded.models.inference import MARGIN_PX, Engine, Precision
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.weights import save_weights
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.tensors.observation import Observation

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data")) / "triplets"
GOAL = 8


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--size", type=int, default=2745, help="a quarter of the side of a Sentinel-2 tile")
    words.add_argument("--window", type=int, default=1024)
    words.add_argument("--width", type=int, default=64)
    words.add_argument("--resolution", type=int, default=10, help="pixel size of the product, 10 or 20 m")
    words.add_argument("--folder", type=Path)
    words.add_argument("--without-weights", action="store_true", help="the best remover without weights, 13 bands")
    words.add_argument("--engine", choices=get_args(Engine), default="torch")
    words.add_argument("--precision", choices=get_args(Precision), default="auto")
    words.add_argument("--curve", type=int, nargs="+", metavar="SIZE")
    options = words.parse_args()
    sizes = options.curve or [options.size]
    how = ("--window", str(options.window), "--engine", options.engine, "--precision", options.precision)
    how += ("--resolution", str(options.resolution))
    width = None if options.without_weights else options.width
    measured = [measure(size, width, options.folder, how) for size in sizes]
    last: dict[str, Any] = {"name": "scene", "goal": GOAL, "runs": 1, "threads": torch.get_num_threads()}
    if options.curve:
        print(json.dumps({**last, "name": "scene_curve", "ratio": 0, "goal": 0, "curve": measured}))
        return
    package, network = peer_seconds_a_pixel(options.window, options.width)
    peer = (package + network) * options.size**2
    Console().print(
        f"the peer: {package * options.size**2:.0f} s for the package's map, {network * options.size**2:.0f} s for "
        f"eager float32, of processor time; ratio {peer / measured[0]['processor_seconds']:.2f}"
    )
    ratio = round(peer / measured[0]["processor_seconds"], 2)
    print(json.dumps({**last, "ratio": ratio, "peer_map_s": round(package * options.size**2, 1), **measured[0]}))


def measure(size: int, width: int | None, folder: Path | None, how: Sequence[str]) -> dict[str, Any]:
    """Process a mosaic in a separate process with the given options of ``predict``; without a width, no network."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        place = Path(temporary)
        write_mosaic(place / "s2.tif", SAMPLES / "s2_cloudy", size)
        write_mosaic(place / "s1.tif", SAMPLES / "s1", size)
        remover = ["--bands", "all"] if width is None else [str(_random_weights(place / "random.safetensors", width))]
        command = [sys.executable, "-m", "unclouded", "predict", *remover]
        command += ["--cloudy", str(place / "s2.tif"), "--sar", str(place / "s1.tif")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run([*command, "--out", str(place / "out"), *how], check=True)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads((place / "out" / "summary.json").read_text())
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    share, peak = summary["pixels"]["cloudy_share"], used.ru_maxrss / 2**20
    stages = {stage: round(spent, 1) for stage, spent in summary["seconds"].items()}
    Console().print(
        f"{size} x {size} px, {100 * share:.0f} % cloudy: {seconds:.0f} s by the clock, {processor:.0f} s of processor "
        f"time, peak {peak:.2f} GiB; by the clock {stages}"
    )
    return {
        "size_px": size,
        **dict(zip((one.removeprefix("--") for one in how[::2]), how[1::2], strict=True)),
        "width": width,
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "peak_gib": round(peak, 3),
        "cloudy_share": round(share, 4),
        "stages": stages,
    }


def _random_weights(path: Path, width: int) -> Path:
    settings = NetworkSettings(width=width)
    torch.manual_seed(0)
    save_weights(path, settings.build(), settings, {})
    return path


def peer_seconds_a_pixel(window: int, width: int) -> tuple[float, float]:
    """Return the processor time of the package, and of the plain network on a window with its margins."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by LightGBM when it is loaded, at the package's first call
    package_probability(np.zeros((10, 8, 8), np.float32), BANDS)
    patches = [read(file, SENTINEL2).select(BANDS).values for file in sorted((SAMPLES / "s2_cloudy").glob("*.tif"))]
    started = time.process_time()
    for patch in patches:
        package_probability(patch, BANDS)
    package = (time.process_time() - started) / sum(patch[0].size for patch in patches)
    settings, side = NetworkSettings(width=width), window + 2 * MARGIN_PX
    plain = NetworkRemover(settings.build(), settings)
    images = (torch.rand(1, channels, side, side) for channels in (2, 3, 1))
    seen = Observation(*images, settings.bands)
    plain(seen)
    started = time.process_time()
    plain(seen)
    return package, (time.process_time() - started) / window**2


def write_mosaic(path: Path, folder: Path, size: int) -> None:
    """Return a mosaic of patches, each row shifted by one patch."""
    patches = [read_stored(file).values for file in sorted(folder.glob("*.tif"))]
    side, sensor = patches[0].shape[1], SENTINEL1 if len(patches[0]) == 2 else SENTINEL2
    grid = GeoBox((size, size), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32632")
    with write_rows(path, sensor.bands, grid, patches[0].dtype, nodata=0 if sensor is SENTINEL2 else None) as write:
        for row, top in enumerate(range(0, size, side)):
            line = [patches[(row + column) % len(patches)] for column in range(-(-size // side))]
            write(top, np.concatenate(line, axis=2)[:, : size - top, :size])


if __name__ == "__main__":
    main()
