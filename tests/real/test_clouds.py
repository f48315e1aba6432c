"""Cloud maps of all real patches, against the s2cloudless package on a crop of each."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from unclouded.clouds.map import cloud_map, cloudy_share
from unclouded.clouds.s2cloudless import package_probability, s2cloudless_probability
from unclouded.io.raster import Raster, read
from unclouded.sensors import SENTINEL2

CROP = 24


def optical(samples: Path) -> list[Path]:
    return sorted([*(samples / "triplets").glob("s2_cloud*/*.tif"), *(samples / "sen12mscr").glob("*_s2*/**/*.tif")])


def cut(image: Raster, size: int, corner: int = 100) -> np.ndarray:
    return image.values[:, corner : corner + size, corner : corner + size].copy()


def test_a_crop_of_every_real_patch_gets_the_bits_of_the_package(samples: Path) -> None:
    paths = optical(samples)
    assert len(paths) >= 100
    scene = np.concatenate([cut(read(path, SENTINEL2), CROP) for path in paths], axis=2)
    expected = package_probability(scene, SENTINEL2.bands)
    np.testing.assert_array_equal(s2cloudless_probability(scene, SENTINEL2.bands), expected)
    assert 0.2 < np.mean(expected >= 0.5) < 0.8


def test_the_map_of_a_whole_real_patch_is_the_specified_one(samples: Path) -> None:
    image = read(samples / "triplets" / "s2_cloudy" / "oriolac_test_0581.tif", SENTINEL2)
    probability = package_probability(image.values, SENTINEL2.bands)
    expected = gaussian_filter(np.where(probability >= 0.5, probability, 0), 2.0, mode="reflect", truncate=4.0)
    np.testing.assert_allclose(cloud_map(image.values, SENTINEL2.bands), expected, atol=1e-6)


def test_haze_and_shadow_of_winter_112_are_not_detected_as_cloud(samples: Path) -> None:
    (path,) = (samples / "sen12mscr").rglob("ROIs2017_winter_s2_cloudy_112_p797.tif")
    assert not cloud_map(read(path, SENTINEL2).values, SENTINEL2.bands).any()


def test_snow_of_spring_26_is_not_mistaken_for_cloud(samples: Path) -> None:
    assert cloudy_shares(samples, "*_s2_26_p*.tif") == [0.0] * 3


def test_thin_cirrus_on_13_of_15_clear_images_of_fall_136_is_cloud_from_edge_to_edge(samples: Path) -> None:
    assert sorted(cloudy_shares(samples, "*_s2_136_p*.tif")) == [0.0] * 2 + [1.0] * 13


def cloudy_shares(samples: Path, pattern: str) -> list[float]:
    images = [read(path, SENTINEL2) for path in (samples / "sen12mscr").rglob(pattern)]
    return [cloudy_share(cloud_map(image.values, image.bands)) for image in images]
