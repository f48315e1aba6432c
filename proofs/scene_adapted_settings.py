"""Choice of the settings of scene-adapted, on regions outside the test split, each with a prior fitted without it.

No region of the samples has both radar and dense real clouds over known ground, so there are two sets:

- ``copied``: clear ground with radar (four quarters of Spain, winter 112, two patches of spring 101) under the real
  clouds of seven patches of other places, added by Copy (section III-B.4 of the paper). It has radar, but lacks the
  shadows and hazy edges of real clouds.
- ``observed``: 21 pairs of a cloudy and a clear image from four regions, with the backscatter of plain land.
  They have shadows and hazy edges, but no radar.

    python proofs/scene_adapted_settings.py

Prints the error of cloudy pixels in 13 bands, averaged over regions, with one setting changed at a time.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import cloud_map
from unclouded.clouds.synthetic import COPY, paint
from unclouded.evaluation.scores import score_patches
from unclouded.io.geotiff import read_stored
from unclouded.io.raster import read
from unclouded.models.adaptation.prior_spectrum import PRIOR, SEASONAL_WEIGHT, Prior
from unclouded.models.adaptation.scene_adapted import SceneAdapted, SceneAdaptedSettings
from unclouded.models.baselines import baseline
from unclouded.models.remover import CloudRemover
from unclouded.patches.roi import roi_of
from unclouded.prediction.evaluation_source import evaluate_remover
from unclouded.sensors import SENTINEL1, SENTINEL2
from unclouded.tensors.dataset import observe, patch_season
from unclouded.tensors.observation import Triplet

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
BANDS = SENTINEL2.bands
SNOW = "ROIs1158_spring_26"
"""Its clear image lies under snow, its cloudy one does not: no truth."""
COPIED = (
    "ROIs1158_spring_26_p500",
    "ROIs1158_spring_26_p100",
    "ROIs1970_fall_85_p492",
    "ROIs2017_winter_102_p926",
    "ROIs1970_fall_136_p100",
    "ROIs1970_fall_136_p140",
    "ROIs1970_fall_136_p315",
)
"""Patches whose clouds are copied; they cover 13 % to 94 % of the pixels."""
SEASONAL_WEIGHTS = (0.0, 0.25, 0.5, 0.75)
CHANGES = (
    *({"erosion_px": px} for px in (0, 1, 4)),
    *({"ridge_share": share} for share in (0.01, 0.2)),
    *({"prior_weight": weight} for weight in (0.03, 0.3, 3.0)),
    *({"seam_px": px} for px in (0.0, 2.0, 8.0)),
    {"detail": False},
)

Images = dict[str, NDArray[np.float32]]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    clear, cloudy = images("s2"), images("s2_cloudy")
    priors = {region: prior_without(region, clear) for region in {region_of(name) for name in clear}}
    sets = {"copied": list(copied(clear, cloudy)), "observed": list(observed(clear, cloudy))}
    table = Table("", *(f"{name}: {what}" for name in sets for what in ("MAE", "SAM (°)")))
    for name in ("clear-mean", "sar-regression"):
        table.add_row(name, *errors(sets, dict.fromkeys(priors, baseline(name, BANDS))))
    for change in ({}, *CHANGES):
        settings = SceneAdaptedSettings.model_validate(change)
        removers = {region: SceneAdapted(BANDS, settings, prior) for region, prior in priors.items()}
        named = ", ".join(f"{key} = {value}" for key, value in change.items()) or "scene-adapted, default settings"
        table.add_row(named, *errors(sets, removers))
    for weight in SEASONAL_WEIGHTS:
        each = dict.fromkeys(SEASONAL_WEIGHT, weight)
        weighed = {region: SceneAdapted(BANDS, prior=replace(p, seasonal_weight=each)) for region, p in priors.items()}
        table.add_row(f"seasonal_weight = {weight} in every band", *errors(sets, weighed))
    Console().print(table)


def errors(sets: dict[str, list[Triplet]], removers: "dict[str, CloudRemover] | dict[str, SceneAdapted]") -> list[str]:
    cells = []
    for triplets in sets.values():
        by_region = defaultdict(list)
        for triplet in triplets:
            by_region[region_of(triplet.name)].append(triplet)
        means = [
            score_patches(evaluate_remover(removers[r], each), "kept").mean("cloudy") for r, each in by_region.items()
        ]
        cells += [f"{np.mean([mean['mae'] for mean in means]):.4f}", f"{np.mean([mean['sam'] for mean in means]):.2f}"]
    return cells


def region_of(name: str) -> str:
    return name.split("_p")[0]


def images(sensor: str) -> Images:
    """Patches of one sensor by name, Spain among the clear and the radar ones in four quarters."""
    kind = SENTINEL1 if sensor == "s1" else SENTINEL2
    paths = sorted((SAMPLES / "sen12mscr").glob(f"*_{sensor}/{sensor}_*/*.tif"))
    found = {path.stem.replace(f"_{sensor}_", "_"): read(path, kind).values for path in paths}
    if sensor != "s2_cloudy":
        file, unit = ("S1", 1.0) if sensor == "s1" else ("S2", 1e4)
        path = SAMPLES / "sen1floods11" / file / f"Spain_7370579_{file}Hand.tif"
        whole = read_stored(path).values.astype(np.float32) / np.float32(unit)
        corners = [(top, left) for top in (0, 256) for left in (0, 256)]
        found |= {f"Spain_p{i}": whole[:, y : y + 256, x : x + 256] for i, (y, x) in enumerate(corners)}
    return found


def prior_without(region: str, clear: Images) -> Prior:
    """The prior spectra as they are made, but without one region."""
    pixels = defaultdict(list)
    for name, image in clear.items():
        pixels[region_of(name)].append(image.reshape(13, -1))
    land, water = [], []
    for name, each in pixels.items():
        joined = np.concatenate(each, axis=1)
        is_land = joined[7] > joined[2]
        for kind, where in ((land, is_land), (water, ~is_land)):
            if name != region and where.mean() >= 0.05:
                kind.append(joined[:, where].mean(axis=1, dtype=np.float64))
    spectra = (dict(zip(BANDS, np.median(kind, axis=0).tolist(), strict=True)) for kind in (land, water))
    return replace(PRIOR, land=next(spectra), water=next(spectra))


def copied(clear: Images, cloudy: Images) -> Iterator[Triplet]:
    for name, sar in images("s1").items():
        for source in COPIED if name in clear and not name.endswith("p31") else ():
            m = cloud_map(cloudy[source], BANDS, cache=ProbabilityCache())
            painted = paint(name, clear[name], BANDS, COPY, cloudy=cloudy[source], cloud_map=m)
            seen = observe(sar, painted.cloudy, m, BANDS, patch_season(roi_of(name)))
            yield Triplet(f"{name} under {source}", seen, torch.from_numpy(clear[name])[None])


def observed(clear: Images, cloudy: Images) -> Iterator[Triplet]:
    for name in sorted(clear.keys() & cloudy.keys()):
        m = cloud_map(cloudy[name], BANDS, cache=ProbabilityCache())
        if region_of(name) != SNOW and np.mean(m > 0) > 0.02:
            sar = np.broadcast_to(np.array([-10, -16], np.float32)[:, None, None], (2, *m.shape)).copy()
            seen = observe(sar, cloudy[name], m, BANDS, patch_season(roi_of(name)))
            yield Triplet(name, seen, torch.from_numpy(clear[name])[None])


if __name__ == "__main__":
    main()
