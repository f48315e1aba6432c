"""Accuracy of the gradients in the precisions of a training step: G_S2->S1 with fresh weights, compared with float64.

The loss is the mean absolute difference of two smooth random images, whose gradient is a sign and so sensitive to
rounding.

    python proofs/gradients.py [--width 32] [--crop 104]      the last line is one JSON object
"""

import argparse
import json
from statistics import median

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unclouded.models.cyclegan import OpticalToSar, initialise
from unclouded.models.winograd import use_winograd

GOAL = 0.95
ROWS = {
    "float64": (torch.float64, False, False),
    "float32": (torch.float32, False, False),
    "bfloat16, direct": (torch.float32, True, False),
    "bfloat16, Winograd": (torch.float32, True, True),
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--width", type=int, default=32)
    words.add_argument("--crop", type=int, default=104)
    options = words.parse_args()
    torch.set_num_threads(1)
    gradients = {name: gradient(options.width, options.crop, *how) for name, how in ROWS.items()}
    exact = gradients["float64"]
    table = Table(
        "precision", "layer, median", "layer, worst", "cosine of all", title="Relative error of the gradients"
    )
    for name, found in gradients.items():
        errors = [((a - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]
        table.add_row(name, f"{median(errors):.1e}", f"{max(errors):.1e}", f"{cosine(found, exact):.4f}")
    Console(width=100).print(table)
    ratio = round(cosine(gradients["bfloat16, Winograd"], exact), 4)
    print(json.dumps({"name": "gradients", "ratio": ratio, "goal": GOAL, "runs": 1, "threads": 1}))


def gradient(width: int, crop_px: int, dtype: torch.dtype, bf16: bool, fast: bool) -> list[Tensor]:
    """Return the gradient of the weight of every convolution."""
    network = OpticalToSar(width=width)
    initialise(network, torch.Generator().manual_seed(0))
    network.to(dtype).to(memory_format=torch.channels_last)
    rng = torch.Generator().manual_seed(1)
    optical, target = (smooth(crop_px, rng).to(dtype) for _ in range(2))
    if fast:
        use_winograd(network)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        sar = network(optical)
    (sar.to(dtype) - target).abs().mean().backward()
    return [p.grad.double() for p in network.parameters() if p.grad is not None and p.ndim > 1]


def smooth(crop_px: int, rng: torch.Generator) -> Tensor:
    coarse = torch.rand(1, 3, crop_px // 4, crop_px // 4, generator=rng) - 0.5
    return F.interpolate(coarse, size=crop_px, mode="bicubic")


def cosine(one: list[Tensor], other: list[Tensor]) -> float:
    joined = [torch.cat([part.flatten() for part in parts]) for parts in (one, other)]
    return torch.cosine_similarity(*joined, dim=0).item()


if __name__ == "__main__":
    main()
