"""The paper's model on real Sentinel data, in two folds without a common region, beside the baselines.

Each of the ten real triplets (folder ``triplets`` of the samples) is predicted by ours-0, by ours-100 and by ours-100
with the extended skip, with networks trained without its region: patches of summer ROI 119 by networks trained on the
spring ROIs 31, 106 and 123, and vice versa. Five training patches are few: this demonstrates that the whole workflow
runs on real data, not the quality of the paper's model after 10,000 patches.

    python proofs/real_patches.py OUT [--steps 300] [--width 8] [--crop 128]

Writes a run folder per fold and mode, ``scores.md``, ``scores.json`` and ``predictions.png`` to OUT. An interrupted
proof is resumed.
"""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from torch import Tensor

from unclouded.cli.progress import progress_bar
from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.evaluation.comparison import scores_markdown
from unclouded.evaluation.pictures import write_comparison
from unclouded.evaluation.results_io import scores_json
from unclouded.evaluation.scores import AREAS, Scores, score_patches
from unclouded.files import write_json, write_text
from unclouded.models.baselines import BASELINES, baseline
from unclouded.models.remover import CloudRemover
from unclouded.models.weights import load_network
from unclouded.patches.layouts import find_triplets
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.sensors import RGB
from unclouded.settings import settings_from
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Triplet
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.settings import TrainSettings

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
MODES = {
    "ours-0": (0, "cloudy"),
    "ours-100": (100, "cloudy"),
    "ours-100, skip clear-mean": (100, "clear-mean"),
}
"""Percentage of pairs and kind of the long skip; the first two are from the paper, the third is our extension."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--steps", type=int, default=300)
    words.add_argument("--width", type=int, default=8)
    words.add_argument("--crop", type=int, default=128)
    options = words.parse_args()
    root = SAMPLES / "triplets"
    folds = two_folds(root)
    tested: dict[str, list[tuple[Triplet, Tensor]]] = {mode: [] for mode in MODES}
    for held_out, names in folds.items():
        training_regions = [name for other, group in folds.items() if other != held_out for name in group]
        for mode in MODES:
            run = RunFolder(options.out / f"{mode.replace(', skip ', '_')}_without_{held_out}")
            train_fold(run, root, training_regions, mode, options)
            tested[mode] += predicted(load_network(run.weights), root, names)
    rows = {
        name: score_patches(evaluate_remover(baseline(name), whole(root), keep_clear=kept(name)), "kept")
        for name in BASELINES
    }
    rows |= {mode: score_patches(pairs, "kept") for mode, pairs in tested.items()}
    report(options.out, rows, tested)


def two_folds(root: Path) -> dict[str, list[str]]:
    """Return the names of the triplets by season; the two seasons share no region."""
    folds: dict[str, list[str]] = {}
    for entry in json.loads((root / "manifest.json").read_text()):
        folds.setdefault(entry["inferred_roi"].split("_")[1], []).append(entry["name"])
    return folds


def train_fold(run: RunFolder, root: Path, names: list[str], mode: str, options: argparse.Namespace) -> None:
    percent, skip = MODES[mode]
    patch_list = options.out / f"{run.path.name}.txt"
    write_text(patch_list, "".join(f"{name}\n" for name in names))
    settings = settings_from(
        TrainSettings,
        {
            "patches": str(root.resolve()),
            "split": "all",
            "patch_list": str(patch_list.resolve()),
            "paired_percent": percent,
            "crop_px": options.crop,
            "discriminator_width": options.width,
            "network": {"width": options.width, "skip": skip},
            "schedule": schedule(options.steps // len(names)),
            "logging": {"preview_every": 100, "checkpoint_every": 50},
        },
    )
    with progress_bar() as on_progress:
        train(
            settings,
            run,
            resume=run.state.exists(),
            on_progress=lambda stage, done, n: on_progress(f"{run.path.name}", done, n),
        )


def schedule(epochs: int) -> dict[str, int]:
    """Return the paper's schedule in proportion: two thirds of the epochs at the full rate, one third decaying."""
    return {"epochs_constant": epochs - epochs // 3, "epochs_decay": epochs // 3}


def whole(root: Path) -> TripletDataset:
    return TripletDataset(find_triplets(root).triplets, RGB, CloudMapSettings(), ProbabilityCache())


def kept(name: str) -> bool:
    """Evaluate radar as an image (Table III) as it is, and everything else with clear pixels kept."""
    return not name.startswith("sar-v")


def predicted(remover: CloudRemover, root: Path, names: Iterable[str]) -> list[tuple[Triplet, Tensor]]:
    selected = set(names)
    chosen = tuple(files for files in find_triplets(root).triplets if files.name in selected)
    return list(evaluate_remover(remover, TripletDataset(chosen, RGB, CloudMapSettings(), ProbabilityCache())))


def report(out: Path, rows: dict[str, Scores], tested: dict[str, list[tuple[Triplet, Tensor]]]) -> None:
    text = "".join(f"### {area} pixels\n\n{scores_markdown(rows, area)}\n" for area in AREAS)
    write_text(out / "scores.md", text)
    write_json(
        out / "scores.json", {name: scores_json(scores, np.random.default_rng(0)) for name, scores in rows.items()}
    )
    sheet = []
    for judged_alike in zip(*tested.values(), strict=True):
        triplet = judged_alike[0][0]
        images = {name: baseline(name)(triplet.observation) for name in ("clear-mean", "sar-regression")}
        images |= {mode: image for mode, (_, image) in zip(tested, judged_alike, strict=True)}
        sheet.append((triplet, images))
    write_comparison(out / "predictions.png", sheet)
    Console().print(text)


if __name__ == "__main__":
    main()
