"""Cloud probability of real patches: the s2cloudless package and our evaluation of its model.

Both process each cloudy image of the real triplets (folder ``triplets`` of the samples) in turn, each on one thread;
their results must agree to the last bit. Times are processor times, which are independent of other programs on the
machine. Then one larger image of all patches is processed on one and on two threads, in wall-clock time.

    python benchmarks/clouds.py [--runs 3]         the last line is one JSON object
    python benchmarks/clouds.py --resolution       effect of detection at 20 m or 60 m on the paper's map
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Literal

import numba
import numpy as np
from jaxtyping import Float32
from rich.console import Console
from rich.table import Table

from unclouded.clouds.map import CloudMapSettings, cloud_map, cloudy_share, mean_coverage
from unclouded.clouds.s2cloudless import BANDS, package_probability, s2cloudless_probability
from unclouded.io.raster import read
from unclouded.sensors import SENTINEL2

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
GOAL = 30

Image = Float32[np.ndarray, "band y x"]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--resolution", action="store_true")
    options = words.parse_args()
    patches = {
        path.stem: read(path, SENTINEL2).select(BANDS).values
        for path in sorted((SAMPLES / "triplets" / "s2_cloudy").glob("*.tif"))
    }
    if options.resolution:
        compare_resolutions(patches)
    else:
        compare_speed(patches, options.runs)


def compare_speed(patches: dict[str, Image], runs: int) -> None:
    one_thread()
    first_call = seconds(lambda: s2cloudless_probability(np.zeros((10, 8, 8), np.float32), BANDS), time.perf_counter)
    package_probability(np.zeros((10, 8, 8), np.float32), BANDS)
    rows = {name: time_patch(image, runs) for name, image in patches.items()}
    show(rows)
    peer = median(peer for peer, _ in rows.values())
    project = median(project for _, project in rows.values())
    large = np.concatenate(list(patches.values()), axis=1)
    scaling = time_threads(large, runs)
    print(f"first call, with loading and compiling if need be: {first_call:.1f} s")
    print(f"{large[0].size / 1e6:.2f} Mpx in one image: two threads are {scaling:.2f} times as fast as one")
    result = {"name": "clouds", "ratio": round(peer / project, 1), "goal": GOAL, "runs": runs, "threads": 1}
    print(json.dumps(result))


def one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read by LightGBM when it is loaded, at the package's first call
    numba.config.NUMBA_NUM_THREADS = 1


def time_patch(image: Image, runs: int) -> tuple[float, float]:
    """Return the median seconds of the package and of the project, measured in turn."""
    if not np.array_equal(package_probability(image, BANDS), s2cloudless_probability(image, BANDS)):
        raise SystemExit("the results differ")
    pairs = [
        (seconds(lambda: package_probability(image, BANDS)), seconds(lambda: s2cloudless_probability(image, BANDS)))
        for _ in range(runs)
    ]
    return median(peer for peer, _ in pairs), median(project for _, project in pairs)


def time_threads(image: Image, runs: int) -> float:
    """Return the speed-up of two threads over one in wall-clock time; medians, measured in turn."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(2 * runs + 1):
        for threads, taken in times.items():
            numba.config.NUMBA_NUM_THREADS = threads
            taken.append(seconds(lambda: s2cloudless_probability(image, BANDS), time.perf_counter))
    return median(times[1]) / median(times[2])


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    start = clock()
    work()
    return clock() - start


def show(rows: dict[str, tuple[float, float]]) -> None:
    table = Table("patch", "package s", "project s", "ratio", title="Cloud probability on one thread, medians")
    for name, (peer, project) in rows.items():
        table.add_row(name, f"{peer:.3f}", f"{project:.4f}", f"{peer / project:.1f}")
    Console(width=100).print(table)


def compare_resolutions(patches: dict[str, Image]) -> None:
    columns = ("metres", "same m > 0", "mean |difference| of m", "mean m", "share m > 0")
    table = Table(*columns, title="The paper's map when the detector looks at larger pixels, means over patches")
    exact = [cloud_map(image, BANDS) for image in patches.values()]
    for metres in (10, 20, 60):
        coarse = [map_at(image, metres) for image in patches.values()]
        same = np.mean([(a > 0) == (b > 0) for a, b in zip(exact, coarse, strict=True)])
        difference = np.mean([np.abs(a - b) for a, b in zip(exact, coarse, strict=True)])
        mean, share = np.mean([mean_coverage(m) for m in coarse]), np.mean([cloudy_share(m) for m in coarse])
        table.add_row(str(metres), f"{same:.4f}", f"{difference:.4f}", f"{mean:.4f}", f"{share:.4f}")
    Console(width=100).print(table)


def map_at(image: Image, metres: Literal[10, 20, 60]) -> Float32[np.ndarray, "y x"]:
    return cloud_map(image, BANDS, CloudMapSettings(resolution_m=metres))


if __name__ == "__main__":
    main()
