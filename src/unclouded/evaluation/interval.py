"""How far a mean over patches can be trusted: bootstrap over regions, for the patches of a region are no witnesses of
their own.

Patches of SEN12MS-CR overlap by half, and those of one region share its scenes, its dates and its clouds: a standard
error over patches would be far too small. Whole regions are drawn with replacement instead (cluster bootstrap; Davison
& Hinkley 1997, section 3.8), and the interval reaches from one percentile of the means to another.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from unclouded.evaluation.scores import AREAS, METRICS, PatchScores

LEVEL = 0.95
RESAMPLES = 2_000
Interval = tuple[float, float]


def cluster_interval(
    values: Float64[np.ndarray, " n"],
    regions: Sequence[str],
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return the percentile interval of a mean over patches when regions are drawn with replacement.

    Args:
        values: One number a patch; NaN where it has none.
        regions: The region of each patch.
        rng: Draws the regions.
        level: Share of the drawn means that lie within.
        resamples: How many times all regions are drawn.

    Returns:
        Lower and upper end; (NaN, NaN) with fewer than two regions, with a patch of unknown region, or with an
        infinite value.
    """
    defined = ~np.isnan(values)
    names, which = np.unique(np.asarray(regions, dtype=np.str_)[defined], return_inverse=True)
    if len(names) < 2 or "" in names or np.isinf(values).any():
        return math.nan, math.nan
    sums = np.bincount(which, weights=values[defined], minlength=len(names))
    counts = np.bincount(which, minlength=len(names))
    drawn = _draws(len(names), resamples, rng)
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(regions: int, resamples: int, rng: np.random.Generator) -> Int64[np.ndarray, "resample region"]:
    """How many times each region is drawn in each resample."""
    return rng.multinomial(regions, np.full(regions, 1 / regions), size=resamples)


def intervals(
    patches: Sequence[PatchScores], rng: np.random.Generator, *, level: float = LEVEL, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the interval of every metric in every area, as JSON values, and from how many regions it comes."""
    regions = [patch.region for patch in patches]
    found: dict[str, Any] = {
        "level": level,
        "resamples": resamples,
        "regions": len(set(regions) - {""}),
        "why_none": why_none(patches),
    }
    for area in AREAS:
        found[area] = {
            metric: list(
                cluster_interval(column(patches, area, metric), regions, rng, level=level, resamples=resamples)
            )
            for metric in METRICS
        }
    return found


def column(patches: Sequence[PatchScores], area: str, metric: str) -> Float64[np.ndarray, " n"]:
    """Return one metric of every patch; NaN where the area has no pixel, or the PSNR is infinite, as in the mean."""
    values: list[Mapping[str, float]] = [patch.values[area] for patch in patches]  # type: ignore[index]
    found = np.array([one[metric] for one in values], dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def why_none(patches: Sequence[PatchScores]) -> str:
    """Return why there is no interval, for the reader; empty where there is."""
    regions = {patch.region for patch in patches}
    if unknown := sum(not patch.region for patch in patches):
        return f"no interval: the names of {unknown:,} of {len(patches):,} patches tell no region to draw"
    if len(regions) < 2:
        return f"no interval: all patches are of {regions.pop()}, and regions are drawn from at least two"
    return ""
