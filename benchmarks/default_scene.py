"""Default path of ``predict`` against an earlier commit, and against GDAL alone, which reads and writes the same files.

The scene is a mosaic of the ten real triplets (folder ``triplets`` of the samples), 13 bands, predicted without
weights: product map, choice of the remover, ``scene-adapted``. The earlier code is taken from the history of this
repository. GDAL's floor decodes both images and encodes the same products, without any processing in between. All
three run in separate processes, in turn; times are processor times of the process and its children, user and system,
after a small scene for which everything is compiled. The ratio is that of the earlier commit and the present code.

    python benchmarks/default_scene.py [--size 2745] [--runs 1] [--threads 1] [--base REV] [--folder FOLDER]
    python benchmarks/default_scene.py --busy    one thread and two, quiet and beside a process that is always busy

The last line is one JSON object.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median

import rasterio
from rich.console import Console
from scene import SAMPLES, write_mosaic

HERE = Path(__file__).parents[1]
BASE = "cac9983"
"""Last commit before the arithmetic of this path was compiled and its files were written once."""
GOAL, FLOOR_GOAL, BUSY_GOAL = 3, 3, 1.3
WARM_PX = 512

FLOOR = """
import sys
from pathlib import Path
import rasterio, rasterio.shutil
raw, out, *images = map(Path, sys.argv[1:])
for image in images:
    with rasterio.open(image) as opened:
        for _, window in opened.block_windows(1):
            opened.read(window=window)
for layer in raw.glob("*.tif"):
    with rasterio.open(layer) as opened:
        compress, predictor = opened.tags()["COMPRESS"], opened.tags()["PREDICTOR"]
    options = {"compress": compress, "predictor": predictor, "blocksize": 512, "num_threads": 1}
    rasterio.shutil.copy(layer, out / layer.name, driver="COG", **options)
