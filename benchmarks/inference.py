"""Generator inference: the plain network in eager float32, and the network frozen to a scene.

Both process the same window of random numbers in turn; times are processor times. With the weights of a training, the
error of the frozen network is reported, too: on real patches (folder ``triplets`` of the samples), in stored steps of
1/10,000 of reflectance, where m > 0.

    python benchmarks/inference.py [--size 688] [--width 64] [--runs 3] [--engine torch|openvino]
        [--precision auto|float32|bfloat16|int8] [--weights FILE]

The last line is one JSON object. The targets are for processors with AMX: 6 in plain torch, 8 with OpenVINO.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import get_args

import torch
from rich.console import Console

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.models.inference import Engine, Precision
from unclouded.models.network import NetworkRemover, NetworkSettings
from unclouded.models.weights import load_network
from unclouded.patches.layouts import find_triplets
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Observation

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
GOALS = {"torch": 6, "openvino": 8}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--size", type=int, default=688, help="a window of 512 px with its margins")
    words.add_argument("--width", type=int, default=64)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--engine", choices=list(GOALS), default="torch")
    words.add_argument("--precision", choices=get_args(Precision), default="auto")
    words.add_argument("--weights", type=Path)
    options = words.parse_args()
    settings = NetworkSettings(width=options.width)
    torch.manual_seed(0)
    plain = NetworkRemover(settings.build(), settings, engine=options.engine, precision=options.precision)
    seen = window(options.size)
    frozen = plain.adapt([seen])
    pairs = [(seconds(lambda: plain(seen)), seconds(lambda: frozen(seen))) for _ in range(options.runs + 1)][1:]
    peer, project = (median(each) for each in zip(*pairs, strict=True))
    ratios = [one / other for one, other in pairs]
    Console().print(
        f"ngf {options.width}, {options.size} px, {torch.get_num_threads()} threads: eager float32 {peer:.2f} s, "
        f"{options.engine} {plain.compute_precision} {project:.2f} s of processor time, "
        f"ratio {peer / project:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    result = {"name": "inference", "ratio": round(peer / project, 2), "goal": GOALS[options.engine]}
    detail = {
        "engine": options.engine,
        "precision": plain.compute_precision,
        "size_px": options.size,
        "width": options.width,
    }
    error = errors(options.weights, options.engine, options.precision) if options.weights else {}
    print(json.dumps({**result, "runs": options.runs, "threads": torch.get_num_threads(), **detail, **error}))


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def window(size: int) -> Observation:
    rng = torch.Generator().manual_seed(0)
    sar, cloudy, cloud_map = (torch.rand(1, channels, size, size, generator=rng) for channels in (2, 3, 1))
    return Observation(sar * -25, cloudy, cloud_map, NetworkSettings().bands)


def errors(weights: Path, engine: Engine, precision: Precision) -> dict[str, float]:
    """Return the error of the frozen network against float32 on real patches, in stored steps, where m > 0."""
    remover = replace(load_network(weights), engine=engine, precision=precision)
    files = find_triplets(SAMPLES / "triplets").triplets
    apart = []
    for triplet in TripletDataset(files, remover.bands, CloudMapSettings(), ProbabilityCache()):
        seen = triplet.observation
        exact = replace(remover, precision="float32", engine="torch").adapt([seen])(seen)
        difference = (remover.adapt([seen])(seen) - exact).abs() * 10_000
        apart.append(difference[seen.is_cloudy.expand_as(difference)])
    steps = torch.cat(apart)
    mean, worst = steps.mean().item(), steps.max().item()
    beyond = float(steps.sort().values[int(0.99 * len(steps))])
    Console().print(
        f"error on {weights.stem}: mean {mean:.1f}, 99 % below {beyond:.1f}, worst {worst:.0f} stored steps"
    )
    return {"error_mean": round(mean, 2), "error_99": round(beyond, 2), "error_max": round(worst, 1)}


if __name__ == "__main__":
    main()
