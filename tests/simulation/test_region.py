import re

import numpy as np
import pytest
from s2cloudless import S2PixelCloudDetector

from unclouded.errors import InputError
from unclouded.patches.roi import Roi
from unclouded.sensors import SENTINEL2
from unclouded.simulation.fields import SEASONS
from unclouded.simulation.land import LandCover
from unclouded.simulation.region import LARGEST_PX, SimulatedRegion, place, simulate_region

ROI = Roi("ROIs0000", "summer", 1)


@pytest.fixture(scope="module")
def detected(region) -> np.ndarray:
    """Cloud probability of the paper's detector, from the reference package."""
    images = region.cloudy.values.transpose(1, 2, 0)[None].clip(0, 1)
    return S2PixelCloudDetector(all_bands=True).get_cloud_probability_maps(images)[0]


def arrays(region: SimulatedRegion) -> list[np.ndarray]:
    rasters = [region.sar.values, region.clear.values, region.cloudy.values]
    return [*rasters, region.cloud_opacity, region.shadow, region.land_cover]


def test_the_same_seed_gives_the_same_region(region) -> None:
    again = simulate_region(ROI, np.random.default_rng(5), size_px=256, coverage=0.5)
    for first, second in zip(arrays(region), arrays(again), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_region(region) -> None:
    other = simulate_region(ROI, np.random.default_rng(6), size_px=256, coverage=0.5)
    assert (region.land_cover != other.land_cover).mean() > 0.4


def test_the_layers_share_one_grid(region) -> None:
    assert [values.shape for values in arrays(region)] == [(2, 256, 256), *[(13, 256, 256)] * 2, *[(256, 256)] * 3]
    assert region.sar.geobox == region.clear.geobox == region.cloudy.geobox


def test_values_are_physically_plausible(region) -> None:
    assert region.sar.values.min() > -45
    assert region.sar.values.max() < 20
    assert 0 < (region.sar.values > 0).mean() < 0.02
    assert region.clear.values.min() > 0
    assert region.clear.values.max() < 0.8
    assert region.cloudy.values.min() > 0
    assert 1 < region.cloudy.values.max() < 1.2
    assert not any(np.isnan(values).any() for values in arrays(region))


def test_clear_pixels_of_the_cloudy_date_differ_by_about_0_002(region) -> None:
    open_sky = (region.cloud_opacity == 0) & (region.shadow == 0)
    error = np.abs(region.cloudy.values - region.clear.values)[:, open_sky]
    assert open_sky.mean() > 0.1
    assert 0.0005 < error.mean() < 0.005
    assert error.max() < 0.03


def test_shadows_darken_the_land(region) -> None:
    shaded = (region.cloud_opacity == 0) & (region.shadow > 0.8) & (region.land_cover == LandCover.CROP)
    (b08,) = SENTINEL2.indices("B08")
    assert shaded.sum() > 50
    left = np.median(region.cloudy.values[b08, shaded] / region.clear.values[b08, shaded])
    assert 0.4 < left < 0.52  # 1 - 0.6 x shadow, and the light of the air


def test_b10_is_dark_but_under_clouds(region) -> None:
    (b10,) = region.cloudy.select(("B10",)).values
    assert b10[region.cloud_opacity == 0].max() < 0.002
    assert b10[region.cloud_opacity > 0.6].min() > 0.002
    assert region.clear.select(("B10",)).values.max() < 0.002


def test_the_detector_of_the_paper_finds_the_thick_clouds(region, detected) -> None:
    thick = region.cloud_opacity > 0.6
    assert thick.mean() > 0.1
    assert (detected[thick] >= 0.5).mean() >= 0.8


def test_the_detector_of_the_paper_leaves_clear_land_alone(region, detected) -> None:
    clear = region.cloud_opacity < 0.02
    assert clear.mean() > 0.1
    assert (detected[clear] >= 0.5).mean() <= 0.03


def test_radar_separates_green_fields_from_bare_ones(region) -> None:
    red, infrared = region.clear.select(("B04", "B08")).values
    crop = region.land_cover == LandCover.CROP
    index, vh = ((infrared - red) / (infrared + red))[crop], region.sar.values[1, crop]
    assert np.corrcoef(index, vh)[0, 1] > 0.3


def test_seasons_change_the_fields_but_not_the_lie_of_the_land() -> None:
    spring, winter = (
        simulate_region(Roi("ROIs0000", season, 1), np.random.default_rng(5), 256) for season in ("spring", "winter")
    )
    np.testing.assert_array_equal(spring.land_cover, winter.land_cover)
    (b08,) = SENTINEL2.indices("B08")
    crop = spring.land_cover == LandCover.CROP
    assert spring.clear.values[b08, crop].mean() > winter.clear.values[b08, crop].mean() + 0.05


def test_regions_lie_apart_in_utm_zone_32_and_off_the_10_m_raster() -> None:
    boxes = [place(Roi("ROIs0000", season, number), 256) for season in SEASONS for number in range(300)]
    corners = np.array([(box.affine.c, box.affine.f) for box in boxes])
    assert {str(box.crs) for box in boxes} == {"EPSG:32632"}
    assert len(np.unique(corners // (10 * LARGEST_PX), axis=0)) == len(corners) == 1200
    np.testing.assert_allclose(corners % 10, np.tile([3.7, 8.2], (1200, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("roi", "size_px", "coverage", "message"),
    [
        (ROI, 255, 0.4, "expected a region of 256 to 2000 px, found 255; choose another size"),
        (ROI, 2001, 0.4, "expected a region of 256 to 2000 px, found 2001; choose another size"),
        (ROI, 256, 45.0, "expected a coverage from 0 to 1, found 45.0; 0.45 covers nearly half of the region"),
        (
            Roi("ROIs0000", "autumn", 1),
            256,
            0.4,
            "expected a season out of spring, summer, fall, winter, found 'autumn'; rename the region",
        ),
    ],
)
def test_impossible_regions_are_rejected(roi, size_px, coverage, message) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        simulate_region(roi, np.random.default_rng(0), size_px, coverage)


def test_a_reference_shows_the_same_land_with_other_growth_and_changes_nothing_else() -> None:
    roi = Roi("ROIs0000", "summer", 1)
    alone, one, other = (
        simulate_region(roi, np.random.default_rng(5), 256, 0.5, reference_days=days) for days in (None, 10, 80)
    )
    assert alone.reference is None and one.reference is not None and other.reference is not None
    assert np.array_equal(alone.cloudy.values, one.cloudy.values) and np.array_equal(alone.sar.values, one.sar.values)
    b12 = SENTINEL2.bands.index("B12")
    near, far = (image.reference.values[b12] for image in (one, other))
    ground = (np.abs(near - near.mean()) < 0.2) & (np.abs(far - far.mean()) < 0.2)
    clear = alone.clear.values[b12][ground]
    assert np.corrcoef(clear, near[ground])[0, 1] > np.corrcoef(clear, far[ground])[0, 1] + 0.01