"""


@dataclass(frozen=True)
class Cost:
    """Cost of one process.

    Attributes:
        processor_s: User and system time with that of its children, seconds.
        wall_s: Wall-clock time, seconds.
        peak_gib: Largest resident memory.
    """

    processor_s: float
    wall_s: float
    peak_gib: float


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--size", type=int, default=2745, help="a quarter of the side of a Sentinel-2 tile")
    words.add_argument("--runs", type=int, default=1)
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--base", default=BASE, metavar="REV", help="commit to compare with")
    words.add_argument("--busy", action="store_true", help="compare one thread with two on a shared machine")
    words.add_argument("--folder", type=Path)
    options = words.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        place = Path(temporary)
        for size in (WARM_PX, options.size):
            for name, sensor in (("s2", "s2_cloudy"), ("s1", "s1")):
                (place / str(size)).mkdir(exist_ok=True)
                write_mosaic(place / str(size) / f"{name}.tif", SAMPLES / sensor, size)
        result = shared(place, options) if options.busy else compared(place, options)
    print(json.dumps(result | {"runs": options.runs, "size_px": options.size}))


def compared(place: Path, options: argparse.Namespace) -> dict[str, object]:
    """Measure the earlier commit, the present code and the floor in turn."""
    earlier = checked_out(options.base, place / "earlier")
    for code in (earlier, HERE):
        predict(code, place / str(WARM_PX), place / "out", options.threads)
    uncompressed(place / "out", place / "warm")
    images = [place / str(options.size) / f"{name}.tif" for name in ("s2", "s1")]
    ways: dict[str, Callable[[], Cost]] = {
        "earlier": lambda: predict(earlier, images[0].parent, place / "out_earlier", options.threads),
        "now": lambda: predict(HERE, images[0].parent, place / "out", options.threads),
        "floor": lambda: floor(place / "out", place, images),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(options.runs):
        for name, run in ways.items():
            costs[name].append(run())
    seconds = {name: round(median(one.processor_s for one in each), 1) for name, each in costs.items()}
    stages = json.loads((place / "out" / "summary.json").read_text())["seconds"]
    ratio, to_floor = seconds["earlier"] / seconds["now"], seconds["now"] / seconds["floor"]
    Console().print(
        f"{options.size} px, {options.threads} thread(s): commit {options.base} {seconds['earlier']} s, now "
        f"{seconds['now']} s, GDAL alone {seconds['floor']} s of processor time; earlier / now {ratio:.2f} (goal "
        f"{GOAL}), now / GDAL {to_floor:.2f} (goal {FLOOR_GOAL})"
    )
    return {
        "name": "default_scene",
        "ratio": round(ratio, 2),
        "goal": GOAL,
        "threads": options.threads,
        "floor_ratio": round(to_floor, 2),
        "floor_goal": FLOOR_GOAL,
        "base": options.base,
        "processor_s": seconds,
        "wall_s": {name: round(median(one.wall_s for one in each), 1) for name, each in costs.items()},
        "peak_gib": {name: max(one.peak_gib for one in each) for name, each in costs.items()},
        "wall_s_by_stage": {stage: round(value, 1) for stage, value in stages.items()},
    }


def shared(place: Path, options: argparse.Namespace) -> dict[str, object]:
    """Measure one thread and two, alone and beside a process that is always busy."""
    found: dict[str, list[float]] = {}
    for threads in (1, 2):
        predict(HERE, place / str(WARM_PX), place / "out", threads)
    for _ in range(options.runs):
        for busy in (False, True):
            for threads in (1, 2):
                with busy_process() if busy else no_process():
                    cost = predict(HERE, place / str(options.size), place / "out", threads)
                name = f"{'busy' if busy else 'quiet'}, {threads} thread{'s' if threads > 1 else ''}"
                found.setdefault(name, []).append(cost.processor_s)
    seconds = {name: round(median(each), 1) for name, each in found.items()}
    ratio = seconds["busy, 2 threads"] / seconds["busy, 1 thread"]
    Console().print(
        f"seconds of processor time {seconds}; beside a busy process two threads take {ratio:.2f} times one"
    )
    return {
        "name": "default_scene_busy",
        "ratio": round(ratio, 2),
        "goal": BUSY_GOAL,
        "threads": 2,
        "processor_s": seconds,
    }


def checked_out(revision: str, folder: Path) -> Path:
    """Return a folder with the source of a commit of this repository."""
    packed = subprocess.run(["git", "-C", HERE, "archive", revision, "src"], check=True, stdout=subprocess.PIPE)
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def predict(code: Path, images: Path, out: Path, threads: int) -> Cost:
    """Run ``predict`` of a source tree with its defaults and all bands."""
    shutil.rmtree(out, ignore_errors=True)
    number = str(threads)
    environment = os.environ | {"PYTHONPATH": str(code / "src"), "OMP_NUM_THREADS": number, "NUMBA_NUM_THREADS": number}
    command = [sys.executable, "-m", "unclouded", "-q", "predict", "--bands", "all"]
    command += ["--cloudy", str(images / "s2.tif"), "--sar", str(images / "s1.tif"), "--out", str(out)]
    return cost_of(command, environment)


def floor(products: Path, place: Path, images: list[Path]) -> Cost:
    """Let GDAL read the images and write the products."""
    raw, out = place / "raw", place / "floor"
    uncompressed(products, raw)
    out.mkdir(exist_ok=True)
    return cost_of([sys.executable, "-c", FLOOR, *map(str, (raw, out, *images))], dict(os.environ))


def uncompressed(products: Path, folder: Path) -> None:
    """Write the products of a scene without compression, which is cheap to read."""
    folder.mkdir(exist_ok=True)
    for path in products.glob("*.tif"):
        with rasterio.open(path) as opened:
            kept = ("dtype", "nodata", "width", "height", "count", "crs", "transform")
            profile = {name: opened.profile[name] for name in kept}
            jpeg = opened.compression.name == "jpeg"
            tags = {"COMPRESS": opened.compression.value, "PREDICTOR": "no" if jpeg else "yes"}
            with rasterio.open(folder / path.name, "w", driver="GTiff", **profile) as written:
                written.write(opened.read())
                written.update_tags(**tags)


def cost_of(command: list[str], environment: dict[str, str]) -> Cost:
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if process.wait() or status:
        raise SystemExit(f"ended with status {status}: {' '.join(command)[:200]}")
    wall = time.perf_counter() - started
    return Cost(round(used.ru_utime + used.ru_stime, 1), round(wall, 1), round(used.ru_maxrss / 2**20, 2))


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one processor busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def no_process() -> Iterator[None]:
    yield


if __name__ == "__main__":
    main()
