"""Structural similarity of 13-band patches: scikit-image and our compiled windows.

Both process simulated images of 256 x 256 px with noise in turn, each on one thread; the results must agree to 1e-6.
Times are processor times, which are independent of other programs on the machine.

    python benchmarks/ssim.py [--runs 15]         the last line is one JSON object
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from rich.console import Console
from skimage.metrics import structural_similarity as skimage_similarity
from torch import Tensor

from unclouded.evaluation.metrics import structural_similarity

GOAL = 3


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=15)
    options = words.parse_args()
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    target = torch.rand(1, 13, 256, 256, generator=rng)
    prediction = (target + 0.1 * torch.randn(target.shape, generator=rng)).clamp(0, 1)
    found, expected = structural_similarity(prediction, target).item(), package(prediction, target)
    if abs(found - expected) > 1e-6:
        raise SystemExit(f"the results differ: {found} and {expected}")
    pairs = [
        (
            seconds(lambda: package(prediction, target)),
            seconds(lambda: structural_similarity(prediction, target).item()),
        )
        for _ in range(options.runs)
    ]
    peer, project = median(peer for peer, _ in pairs), median(project for _, project in pairs)
    Console(width=100).print(
        f"13 bands of 256 x 256 px: scikit-image {1000 * peer:.1f} ms, project {1000 * project:.1f} ms, "
        f"difference {abs(found - expected):.1e}"
    )
    result = {"name": "ssim", "ratio": round(peer / project, 1), "goal": GOAL, "runs": options.runs, "threads": 1}
    print(json.dumps(result))


def package(prediction: Tensor, target: Tensor) -> float:
    return float(
        skimage_similarity(
            np.asarray(prediction[0]),
            np.asarray(target[0]),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
        )
    )


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
