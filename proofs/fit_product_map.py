"""How the weights of the product map were fitted: logistic regression to real pairs, judged on regions left out.

    python proofs/fit_product_map.py

The features are the logit of s2cloudless, smoothed, and the capped excess of B01 and of the haze index over clear
ground; the pixels are those of the pairs of ``proofs/product_map.py``, each region and class weighing the same. Prints
the weights of several choices of features, and the area under the curve and the errors on regions that were left out.
"""

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray
from product_map import Pair, find_pairs
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from unclouded.clouds.detector import block_mean
from unclouded.clouds.local_statistics import halved, smoothed
from unclouded.clouds.product_map import BANDS, excess_over_ground
from unclouded.clouds.s2cloudless import s2cloudless_probability
from unclouded.sensors import SENTINEL2

CAP = 0.04
MOST = 2000
"""Pixels drawn from a patch for each class."""
FEATURES = ("detector", "B01", "haze index")
CHOICES = ((0,), (0, 1), (0, 2), (0, 1, 2))
CHANGED = {"summer 102"}
"""Regions whose bright fields changed: their pixels are no proof of cloud."""

Samples = tuple[Float64[np.ndarray, "pixel feature"], Bool[np.ndarray, " pixel"], NDArray[np.str_]]


def main() -> None:
    features, cloudy, regions = sampled(find_pairs())
    weight = weights(cloudy, regions)
    print(
        "| features | weights and constant | AUC | clear called cloud | cloud called clear |\n|---|---|---:|---:|---:|"
    )
    for choice in CHOICES:
        columns = np.column_stack([features[:, list(choice)], np.ones(len(features))])
        score = np.empty(len(columns))
        for region in np.unique(regions):
            out = regions == region
            score[out] = columns[out] @ fitted(columns[~out], cloudy[~out], weight[~out])
        wrong = [np.average((score > 0) != cloudy, weights=weight * (cloudy == kind)) for kind in (False, True)]
        numbers = ", ".join(f"{one:.2f}" for one in fitted(columns, cloudy, weight))
        names = ", ".join(FEATURES[one] for one in choice)
        print(f"| {names} | {numbers} | {area(score, cloudy):.3f} | {wrong[0]:.3f} | {wrong[1]:.3f} |")


def sampled(pairs: list[Pair]) -> Samples:
    """Return features, classes and regions of pixels of 20 m that are clear, in shadow or cloudy by their pair."""
    rng = np.random.default_rng(0)
    features, cloudy, regions = [], [], []
    for pair in pairs:
        truth = {name: block_mean(mask[None].astype(np.float32), 2)[0] > 0.75 for name, mask in pair.truth().items()}
        found = pair_features(pair)
        for kind, mask in (
            (False, truth["clear"] | truth["shadow"]),
            (True, (truth["thin cloud"] | truth["thick cloud"]) & (pair.region not in CHANGED)),
        ):
            pixels = np.flatnonzero(mask)
            pixels = rng.choice(pixels, min(MOST, len(pixels)), replace=False)
            features.append(found.reshape(len(FEATURES), -1)[:, pixels].T)
            cloudy.append(np.full(len(pixels), kind))
            regions.append(np.full(len(pixels), pair.region))
    return np.concatenate(features).astype(np.float64), np.concatenate(cloudy), np.concatenate(regions)


def pair_features(pair: Pair) -> Float64[np.ndarray, "feature y x"]:
    image = halved(pair.cloudy)
    probability = smoothed(s2cloudless_probability(image, SENTINEL2.bands)).clip(0.01, 0.99)
    pixels = {band: image[SENTINEL2.bands.index(band)] for band in BANDS}
    excess = (np.minimum(one, CAP) for one in excess_over_ground(pixels, np.isfinite(probability), "L1C"))
    return np.stack([np.log(probability / (1 - probability)), *excess]).astype(np.float64)


def weights(cloudy: Bool[np.ndarray, " pixel"], regions: NDArray[np.str_]) -> Float64[np.ndarray, " pixel"]:
    """Return weights that give each class of each region the same sum, unless it has few pixels."""
    weight = np.zeros(len(cloudy))
    for region in np.unique(regions):
        for kind in (False, True):
            inside = (regions == region) & (cloudy == kind)
            weight[inside] = 1 / max(int(inside.sum()), 400)
    return weight


def fitted(
    columns: Float64[np.ndarray, "pixel feature"],
    cloudy: Bool[np.ndarray, " pixel"],
    weight: Float64[np.ndarray, " pixel"],
) -> Float64[np.ndarray, " feature"]:
    sign = np.where(cloudy, 1.0, -1.0)
    scale = np.abs(columns).mean(axis=0)

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (columns / scale @ numbers)
        slope = -(sign * weight * expit(-margin)) @ (columns / scale)
        return float(weight @ np.logaddexp(0, -margin)) + 1e-3 * float(numbers @ numbers), slope + 2e-3 * numbers

    return np.asarray(minimize(loss, np.zeros(columns.shape[1]), jac=True, method="L-BFGS-B").x / scale)


def area(score: Float64[np.ndarray, " pixel"], cloudy: Bool[np.ndarray, " pixel"]) -> float:
    """Return the area under the curve of true against false positives."""
    ranks, positive = rankdata(score), int(cloudy.sum())
    return float((ranks[cloudy].sum() - positive * (positive + 1) / 2) / positive / (len(cloudy) - positive))


if __name__ == "__main__":
    main()
