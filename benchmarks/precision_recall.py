"""Improved precision and recall of 4096-d features: the package prdc and our screened search.

The features are simulated with a fixed seed: clusters in a subspace of 64 dimensions, with noise, through a ReLU, so
that part of each set lies on the manifold of the other. Both must give the same precision and recall. Times are
processor times, which are independent of other programs on the machine; the first run of each is not counted. Memory is
the peak resident size of our search minus the resident size before it, which includes the data (Linux only).

    python benchmarks/precision_recall.py [--images 7893] [--runs 3] [--screen float32]  last line: JSON
"""

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from jaxtyping import Float32
from prdc import compute_prdc
from rich.console import Console
from rich.table import Table

from unclouded.evaluation.precision_recall import fastest_screen, precision_recall

GOAL, GOAL_GIB = 4, 1.0
K, FEATURE, CLUSTERS, DIMENSIONS = 10, 4096, 40, 64

Features = Float32[np.ndarray, "image feature"]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--images", type=int, default=7_893)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--screen", choices=("float32", "bfloat16"), help="as on machines with another processor")
    options = words.parse_args()
    screen = getattr(torch, options.screen) if options.screen else fastest_screen()
    torch.set_num_threads(1)
    real, generated = simulate(options.images, 1, 0), simulate(options.images, 2, 10)
    tensors = torch.from_numpy(real), torch.from_numpy(generated)
    precision_recall(tensors[0][:50], tensors[1][:50], 3)  # compiles
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident_gib("VmRSS")
    ours = precision_recall(*tensors, K, precision=screen)
    memory = resident_gib("VmHWM") - before
    peer = prdc(real, generated)
    if (ours.precision, ours.recall) != (peer["precision"], peer["recall"]):
        raise SystemExit(f"the results differ: {ours.precision}, {ours.recall} and {peer}")
    pairs = [
        (seconds(lambda: prdc(real, generated)), seconds(lambda: precision_recall(*tensors, K, precision=screen)))
        for _ in range(options.runs)
    ]
    times = median(peer for peer, _ in pairs), median(project for _, project in pairs)
    show(options.images, times, memory, ours.precision, ours.recall)
    result = {
        "name": "precision_recall",
        "ratio": round(times[0] / times[1], 1),
        "goal": GOAL,
        "runs": options.runs,
        "threads": 1,
        "images": options.images,
        "screen": str(screen),
        "gib_above_data": round(memory, 2),
        "goal_gib": GOAL_GIB,
    }
    print(json.dumps(result))


def simulate(images: int, seed: int, first: int) -> Features:
    """Return features of 30 of the 40 clusters."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(0)
    centres = shared.standard_normal((CLUSTERS, DIMENSIONS), np.float32)
    basis = shared.standard_normal((DIMENSIONS, FEATURE), np.float32) / 8
    near = centres[rng.integers(first, first + 30, images)] + rng.standard_normal((images, DIMENSIONS), np.float32) / 2
    noise = rng.standard_normal((images, FEATURE), np.float32) / 5
    return np.maximum(near @ basis + noise - np.float32(0.3), 0)


def prdc(real: Features, generated: Features) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        found: dict[str, float] = compute_prdc(real, generated, K)
    return found


def resident_gib(entry: str) -> float:
    """Return the current (VmRSS) or the peak (VmHWM) resident size."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")) / 2**20


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def show(images: int, times: tuple[float, float], memory: float, precision: float, recall: float) -> None:
    table = Table("images", "prdc s", "project s", "ratio", "GiB above data", "precision", "recall")
    numbers = (f"{times[0]:.2f}", f"{times[1]:.2f}", f"{times[0] / times[1]:.1f}", f"{memory:.2f}")
    table.add_row(f"2 x {images:,}", *numbers, f"{precision:.4f}", f"{recall:.4f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
