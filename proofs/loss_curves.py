"""Comparison of bf16-mixed with 32-true: the same trainings in both precisions, on the real triplets, per seed.

The reference is chance: the difference between trainings in 32-true with different seeds. Small networks (a quarter of
the paper's width, so that the fast convolutions are used) and small crops; the paper's losses and rates, no pairs.

    python proofs/loss_curves.py [--steps 160] [--seeds 3] [--picture FILE]      the last line is one JSON object
"""

import argparse
import json
import os
import tempfile
from itertools import combinations
from pathlib import Path
from statistics import mean

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from unclouded.settings import settings_from
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import TrainSettings

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
PRECISIONS = {"32-true": "#1f4e79", "bf16-mixed": "#c55a11"}
TERMS = {
    "cycle": "cycle",
    "adversarial": "adversarial",
    "identity": "identity",
    "auxiliary": "auxiliary",
    "sar_discriminator": "radar discriminator",
    "optical_discriminator": "optical discriminator",
}
SMOOTH = 20

Curves = dict[str, NDArray[np.float64]]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--steps", type=int, default=160)
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--picture", type=Path)
    options = words.parse_args()
    torch.set_num_threads(1)
    runs = {
        (precision, seed): learn(precision, seed, options.steps)
        for seed in range(options.seeds)
        for precision in PRECISIONS
    }
    show(runs, options.seeds, options.steps // 2)
    if options.picture:
        draw(runs, options.seeds, options.picture)
    ratios = [
        by_precision / by_seed
        for by_precision, by_seed, _ in compared(runs, options.seeds, options.steps // 2).values()
    ]
    print(
        json.dumps(
            {"name": "loss_curves", "ratio": round(mean(ratios), 2), "goal": 1, "runs": options.seeds, "threads": 1}
        )
    )


def learn(precision: str, seed: int, steps: int) -> Curves:
    """Return every loss term of every step of one training."""
    content = {
        "patches": str(SAMPLES / "triplets"),
        "split": "all",
        "crop_px": 64,
        "seed": seed,
        "network": {"width": 16},
        "discriminator_width": 16,
        "schedule": {"max_steps": steps, "epochs_constant": steps, "epochs_decay": 0},
        "logging": {"log_every": 1, "preview_every": 0, "checkpoint_every": 0},
        "device": {"accelerator": "cpu", "precision": precision},
    }
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        train(settings_from(TrainSettings, content), run)
        log = run.read_log()
    return {name: np.array([entry[name] for entry in log], dtype=np.float64) for name in TERMS}


def compared(runs: dict[tuple[str, int], Curves], seeds: int, last: int) -> dict[str, tuple[float, float, float]]:
    """Return, per term averaged over the last steps: difference between precisions, between seeds, and the mean."""
    answer = {}
    for name in TERMS:
        ends = {key: float(curves[name][-last:].mean()) for key, curves in runs.items()}
        by_precision = mean(abs(ends["32-true", s] - ends["bf16-mixed", s]) for s in range(seeds))
        pairs = combinations(range(seeds), 2)
        by_seed = mean(abs(ends["32-true", a] - ends["32-true", b]) for a, b in pairs)
        answer[name] = by_precision, by_seed, mean(ends["32-true", s] for s in range(seeds))
    return answer


def show(runs: dict[tuple[str, int], Curves], seeds: int, last: int) -> None:
    table = Table("term", "mean", "between precisions", "between seeds", title=f"Means over the last {last} steps")
    for name, (by_precision, by_seed, level) in compared(runs, seeds, last).items():
        table.add_row(TERMS[name], f"{level:.4f}", f"{by_precision:.4f}", f"{by_seed:.4f}")
    Console(width=100).print(table)


def draw(runs: dict[tuple[str, int], Curves], seeds: int, path: Path) -> None:
    figure, axes = plt.subplots(2, 3, figsize=(10, 5.2), layout="constrained", sharex=True)
    window = np.ones(SMOOTH) / SMOOTH
    for axis, (name, title) in zip(axes.flat, TERMS.items(), strict=True):
        for (precision, seed), curves in runs.items():
            smooth = np.convolve(curves[name], window, mode="valid")
            steps = np.arange(SMOOTH, len(curves[name]) + 1)
            label = precision if seed == 0 else None
            axis.plot(steps, smooth, color=PRECISIONS[precision], lw=1.2, alpha=0.8, label=label)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(bottom=0)
    for axis in axes[1]:
        axis.set_xlabel("step")
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.suptitle(f"{seeds} seeds in both precisions, running means of {SMOOTH} steps", fontsize=11)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
