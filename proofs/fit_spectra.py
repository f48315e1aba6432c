"""Fit of the mixture that separates plausible from implausible spectra, ``unclouded/sentinel/data/spectra.csv``.

    python proofs/fit_spectra.py [OUT.csv]

Needs the real samples in $UNCLOUDED_SAMPLES (``sen12mscr``, ``triplets``, ``timeseries``, ``timeseries_other_patches``,
``sen1floods11``: 13 bands; ``prior_pixels``: 11 bands of many places, to which B01 and B10 are added from the most
similar clear pixel of the others) and scikit-learn. All regions have the same weight, the many places that of ten.

Every region is then tested with a model fitted without it: in its own band order, with pairs of bands swapped, and in
the orders that tools write. Prints the numbers of rejections and warnings; writes the model of all regions if OUT.csv
is given.
"""

import argparse
import os
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.mixture import GaussianMixture

from unclouded.io.geotiff import read_stored
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.plausibility import ORDERS, PIXELS, SpectralModel, find_alternative

COMPONENTS, SPREAD = 12, 0.05
"""Number of normal distributions, and the value added to the standard deviation of each band."""
FOLDERS = ("sen12mscr", "triplets", "timeseries", "timeseries_other_patches", "sen1floods11")
BANDS = SENTINEL2.bands
Images = list[tuple[str, str, NDArray[np.float64]]]
"""Region, file and pixels."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path, nargs="?", metavar="OUT.csv", help="file of the fitted model")
    options = words.parse_args()
    samples = Path(os.environ["UNCLOUDED_SAMPLES"])
    images, prior = read_images(samples), np.load(samples / "prior_pixels" / "pixels.npz")
    print(f"{len(images)} images of {len({region for region, _, _ in images})} regions")
    if options.out:
        write(options.out, fitted(images, prior))
    cross_validate(images, prior)


def read_images(samples: Path) -> Images:
    rng, found = np.random.default_rng(0), []
    for path in sorted(path for folder in FOLDERS for path in (samples / folder).rglob("*.tif")):
        stored = read_stored(path).values
        if len(stored) == len(BANDS):
            pixels = stored.reshape(len(BANDS), -1).T
            pixels = pixels[((pixels != 0) & (pixels != 65535)).all(axis=1)]
            found.append((region_of(path), path.name, pixels[rng.choice(len(pixels), 2000)] / 10_000))
    return found


def region_of(path: Path) -> str:
    named = re.search(r"(ROIs\d+)(?:_\w+?)?_(\d+)_(?:p\d|ImgNo)", path.stem)
    return "_".join(named.groups()) if named else path.stem


def fitted(images: Images, prior: dict[str, NDArray[np.float64]]) -> GaussianMixture:
    rng = np.random.default_rng(0)
    regions = {region: np.concatenate([px for own, _, px in images if own == region]) for region, _, _ in images}
    parts = [px[rng.choice(len(px), 800)] for px in regions.values()]
    everywhere = np.concatenate(parts)
    parts.append(completed(prior, everywhere[everywhere[:, BANDS.index("B10")] < 0.005], rng)[:8000])
    logs = np.log(np.maximum(np.concatenate(parts), 0) + 0.01)
    return GaussianMixture(COMPONENTS, reg_covar=SPREAD**2, random_state=0, max_iter=200).fit(logs)


def completed(
    prior: dict[str, NDArray[np.float64]], clear: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    known = prior["reflectance"][rng.permutation(len(prior["reflectance"]))]
    columns = [BANDS.index(band) for band in prior["bands"]]
    nearest = cKDTree(np.log(clear[:, columns] + 0.01)).query(np.log(known + 0.01))[1]
    whole = clear[nearest].copy()
    whole[:, columns] = known
    b01, b02 = BANDS.index("B01"), BANDS.index("B02")
    whole[:, b01] = clear[nearest, b01] * known[:, list(prior["bands"]).index("B02")] / clear[nearest, b02]
    return whole


def model_of(mixture: GaussianMixture) -> SpectralModel:
    return SpectralModel(mixture.weights_, mixture.means_, mixture.covariances_)


def cross_validate(images: Images, prior: dict[str, NDArray[np.float64]]) -> None:
    swaps = {f"{BANDS[i]} and {BANDS[j]} swapped": swapped(i, j) for i, j in combinations(range(len(BANDS)), 2)}
    orders = {"as it is": BANDS, **ORDERS, **swaps}
    counts: dict[str, Counter[str]] = {name: Counter() for name in orders}
    rng = np.random.default_rng(1)
    for region in sorted({region for region, _, _ in images}):
        model = model_of(fitted([image for image in images if image[0] != region], prior))
        for _, name, pixels in [image for image in images if image[0] == region]:
            part = pixels[:PIXELS]
            tested = ["as it is", *ORDERS, *rng.choice(list(swaps), 4, replace=False)]
            for order in tested:
                found = find_alternative(
                    part[:, [BANDS.index(band) for band in orders[order]]].astype(np.float32), BANDS, model=model
                )
                decision = (
                    "refused" if found and found.is_sure else "warned" if found and found.is_likely else "accepted"
                )
                counts[order][decision] += 1
                if order == "as it is" and (decision != "accepted" or (found and found.gain > 2)):
                    print(f"{name}: {decision} {found}")
    for order, count in counts.items():
        total = max(sum(count.values()), 1)
        print(
            f"{order:45} " + "  ".join(f"{one} {count[one] / total:.0%}" for one in ("refused", "warned", "accepted")),
            total,
        )


def swapped(first: int, second: int) -> tuple[str, ...]:
    order = list(BANDS)
    order[first], order[second] = order[second], order[first]
    return tuple(order)


def write(path: Path, mixture: GaussianMixture) -> None:
    above = np.triu_indices(len(BANDS))
    header = ["weight", *BANDS, *(f"{BANDS[i]}_{BANDS[j]}" for i, j in zip(*above, strict=True))]
    rows = [
        [w, *mean, *cov[above]]
        for w, mean, cov in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True)
    ]
    lines = [",".join(header), *(",".join(f"{value:.7g}" for value in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
