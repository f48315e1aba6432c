"""One training step of the paper: the usual implementation in float32, and ours in both precisions.

ngf 64, 200 x 200 px, batch 1, losses and optimisers included, from the same weights on the same random images; the
first losses must agree. The three take turns. On one thread times are processor times, which depend little on other
programs on the machine; on several threads they are wall-clock times.

The last line is that of the number of threads with the smaller ratio, with all ratios.

    python benchmarks/train_step.py [--threads 1 2] [--runs 5]      the last line is one JSON object
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from peers.plain_step import Terms, plain_step
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unclouded.models.network import NetworkSettings
from unclouded.training.forecast import duration_text, predicted_hours
from unclouded.training.objectives import build_groups, build_objective
from unclouded.training.settings import Device, TrainSettings
from unclouded.training.step import Batch, build_networks

GOAL = 4
PARTS = ("generators: losses", "generators: gradients", "generators: Adam", "discriminators")
AGREE = 0.05
"""Relative difference of the first losses; bfloat16 rounds to 0.004."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--threads", type=int, nargs="+", default=sorted({1, min(2, os.cpu_count() or 1)}))
    words.add_argument("--width", type=int, default=64)
    words.add_argument("--crop", type=int, default=200)
    words.add_argument("--runs", type=int, default=5)
    options = words.parse_args()
    results = [measure(threads, options) for threads in options.threads]
    slowest = min(results, key=lambda result: result["ratio"])
    print(json.dumps(slowest | {"ratios": {str(result["threads"]): result["ratio"] for result in results}}))


def measure(threads: int, options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    steps = make_steps(options.width, options.crop, clock, parts)
    check({name: step() for name, step in steps.items()})  # the first step compiles and allocates, too
    for times in parts.values():
        times.clear()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.runs):
        for name, step in steps.items():
            start = clock()
            step()
            seconds[name].append(clock() - start)
    return report(seconds, parts, threads, options)


def make_steps(
    width: int, crop_px: int, clock: Callable[[], float], parts: dict[str, list[float]]
) -> dict[str, Callable[[], Terms]]:
    rng = torch.Generator().manual_seed(1)
    images = tuple(torch.rand(1, channels, crop_px, crop_px, generator=rng) for channels in (3, 3, 3, 1))
    images = (*(image * 2 - 1 for image in images[:3]), images[3])
    networks = build_networks(NetworkSettings(width=width), width, torch.Generator().manual_seed(0))
    return {
        "usual, float32": plain_step([one.state_dict() for one in networks.named().values()], width, images),
        "ours, 32-true": our_step(width, "32-true", images),
        "ours, bf16-mixed": our_step(width, "bf16-mixed", images, clock, parts),
    }


def our_step(
    width: int,
    precision: Literal["32-true", "bf16-mixed"],
    images: tuple[Tensor, ...],
    clock: Callable[[], float] = time.perf_counter,
    parts: dict[str, list[float]] | None = None,
) -> Callable[[], Terms]:
    """The objective and the optimiser groups of ``unclouded train``, on one batch; the pools stay empty."""
    settings = TrainSettings(
        patches=Path("SEN12MS-CR"),
        network=NetworkSettings(width=width),
        discriminator_width=width,
        pool=0,
        device=Device(accelerator="cpu", precision=precision),
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    objective = build_objective(settings, fabric)
    generators, discriminators = groups = list(build_groups(objective, settings).values())
    batch = Batch(*images, paired=(False,), names="random")

    def step() -> Terms:
        times = [clock()]
        with generators.freeze_others(groups):
            loss, generated = objective.generator_loss(batch)
            times.append(clock())
            loss.total.backward()
            times.append(clock())
        generators.update(2e-4, fabric)
        times.append(clock())
        with discriminators.freeze_others(groups):
            judged = objective.discriminator_loss(batch, generated)
            judged.total.backward()
        discriminators.update(2e-4, fabric)
        times.append(clock())
        if parts is not None:
            for name, before, after in zip(PARTS, times[:-1], times[1:], strict=True):
                parts[name].append(after - before)
        return {name: term.item() for name, term in (loss.terms | judged.terms).items()}

    return step


def check(found: dict[str, Terms]) -> None:
    usual = next(iter(found.values()))
    for name, terms in found.items():
        for term, value in usual.items():
            if abs(terms[term] - value) > AGREE * abs(value):
                raise SystemExit(f"{name}: {term} is {terms[term]:.4f}, expected {value:.4f}")


def report(
    seconds: dict[str, list[float]], parts: dict[str, list[float]], threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    medians = {name: median(times) for name, times in seconds.items()}
    usual, ours_32, ours = medians.values()
    table = Table("step", "s, median", "from", "to", "times as fast", title=f"{threads} thread(s)")
    for name, times in seconds.items():
        middle = medians[name]
        table.add_row(name, f"{middle:.2f}", f"{min(times):.2f}", f"{max(times):.2f}", f"{usual / middle:.2f}")
    for name, times in parts.items():
        table.add_row(f"  {name}", f"{median(times):.2f}")
    Console(width=100).print(table)
    paper = TrainSettings(patches=Path("SEN12MS-CR"))
    for name, taken in medians.items():
        print(f"the paper's recipe, 10,000 patches x 75 epochs, {name}: {duration_text(predicted_hours(taken, paper))}")
    return {
        "name": "train_step",
        "ratio": round(usual / ours, 2),
        "goal": GOAL,
        "runs": options.runs,
        "threads": threads,
        "ratio_32_true": round(usual / ours_32, 2),
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "parts": {name: round(median(times), 3) for name, times in parts.items()},
        "width": options.width,
        "crop_px": options.crop,
    }


if __name__ == "__main__":
    main()
