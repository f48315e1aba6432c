"""Where the prior spectra come from, and that a scene's own clear pixels are worth learning from."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unclouded.clouds.map import CloudMapSettings
from unclouded.evaluation.scores import score_patches
from unclouded.io.geotiff import read_stored
from unclouded.io.raster import read
from unclouded.models.adaptation.prior_spectrum import LAND_SPECTRUM, WATER_SPECTRUM
from unclouded.models.adaptation.scene_adapted import SceneAdapted
from unclouded.models.baselines import baseline
from unclouded.patches.layouts import find_triplets
from unclouded.sensors import SENTINEL2
from unclouded.tensors.dataset import TripletDataset


def spectra_of_regions(samples: Path) -> list[NDArray[np.float32]]:
    """All pixels of the clear images of each region, (band, pixel)."""
    regions: dict[str, list[NDArray[np.float32]]] = {}
    for path in sorted((samples / "sen12mscr").glob("*_s2/s2_*/*.tif")):
        regions.setdefault(path.name.rsplit("_p", 1)[0], []).append(read(path, SENTINEL2).values.reshape(13, -1))
    spain = read_stored(samples / "sen1floods11" / "S2" / "Spain_7370579_S2Hand.tif").values
    return [*(np.concatenate(images, axis=1) for images in regions.values()), spain.reshape(13, -1) / np.float32(1e4)]


def test_the_prior_spectra_are_medians_over_regions(samples: Path) -> None:
    regions = spectra_of_regions(samples)
    assert len(regions) == 12
    land = [(pixels, pixels[7] > pixels[2]) for pixels in regions]
    for spectrum, chosen, count in (
        (LAND_SPECTRUM, [(p, is_land) for p, is_land in land], 7),
        (WATER_SPECTRUM, [(p, ~is_land) for p, is_land in land], 8),
    ):
        means = [p[:, where].mean(axis=1, dtype=np.float64) for p, where in chosen if where.mean() >= 0.05]
        assert len(means) == count
        assert np.median(means, axis=0).round(4).tolist() == list(spectrum.values())


@pytest.fixture(scope="module")
def triplets(samples: Path) -> TripletDataset:
    return TripletDataset(find_triplets(samples / "triplets").triplets, SENTINEL2.bands, CloudMapSettings())


def test_under_real_clouds_the_error_falls_by_a_quarter(triplets: TripletDataset) -> None:
    seen = list(triplets)
    constant, adapted = (
        score_patches([(t, remover(t.observation)) for t in seen], "kept").mean("cloudy")
        for remover in (baseline("clear-mean", SENTINEL2.bands), SceneAdapted(SENTINEL2.bands))
    )
    assert adapted["mae"] < 0.75 * constant["mae"]
    assert adapted["sam"] < 0.75 * constant["sam"]
