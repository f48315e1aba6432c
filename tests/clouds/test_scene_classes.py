"""Cloud map from the scene classification of L2A."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from unclouded.clouds.map import SCENE_CLASSES, cloud_map, map_rows
from unclouded.clouds.scene_classes import REACH_PX, _dilated, class_map
from unclouded.errors import InputError
from unclouded.sensors import SENTINEL2_L2A

VEGETATION = 4


def image(side: int = 80) -> np.ndarray:
    return np.full((side, side), VEGETATION, np.uint8)


def test_cloud_is_widened_by_100_m_and_shadow_by_60_m() -> None:
    for kind, reach in ((8, 10), (9, 10), (10, 10), (3, 6)):
        classes = image()
        classes[40:42, 40:42] = kind
        found = class_map(classes)
        assert found.m[41, 41] > 0.99
        row = found.m[41, 42:]
        assert row[reach - 1] > 0.5 > row[reach]
        assert (row[reach + 6 :] == 0).all()
        assert found.shadow[41, 41] == (kind == 3)


@pytest.mark.parametrize("radius", [0, 1, 3, 5])
def test_the_widening_is_that_by_a_disk(radius: int) -> None:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = y * y + x * x <= radius * radius + radius
    rng = np.random.default_rng(radius)
    for shape in ((30, 41), (2, 9), (9, 2), (1, 1)):
        mask = rng.random(shape) < 0.03
        np.testing.assert_array_equal(_dilated(mask, radius), binary_dilation(mask, disk))


@pytest.mark.parametrize("clear", [2, 4, 5, 6, 11])
def test_ground_water_relief_shadow_and_snow_are_clear(clear: int) -> None:
    found = class_map(np.full((8, 8), clear, np.uint8))
    assert (found.m == 0).all()
    assert not found.shadow.any()


@pytest.mark.parametrize("unknown", [0, 1, 7, 12, 255])
def test_no_data_saturated_unclassified_and_other_numbers_are_unknown(unknown: int) -> None:
    classes = image()
    classes[:20] = unknown
    m = class_map(classes).m
    assert np.isnan(m[:20]).all()
    assert (m[20:] == 0).all()


def test_unclassified_pixels_beside_cloud_are_cloud_but_no_data_stays_unknown() -> None:
    classes = image()
    classes[40:42, 40:42], classes[40, 44], classes[40, 46] = 9, 7, 0
    m = class_map(classes).m
    assert m[40, 44] == 1.0
    assert np.isnan(m[40, 46])


def test_strips_equal_the_whole_image_at_odd_sizes() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.choice(
        np.array([0, 3, 4, 5, 7, 8, 11], np.uint8), (70, 41), p=[0.02, 0.02, 0.5, 0.4, 0.02, 0.02, 0.02]
    )
    classes = coarse.repeat(2, 0).repeat(2, 1)[:139, :81]
    whole = class_map(classes)

    def never(top: int, bottom: int) -> np.ndarray:
        raise AssertionError("the bands are not read")

    def read(top: int, bottom: int) -> np.ndarray:
        return classes[top:bottom]

    strips = map_rows(never, 139, SENTINEL2_L2A.bands, SCENE_CLASSES, strip_px=48, read_classes=read)
    np.testing.assert_array_equal(np.concatenate([m for _, m in strips]), whole.m)
    assert REACH_PX == 16


def test_a_map_of_classes_is_refused_for_bands_alone() -> None:
    with pytest.raises(InputError, match="the cloud map scl needs the scene classification of an L2A product"):
        cloud_map(np.zeros((12, 8, 8), np.float32), SENTINEL2_L2A.bands, SCENE_CLASSES)


def test_classes_on_the_grid_of_20_m_give_the_same_map() -> None:
    classes = image()
    classes[30:34, 50:54], classes[60:64, 20:30] = 9, 3
    fine, coarse = class_map(classes), class_map(classes[::2, ::2], factor=1)
    np.testing.assert_array_equal(coarse.shadow, fine.shadow[::2, ::2])
    means = fine.m.reshape(40, 2, 40, 2).mean((1, 3))
    assert np.abs(coarse.m - means).max() < 0.06  # interpolation of the rim
