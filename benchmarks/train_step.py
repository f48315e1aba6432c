"""Seconds of one training step of the paper's ensemble: ngf 64, 200 x 200 px, batch 1, float32.

Runs the project's own step, losses and optimisers included, on random images; nothing is tuned yet.

    python benchmarks/train_step.py [--width 64] [--crop 200] [--runs 3]      the last line is one JSON object
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console

from unclouded.models.network import NetworkSettings
from unclouded.training.history import HistoryPool
from unclouded.training.losses import LossWeights
from unclouded.training.step import Batch, Pools, build_networks, critic_terms, generator_terms


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--width", type=int, default=64)
    words.add_argument("--crop", type=int, default=200)
    words.add_argument("--runs", type=int, default=3)
    options = words.parse_args()
    take = step(options.width, options.crop)
    take()  # the first one allocates
    seconds = [timed(take) for _ in range(options.runs)]
    Console().print(
        f"ngf {options.width}, {options.crop} x {options.crop} px, {torch.get_num_threads()} threads: "
        f"median {median(seconds):.2f} s a step of {options.runs} ({min(seconds):.2f} to {max(seconds):.2f})"
    )
    print(
        json.dumps(
            {
                "name": "train_step",
                "seconds": round(median(seconds), 3),
                "width": options.width,
                "crop_px": options.crop,
                "runs": options.runs,
                "threads": torch.get_num_threads(),
            }
        )
    )


def timed(take: Callable[[], None]) -> float:
    started = time.perf_counter()
    take()
    return time.perf_counter() - started


def step(width: int, crop_px: int) -> Callable[[], None]:
    """The paper's step on one unpaired batch: generators, then discriminators."""
    rng = torch.Generator().manual_seed(0)
    networks = build_networks(NetworkSettings(width=width), width, rng)
    pools = Pools(HistoryPool(), HistoryPool(), rng)
    weights = LossWeights()
    generators, critics = (
        torch.optim.Adam(list(parameters), lr=2e-4, betas=(0.5, 0.999))
        for parameters in (networks.generators(), networks.critics())
    )

    def image(channels: int) -> torch.Tensor:
        return torch.rand(1, channels, crop_px, crop_px, generator=rng) * 2 - 1

    batch = Batch(image(3), image(3), image(3), image(1).abs(), (False,), "random")

    def take() -> None:
        generators.zero_grad()
        for parameter in networks.critics():
            parameter.requires_grad_(False)
        terms, generated = generator_terms(networks, batch, weights, None)
        sum(getattr(weights, name) * term for name, term in terms.items() if hasattr(weights, name)).backward()
        generators.step()
        for parameter in networks.critics():
            parameter.requires_grad_(True)
        critics.zero_grad()
        sum(critic_terms(networks, batch, generated, pools).values()).backward()
        critics.step()

    return take


if __name__ == "__main__":
    main()
