"""Training with the preset ``cpu-sample``, its loss curves, and its evaluation on regions held out of training.

It is trained on 300 simulated pairs (12 regions of 768 x 768 px) and tested on 36 patches of four other simulated
regions, unless data sets are given.

    python proofs/cpu_sample.py OUT [--learn ROOT --test ROOT] [--set KEY=VALUE ...]

Writes the run, ``curves.png``, ``predictions.png``, ``scores.md`` and ``scores.json`` to OUT; an interrupted proof is
resumed. The last line is one JSON object.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor

from unclouded.cli.progress import progress_bar
from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.evaluation.comparison import scores_markdown
from unclouded.evaluation.pictures import write_comparison
from unclouded.evaluation.results_io import scores_json
from unclouded.evaluation.scores import AREAS, Scores, score_patches
from unclouded.files import write_json, write_text
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import baseline
from unclouded.models.weights import load_network
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import Roi
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.sensors import RGB
from unclouded.simulation.layout import PATCH_PX, write_region
from unclouded.simulation.region import simulate_region
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Triplet
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import train_settings

SEED, LEARN, UNSEEN = 11, range(1, 13), range(13, 17)
NAMED_REMOVERS = ("cloudy", "clear-mean", "sar-regression")
TERMS = {
    "pixel": "pixel",
    "kept": "kept (change of clear pixels)",
    "cycle": "cycle",
    "adversarial": "adversarial",
    "auxiliary": "auxiliary (cloud map)",
    "optical_discriminator": "optical discriminator",
    "clear_residual": "|residual| on clear pixels",
}
SMOOTH = 100

Predicted = dict[str, list[tuple[Triplet, Tensor]]]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--learn", type=Path, help="training data set")
    words.add_argument("--test", type=Path, help="test data set")
    words.add_argument("--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE")
    options = words.parse_args()
    learn = options.learn or simulated(options.out / "learn", LEARN, 128)
    test = options.test or simulated(options.out / "test", UNSEEN, PATCH_PX)
    overrides = [f"patches={learn.resolve()}", "split=all", *options.overrides]
    run = RunFolder(options.out / "run")
    with progress_bar() as on_progress:
        train(train_settings("cpu-sample", overrides), run, resume=run.state.exists(), on_progress=on_progress)
    draw(run.read_log(), options.out / "curves.png")
    images = predicted(run, test)
    scores = {name: score_patches(pairs, "kept") for name, pairs in images.items()}
    report(options.out, scores, images)
    errors = {name: round(one.mean("cloudy")["mae"], 4) for name, one in scores.items()}
    steps = max(entry["step"] for entry in run.read_log())
    print(json.dumps({"name": "cpu_sample", "steps": steps, "cloudy_mae": errors}))


def simulated(root: Path, numbers: range, stride_px: int) -> Path:
    """Simulate regions of 768 px of four seasons, a tenth to nine tenths cloudy, unless they exist."""
    for number in numbers:
        roi = Roi("ROIs0000", ("spring", "summer", "fall", "winter")[number % 4], number)
        coverage = 0.1 + 0.8 * (number * 0.618 % 1)
        if not (root / "done" / str(roi)).exists():
            write_region(simulate_region(roi, np.random.default_rng([SEED, number]), 768, coverage), root, stride_px)
            write_text(root / "done" / str(roi), "")
    return root


def predicted(run: RunFolder, root: Path) -> Predicted:
    data = TripletDataset(find_triplets(root).triplets, RGB, CloudMapSettings(), ProbabilityCache())
    removers = {name: baseline(name) for name in NAMED_REMOVERS}
    removers |= {"scene-adapted": SceneAdapted(), "cpu-sample": load_network(run.weights)}
    return {name: list(evaluate_remover(remover, data)) for name, remover in removers.items()}


def report(out: Path, scores: dict[str, Scores], images: Predicted) -> None:
    write_text(out / "scores.md", "".join(f"### {area} pixels\n\n{scores_markdown(scores, area)}\n" for area in AREAS))
    write_json(out / "scores.json", {name: scores_json(one, np.random.default_rng(0)) for name, one in scores.items()})
    coverage = [patch.coverage for patch in scores["cpu-sample"].patches]
    chosen = sorted(sorted(range(len(coverage)), key=lambda i: abs(coverage[i] - 0.5))[:5])
    rows = [
        (images["cloudy"][i][0], {name: pairs[i][1] for name, pairs in images.items() if name != "cloudy"})
        for i in chosen
    ]
    write_comparison(out / "predictions.png", rows, title="Simulated regions that training has never seen")


def draw(log: list[dict[str, Any]], path: Path) -> None:
    """Draw the mean of each term over a hundred steps, and the logged steps."""
    known = {
        name: np.array([(entry["step"], entry[name]) for entry in log if entry.get(name) is not None]).T
        for name in TERMS
    }
    known = {name: found for name, found in known.items() if found.size}  # other objectives have other terms
    rows = -(-len(known) // 4)
    figure, axes = plt.subplots(
        rows, -(-len(known) // rows), figsize=(11, 2.8 * rows), layout="constrained", squeeze=False
    )
    for axis, (name, (steps, values)) in zip(axes.flat, known.items(), strict=False):
        width = min(len(steps), max(1, round(SMOOTH / (steps[1] - steps[0]))))
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axis.plot(steps, values, ".", color="#9db7d1", ms=2)
        axis.plot(steps[width - 1 :], smooth, color="#1f4e79", lw=1.4)
        axis.set_title(TERMS[name], fontsize=10)
        axis.set_xlabel("step")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(0, np.nanquantile(values, 0.99) * 1.1)
    for axis in axes.flat[len(known) :]:
        axis.remove()
    figure.suptitle(f"cpu-sample: logged steps, and their means over {SMOOTH}", fontsize=11)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
