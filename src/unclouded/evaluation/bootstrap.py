"""Confidence intervals of means over patches, from a bootstrap over regions.

Patches of SEN12MS-CR overlap by half, and those of one region share scenes, dates and clouds, so that a standard error
over patches would be far too small. Whole regions are drawn with replacement instead (cluster bootstrap; Davison &
Hinkley 1997, section 3.8); the interval lies between two percentiles of the resampled means.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

Interval = tuple[float, float]

LEVEL = 0.95

RESAMPLES = 2_000


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
        values: One value per patch; NaN if undefined.
        regions: Region of each patch.
        rng: Random generator.
        level: Confidence level.
        resamples: Number of resamples.

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
    """Number of draws of each region in each resample."""
    return rng.multinomial(regions, np.full(regions, 1 / regions), size=resamples)
