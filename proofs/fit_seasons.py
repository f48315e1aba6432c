"""Fit of the spectrum of land over the year, ``SEASONAL_SPECTRUM`` of ``models/adaptation/prior_spectrum.py``.

    python proofs/fit_seasons.py

Needs ``prior_pixels`` in $UNCLOUDED_SAMPLES: pixels of the United States with month, place and land class. Prints mean,
cosine and sine by band, in the order of the table; and the error of that fit for cells that it has not seen, beside the
error of the annual mean: the standard deviation of the residuals, fitted without a fifth of the cells at a time.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unclouded.models.adaptation.prior_spectrum import SEASONAL_SPECTRUM

SAMPLES = Path(os.environ.get("UNCLOUDED_SAMPLES", Path(__file__).parents[2] / "shared" / "data"))
WATER = 0
"""Class of water in ``land_class``."""
FOLDS = 5

Pixels = dict[str, NDArray[np.float64]]


def main() -> None:
    pixels = land_pixels(SAMPLES)
    everywhere = np.ones(len(pixels["month"]), bool)
    table = fit(pixels, everywhere)
    print(f"{everywhere.sum():,} pixels, {len(np.unique(pixels['cell']))} cells")
    seasonal, constant = (residuals(pixels, wave=wave) for wave in (True, False))
    for i, (band, row) in enumerate(table.items()):
        print(f'"{band}": {row}, residual {seasonal[i]:.4f} instead of {constant[i]:.4f}')


def land_pixels(samples: Path) -> Pixels:
    """Land pixels of all cells: ``reflectance`` of the bands of the table, ``month``, ``cell`` and ``weight``."""
    stored = np.load(samples / "prior_pixels" / "pixels.npz")
    land = stored["land_class"] != WATER
    bands = [stored["bands"].tolist().index(band) for band in SEASONAL_SPECTRUM]
    corners = np.floor(np.stack([stored["lat"][land], stored["lon"][land]], axis=1))
    _, cell, count = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    return {
        "reflectance": stored["reflectance"][land][:, bands].astype(np.float64),
        "month": stored["month"][land].astype(np.float64),
        "cell": cell.ravel(),
        "weight": 1 / np.sqrt(count[cell.ravel()]),
    }


def fit(pixels: Pixels, used: NDArray[np.bool_], *, wave: bool = True) -> dict[str, tuple[float, float, float]]:
    """Weighted least squares on 1, cosine and sine of the time of year; 0 for the latter two without ``wave``."""
    design = courses(pixels["month"][used])[:, : 3 if wave else 1]
    weight = np.sqrt(pixels["weight"][used])[:, None]
    solved = np.linalg.lstsq(design * weight, pixels["reflectance"][used] * weight, rcond=None)[0]
    rows = np.concatenate([solved, np.zeros((3 - len(solved), solved.shape[1]))]).round(4).T.tolist()
    return {band: (mean, cosine, sine) for band, (mean, cosine, sine) in zip(SEASONAL_SPECTRUM, rows, strict=True)}


def courses(month: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = 2 * np.pi * (month + 0.5) / 12
    return np.stack([np.ones_like(phase), np.cos(phase), np.sin(phase)], axis=1)


def residuals(pixels: Pixels, *, wave: bool) -> NDArray[np.float64]:
    """Standard deviation by band of what the fit to the other cells leaves."""
    left = np.empty_like(pixels["reflectance"])
    fold = np.random.default_rng(0).integers(0, FOLDS, int(pixels["cell"].max()) + 1)[pixels["cell"].astype(int)]
    for one in range(FOLDS):
        table = np.array(list(fit(pixels, fold != one, wave=wave).values())).T
        left[fold == one] = pixels["reflectance"][fold == one] - courses(pixels["month"][fold == one]) @ table
    weight = pixels["weight"] / pixels["weight"].sum()
    return np.asarray(np.sqrt((weight[:, None] * left**2).sum(axis=0)))


if __name__ == "__main__":
    main()
