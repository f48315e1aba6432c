"""Painted clouds beside real ones, and where the numbers of ``clouds/physical.py`` come from."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from unclouded.clouds.map import cloud_map
from unclouded.clouds.synthetic import PERLIN, SyntheticSettings, cloud_colour, paint, shaded
from unclouded.io.raster import read
from unclouded.sensors import SENTINEL2

BANDS = SENTINEL2.bands
BLUE, RED, CIRRUS = SENTINEL2.indices("B02", "B04", "B10")
REGIONS = ("s2_cloudy_26", "s2_cloudy_19", "s2_cloudy_136", "s2_cloudy_85")
ONE = np.ones((1, 1), np.float32)


@dataclass(frozen=True)
class Cloudy:
    path: Path
    image: np.ndarray
    cloud_map: np.ndarray

    def clear(self) -> np.ndarray:
        return read(self.path.parents[1] / "s2_cloudfree" / self.path.name, SENTINEL2).values


@pytest.fixture(scope="module")
def triplets(samples: Path) -> list[Cloudy]:
    return [mapped(path) for path in sorted((samples / "triplets/s2_cloudy").glob("*.tif"))]


@pytest.fixture(scope="module")
def thick(samples: Path) -> list[Cloudy]:
    return [mapped(path) for region in REGIONS for path in sorted((samples / "sen12mscr").glob(f"*/{region}/*.tif"))]


def mapped(path: Path) -> Cloudy:
    image = read(path, SENTINEL2).values
    return Cloudy(path, image, cloud_map(image, BANDS))


def brightest_cloud(thick: list[Cloudy]) -> dict[str, np.ndarray]:
    """For each region the mean spectra, one a patch, of the brightest tenth in B04 of the pixels with m > 0.99.

    Patches with fewer than 1 % of such pixels do not count.
    """
    spectra = defaultdict(list)
    for patch in thick:
        sure = patch.image[:, patch.cloud_map > 0.99]
        if sure.shape[1] >= patch.cloud_map.size / 100:
            brightest = sure[RED] >= np.quantile(sure[RED], 0.9)
            spectra[patch.path.parent.name].append(sure[:, brightest].mean(axis=1, dtype=np.float64))
    return {region: np.stack(found) for region, found in spectra.items()}


def test_the_colour_of_thick_cloud_is_the_mean_over_four_regions(thick: list[Cloudy]) -> None:
    regions = brightest_cloud(thick)
    assert [len(regions[region]) for region in REGIONS] == [1, 1, 14, 2]
    relative = [(spectra / spectra[:, [RED]]).mean(axis=0) for spectra in regions.values()]
    assert np.mean([spectra[:, RED].mean() for spectra in regions.values()]) == pytest.approx(0.76, abs=0.005)
    colour = [cloud_colour(band, 0 * ONE).item() for band in BANDS]
    np.testing.assert_allclose(np.mean(relative, axis=0), colour, atol=0.005)


def test_the_colour_of_ice_is_that_of_the_thickest_cirrus_without_the_ground_below(triplets: list[Cloudy]) -> None:
    """The tenth of its pixels with the largest B10; opaque, it is taken to be as bright in B04 as thick cloud."""
    patch = next(patch for patch in triplets if patch.path.stem == "oriolac_test_0746")
    thickest = patch.image[CIRRUS] >= np.quantile(patch.image[CIRRUS], 0.9)
    veiled, ground = (image[:, thickest].mean(axis=1, dtype=np.float64) for image in (patch.image, patch.clear()))
    alpha = (veiled[RED] - ground[RED]) / (0.76 - ground[RED])
    assert alpha == pytest.approx(0.29, abs=0.005)
    ice = (veiled - (1 - alpha) * ground) / alpha
    colour = [cloud_colour(band, ONE).item() for band in BANDS]
    np.testing.assert_allclose(ice / ice[RED], colour, atol=0.005)


def test_direct_light_is_what_shadows_lack_beside_sunlit_land(samples: Path) -> None:
    """Human labels 0 and 3, whose spectrum is that of plants, in B02, B03, B04, B08, B11 and B12; lines between."""
    with np.load(samples / "cloud_labels/sentinel2.npz") as file:
        image, label = file["img"], file["msk"][..., 0]
    shadow, land = (np.median(image[label == value], axis=0) for value in (0, 3))
    centres_nm = [443, 493, 560, 665, 704, 741, 783, 833, 865, 945, 1374, 1614, 2202]
    measured = [centres_nm[band] for band in SENTINEL2.indices("B02", "B03", "B04", "B08", "B11", "B12")]
    expected = np.interp(centres_nm, measured, 1 - shadow / land)
    expected[CIRRUS] = 0
    np.testing.assert_allclose([1 - shaded(ONE, band, ONE).item() for band in BANDS], expected, atol=0.005)


def autocorrelation(image: np.ndarray, lag: int) -> float:
    rest = image - image.mean()
    pairs = (rest[lag:] * rest[:-lag]).mean() + (rest[:, lag:] * rest[:, :-lag]).mean()
    return float(pairs / 2 / rest.var())


def translucent_share(alpha: np.ndarray) -> float:
    return float(((alpha > 0.05) & (alpha < 0.95)).mean())


def opacity_seen(patch: Cloudy) -> np.ndarray:
    """How far B02 is from its darkest to its brightest twentieth."""
    low, high = np.quantile(patch.image[BLUE], (0.05, 0.95))
    return np.clip((patch.image[BLUE] - low) / (high - low), 0, 1)


def test_painted_clouds_are_as_smooth_as_the_middle_half_of_real_maps(
    thick: list[Cloudy], triplets: list[Cloudy]
) -> None:
    real = [patch for patch in thick + triplets if 0.15 < patch.cloud_map.mean() < 0.85]
    ground = np.zeros((1, 256, 256), np.float32)
    painted = [paint(f"patch {number}", ground, ("B04",)).cloud_map for number in range(64)]
    for lag in (4, 8, 16, 32, 64):
        low, high = np.quantile([autocorrelation(patch.cloud_map, lag) for patch in real], (0.25, 0.75))
        assert low - 0.01 < np.median([autocorrelation(alpha, lag) for alpha in painted]) < high + 0.01
    maps = [patch.cloud_map for patch in real], painted, [opacity_seen(patch) for patch in real]
    between = [np.median([translucent_share(each) for each in kind]) for kind in maps]
    assert between == sorted(between)  # one alpha is both the map and the opacity


def test_s2cloudless_detects_physical_clouds_better_than_white_ones(triplets: list[Cloudy]) -> None:
    physical = SyntheticSettings(spectrum="physical")
    correlate_edges = defaultdict(list)
    for patch in triplets:
        for settings in (PERLIN, physical):
            painted = paint(patch.path.stem, patch.clear(), BANDS, settings)
            seen = cloud_map(painted.cloudy, BANDS)
            correlate_edges[settings.spectrum].append(np.corrcoef(seen.ravel(), painted.cloud_map.ravel())[0, 1])
    assert np.mean(correlate_edges["physical"]) > np.mean(correlate_edges["white"]) + 0.05
