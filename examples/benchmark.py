"""Train the paper's network on SEN12MS-CR, compare it with baselines region by region, and rank them.

    python examples/benchmark.py OUT [SEN12MS-CR]

Without a data set six simulated regions stand for it, named as regions of the official split, and a minute of training
for the paper's week.
"""

import sys
from pathlib import Path

import numpy as np

import unclouded as uc
from unclouded.simulation import simulate_region, write_region
from unclouded.training import train_settings


def simulate(root: Path, size_px: int = 512) -> None:
    """Write three regions of the training part, one of the validation and two of the test part."""
    split, rng = uc.official_split(), np.random.default_rng(0)
    parts = ((split.train, 3), (split.val, 1), (split.test, 2))
    for part, count in parts:
        for roi in sorted(part)[:count]:
            write_region(simulate_region(roi, rng, size_px, coverage=0.4), root)


def main(out: Path, root: Path | None = None, steps: int = 200, size_px: int = 512) -> None:
    """Train, evaluate, compare."""
    if root is None:
        root = out / "patches"
        simulate(root, size_px)
    changes = {
        "patches": root,
        "split": "train",
        "subset": 1000,
        "objective": "residual",
        "paired_percent": 100,
        "network.skip": "clear-mean",
        "schedule.epochs_constant": 1000,
        "schedule.max_steps": steps,
    }
    settings = train_settings("cpu-smoke", [f"{key}={value}" for key, value in changes.items()])  # "paper" on a GPU
    run = uc.train(settings, out / "run")

    results = {}
    for name in ("clear-mean", "sar-regression", "scene-adapted", str(run.weights)):
        results[name] = uc.evaluate(name, root, split="test")
        uc.write_scores(out / "results" / f"{Path(name).stem}.json", results[name], np.random.default_rng(0))
        print(f"{Path(name).stem}: mean absolute error {results[name].mean('cloudy')['mae']:.4f} on cloudy pixels")

    # Paired differences with intervals over regions; one region has no interval.
    for one in uc.compare_scores(results[str(run.weights)], results["scene-adapted"], np.random.default_rng(0)):
        if (one.area, one.metric) == ("cloudy", "mae"):
            print(f"network minus scene-adapted: {one.mean:+.4f}")
    print(f"'unclouded leaderboard {out / 'results'} --out {out / 'board'}' ranks them, with their leak status")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
