"""The figures of the README of the samples, and what the fixed spectrum was made from."""

from pathlib import Path

import numpy as np
import pytest

from unclouded.clouds.map import CloudMapSettings
from unclouded.evaluation.scores import Scores, score_patches
from unclouded.io.raster import read
from unclouded.models.baselines import FIXED_SPECTRUM, baseline
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import RGB, SENTINEL2
from unclouded.tensors.dataset import TripletDataset
from unclouded.tensors.observation import Triplet


@pytest.fixture(scope="module")
def triplets(samples: Path) -> list[Triplet]:
    files = find_triplets(samples / "triplets").triplets
    return list(TripletDataset(files, SENTINEL2.bands, CloudMapSettings()))


def judged(name: str, bands: tuple[str, ...], triplets: list[Triplet]) -> Scores:
    remover = baseline(name, bands)
    return score_patches(((t.select(bands), remover(t.observation)) for t in triplets), "kept")


@pytest.mark.parametrize(("name", "mae", "psnr"), [("cloudy", 0.094, 22.0), ("clear-mean", 0.024, 30.8)])
def test_red_green_blue_over_ten_real_triplets(name: str, mae: float, psnr: float, triplets: list[Triplet]) -> None:
    mean = judged(name, RGB, triplets).mean("all")
    assert mean["n"] == 10
    assert round(mean["mae"], 3) == mae
    assert round(mean["psnr"], 1) == psnr


def test_radar_helps_under_real_clouds(triplets: list[Triplet]) -> None:
    constant, radar = (
        judged(name, SENTINEL2.bands, triplets).mean("cloudy") for name in ("clear-mean", "sar-regression")
    )
    assert radar["mae"] < 0.95 * constant["mae"]
    assert radar["ssim"] > constant["ssim"]


def test_the_fixed_spectrum_is_the_mean_of_the_59_clear_patches(samples: Path) -> None:
    files = sorted((samples / "sen12mscr").glob("*_s2/s2_*/*.tif"))
    spectra = [read(path, SENTINEL2).values.mean(axis=(1, 2), dtype=np.float64) for path in files]
    assert len(spectra) == 59
    assert np.mean(spectra, axis=0).round(4).tolist() == list(FIXED_SPECTRUM.values())
