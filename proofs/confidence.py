"""Confidence of the default remover: does it rank the errors, and are the predicted errors as large as the true ones?

Three mosaics of four real triplets each, and every triplet by itself, under the product map, 13 bands.

    python proofs/confidence.py OUT

Prints the rank correlation of confidence and true error over the cloudy pixels, and the mean predicted and true error;
writes ``reliability.png`` to OUT: true against predicted error in ten groups of equal size for each mosaic. The shares
of :mod:`unclouded.models.adaptation.predicted_error` were chosen on these triplets, so that the ranks are rather too
good than too bad; the level of the errors comes from each scene.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from choosing import Scene, triplets
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scene_adapted_settings import BANDS
from scipy.stats import spearmanr

from unclouded.models.adaptation.predicted_error import error_of
from unclouded.prediction.auto_remover import auto_remover

MOSAICS = {"A": (0, 1, 2, 3), "B": (4, 5, 6, 7), "C": (6, 7, 8, 9)}
"""Numbers of the triplets of a mosaic, in the order of their names."""

GROUPS = 10

Errors = NDArray[np.float64]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    out = words.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    found = list(triplets())
    print("| scene | m > 0 | rank correlation of confidence and error | predicted error | true error |")
    print("|---|---:|---:|---:|---:|")
    curves = {}
    for name, numbers in MOSAICS.items():
        curves[name] = show(mosaic(f"mosaic {name}", [found[number] for number in numbers]))
    for scene in found:
        if scene.seen.is_cloudy.any():
            show(scene)
    plot(out / "reliability.png", curves)


def mosaic(name: str, scenes: list[Scene]) -> Scene:
    """Return four scenes as one, two by two."""

    def joined(images: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([torch.cat(images[i : i + 2], dim=-1) for i in (0, 2)], dim=-2)

    images = {key: joined([getattr(one.seen, key) for one in scenes]) for key in ("sar", "cloudy", "cloud_map")}
    return Scene(name, replace(scenes[0].seen, **images), joined([one.clear for one in scenes]))


def show(scene: Scene) -> tuple[Errors, Errors]:
    """Print a line of the table; return the predicted and the true errors of the cloudy pixels."""
    where = scene.seen.is_cloudy
    answer, confidence = auto_remover(BANDS).adapt([scene.seen]).with_confidence(scene.seen)
    true = (answer - scene.clear).abs().mean(dim=1, keepdim=True)[where].double().numpy()
    predicted = error_of(confidence)[where].double().numpy()
    rank = spearmanr(-predicted, true).statistic
    cover = 100 * where.double().mean().item()
    print(f"| {scene.name} | {cover:.0f} % | {rank:+.2f} | {predicted.mean():.4f} | {true.mean():.4f} |", flush=True)
    return predicted, true


def plot(path: Path, curves: dict[str, tuple[Errors, Errors]]) -> None:
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    largest = 0.0
    for name, (predicted, true) in curves.items():
        groups = np.array_split(np.argsort(predicted), GROUPS)
        x, y = ([values[group].mean() for group in groups] for values in (predicted, true))
        largest = max(largest, *x, *y)
        axes.plot(x, y, marker="o", label=f"mosaic {name}")
    axes.plot([0, largest], [0, largest], color="grey", linestyle="--", label="as predicted")
    axes.set(xlabel="predicted error, reflectance", ylabel="true error, reflectance", xlim=(0, None), ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
