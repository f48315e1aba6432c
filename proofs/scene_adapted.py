"""Accuracy of scene-adapted under real clouds: the ten real triplets of test regions, beside the baselines.

Settings were chosen on other regions by ``proofs/scene_adapted_settings.py``; only the rim of the map that products
blend, and the weight of the season in B11 and B12, were compared on these triplets, too.

    python proofs/scene_adapted.py OUT

The triplets have neither official names nor a georeference: their seasons are those of the regions that
``manifest.json`` infers, their latitudes are unknown. ``scene-adapted before`` has the prior
of version 0.1.0, without season.

Prints tables over cloudy pixels, in 13 bands and in red, green and blue, and the errors by confidence;
writes ``scores.json`` and ``predictions.png`` to OUT.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import CloudMapSettings
from unclouded.evaluation.comparison import scores_markdown
from unclouded.evaluation.pictures import write_comparison
from unclouded.evaluation.scores import score_patches
from unclouded.files import write_json
from unclouded.models.adaptation.prior_spectrum import PRIOR
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import baseline
from unclouded.models.remover import RIM, CloudRemover, keep_clear_pixels
from unclouded.patches.layouts import find_triplets
from unclouded.patches.roi import Roi
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Observation, Season, Triplet

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
FEWEST_CLEAR_PX = 500
"""Clear pixels of a triplet below which their error is left out of the budget."""
RIMS = (0.0, RIM, 0.02, 0.1)


class Renamed:
    """Remover with another name in the tables."""

    def __init__(self, remover: CloudRemover, name: str) -> None:
        self.remover, self.name, self.bands = remover, name, remover.bands

    def __call__(self, observation: Observation) -> torch.Tensor:
        return self.remover(observation)


class WithoutRadar:
    """Remover whose input radar is replaced by the backscatter of plain land."""

    def __init__(self, remover: CloudRemover) -> None:
        self.remover, self.name, self.bands = remover, f"{remover.name} without radar", remover.bands

    def __call__(self, observation: Observation) -> torch.Tensor:
        plain = torch.tensor([-10.0, -16.0]).view(1, 2, 1, 1).expand_as(observation.sar)
        return self.remover(replace(observation, sar=plain))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    out = words.parse_args().out
    files = find_triplets(SAMPLES / "triplets").triplets
    regions = read_regions(SAMPLES / "triplets" / "manifest.json")
    read = TripletDataset(files, SENTINEL2.bands, CloudMapSettings(), ProbabilityCache())
    triplets = [in_season(triplet, regions[triplet.name]) for triplet in read]
    written = {}
    for title, bands in (("13 bands", SENTINEL2.bands), ("red, green, blue", RGB)):
        scores = {one.name: score_patches(evaluate_remover(one, triplets), "kept") for one in compared(bands)}
        for area in ("cloudy", "all"):
            print(f"\n{title}, {area} pixels\n\n{scores_markdown(scores, area)}")
        written[title] = {name: {p.name: p.values for p in one.patches} for name, one in scores.items()}
    write_json(out / "scores.json", written)
    print(patches_table(triplets))
    for bands in (SENTINEL2.bands, RGB):
        print(budget_table(triplets, bands))
    print(bands_table(triplets))
    print(rim_table(triplets))
    print(confidence_table(triplets))
    write_sheet(out / "predictions.png", triplets)


def compared(bands: tuple[str, ...]) -> list[CloudRemover]:
    adapted, before = SceneAdapted(bands), SceneAdapted(bands, prior=replace(PRIOR, seasonal={}))
    return [
        baseline("clear-mean", bands),
        baseline("sar-regression", bands),
        Renamed(before, "scene-adapted before"),
        adapted,
        WithoutRadar(adapted),
    ]


def read_regions(path: Path) -> dict[str, Roi]:
    """Return the region of each triplet."""
    return {one["name"]: Roi.parse(one["inferred_roi"]) for one in json.loads(path.read_text(encoding="utf-8"))}


def in_season(triplet: Triplet, roi: Roi) -> Triplet:
    """Return a triplet with the season of its region."""
    return replace(triplet, observation=replace(triplet.observation, seasons=(Season(roi.day_of_year),)))


def patches_table(triplets: list[Triplet]) -> str:
    """Return the mean absolute error of the cloudy pixels of each triplet, 13 bands."""
    removers = compared(SENTINEL2.bands)
    lines = [f"| patch | m > 0 | {' | '.join(one.name for one in removers)} |", "|---|---:|" + "---:|" * len(removers)]
    scored = [score_patches(evaluate_remover(one, triplets), "kept").patches for one in removers]
    for triplet, each in zip(triplets, zip(*scored, strict=True), strict=True):
        share = triplet.observation.is_cloudy.double().mean().item()
        errors = (f"{one.values['cloudy']['mae']:.4f}" for one in each)
        lines.append(f"| {triplet.name} | {100 * share:.1f} % | {' | '.join(errors)} |")
    return "\n".join([*lines, ""])


def budget_table(triplets: list[Triplet], bands: tuple[str, ...]) -> str:
    """Return what the error of the cloudy pixels consists of, mean over bands; see :func:`budget`."""
    rows = {one.name: budget(one, bands) for one in triplets}
    known = [torch.stack([row[i] for row in rows.values() if row[i].isfinite()]).mean() for i in range(5)]
    rows["mean"] = torch.stack(known)
    lines = [f"| {len(bands)} bands | error | level known | level | flat, level known | observed clear pixels |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    lines += [f"| {name} | {' | '.join(f'{value:.4f}' for value in row.tolist())} |" for name, row in rows.items()]
    return "\n".join([*lines, ""])


def budget(triplet: Triplet, bands: tuple[str, ...]) -> torch.Tensor:
    """Return five mean absolute errors of a triplet.

    Of the cloudy pixels: of the prediction; of the prediction whose mean by band is the true one; of that mean; of one
    flat colour, the true mean. Of the clear pixels: of the observed image, which no remover can change.
    """
    one = triplet.select(bands)
    prediction = keep_clear_pixels(SceneAdapted(SENTINEL2.bands)(triplet.observation), triplet.observation, RIM)
    chosen = [SENTINEL2.bands.index(band) for band in bands]
    where = one.observation.is_cloudy[0, 0]
    error = (prediction[0, chosen] - one.clear[0])[:, where]
    ground, level = one.clear[0][:, where], error.mean(dim=1, keepdim=True)
    flat = ground - ground.mean(dim=1, keepdim=True)
    left = (one.observation.cloudy - one.clear)[0][:, ~where]
    observed = left.abs().mean() if left.shape[1] >= FEWEST_CLEAR_PX else torch.tensor(torch.nan)
    return torch.stack(
        [error.abs().mean(), (error - level).abs().mean(), level.abs().mean(), flat.abs().mean(), observed]
    )


def bands_table(triplets: list[Triplet]) -> str:
    """Return the error of the cloudy pixels by band, and with the true mean of each triplet, mean over triplets."""
    remover, rows = SceneAdapted(SENTINEL2.bands), []
    for one in triplets:
        where = one.observation.is_cloudy[0, 0]
        prediction = keep_clear_pixels(remover(one.observation), one.observation, RIM)
        error = (prediction - one.clear)[0][:, where]
        level = error.mean(dim=1, keepdim=True)
        rows.append(torch.stack([error.abs().mean(dim=1), (error - level).abs().mean(dim=1), level[:, 0]]))
    means = torch.stack(rows).mean(dim=0)
    lines = [f"| | {' | '.join(SENTINEL2.bands)} |", "|---|" + "---:|" * len(SENTINEL2.bands)]
    for name, values in zip(("error", "level known", "mean error"), means, strict=True):
        lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in values.tolist())} |")
    return "\n".join([*lines, ""])


def rim_table(triplets: list[Triplet]) -> str:
    """Return the errors of the cloudy pixels, 13 bands, by the rim of the map in which products are blended."""
    lines = ["| blended up to m = | MAE | SAM (°) |", "|---:|---:|---:|"]
    remover = SceneAdapted(SENTINEL2.bands)
    predictions = [(triplet, remover(triplet.observation)) for triplet in triplets]
    for rim in RIMS:
        products = [(one, keep_clear_pixels(answer, one.observation, rim)) for one, answer in predictions]
        mean = score_patches(products, "kept").mean("cloudy")
        lines.append(f"| {rim} | {mean['mae']:.4f} | {mean['sam']:.2f} |")
    return "\n".join([*lines, ""])


def confidence_table(triplets: list[Triplet]) -> str:
    """Return the mean error of the cloudy pixels of all triplets, 13 bands, by confidence."""
    errors, sure = [], []
    for triplet in triplets:
        answer, confidence = SceneAdapted(SENTINEL2.bands).with_confidence(triplet.observation)
        where = triplet.observation.is_cloudy[0, 0]
        errors.append((answer - triplet.clear).abs().mean(dim=1)[0, where])
        sure.append(confidence[0, 0, where])
    error, confidence = torch.cat(errors), torch.cat(sure)
    lines = ["| confidence | cloudy pixels | MAE |", "|---|---:|---:|"]
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        if (chosen := (confidence >= low) & (confidence < high)).any():
            lines.append(f"| {low} to {min(high, 1.0)} | {int(chosen.sum()):,} | {error[chosen].mean():.4f} |")
    return "\n".join(lines)


def write_sheet(path: Path, triplets: list[Triplet]) -> None:
    removers = [one for one in compared(RGB) if one.name in ("clear-mean", "sar-regression", "scene-adapted")]
    sheet = []
    for triplet in triplets:
        shown = triplet.select(RGB)
        if shown.observation.cloud_map.mean() > 0.01:
            sheet.append((shown, {one.name: one(shown.observation) for one in removers}))
    write_comparison(path, sheet)


if __name__ == "__main__":
    main()
