import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from unclouded.clouds.shadow import find_shadow, shadow_probability
from unclouded.sun import Sun

SIZE = 400  # 8 km
SUN = Sun(90, 45)  # in the east: shadows fall to the west, as far as the cloud is high


class Ground:
    """Grass with one cloud of 400 x 400 m; dark spots are added in B08 and B11."""

    def __init__(self) -> None:
        self.b08, self.b11 = np.full((SIZE, SIZE), 0.3, np.float32), np.full((SIZE, SIZE), 0.2, np.float32)
        self.cloud = np.zeros((SIZE, SIZE), bool)
        self.cloud[100:120, 200:220] = True
        self.b08[self.cloud] = self.b11[self.cloud] = 0.6

    def darken(self, rows: slice, columns: slice, b08: float, b11: float) -> None:
        self.b08[rows, columns], self.b11[rows, columns] = b08, b11

    def shadow(self, sun: Sun | None) -> np.ndarray:
        return find_shadow(shadow_probability(self.b08, self.b11, self.cloud, 128), self.cloud, sun)


def covers(found: np.ndarray, rows: slice, columns: slice) -> bool:
    """Return whether a mask covers a rectangle but for its rim."""
    inner = slice(rows.start + 2, rows.stop - 2), slice(columns.start + 2, columns.stop - 2)
    return bool(found[inner].all())


SHADOW = slice(100, 120), slice(150, 170)  # 50 px of 20 m west: a cloud 1000 m high


@pytest.mark.parametrize("sun", [SUN, None])
def test_dark_ground_with_cloud_towards_the_sun_is_shadow(sun: Sun | None) -> None:
    ground = Ground()
    ground.darken(*SHADOW, 0.1, 0.06)
    found = ground.shadow(sun)
    assert covers(found, *SHADOW)
    assert found.sum() <= 24 * 24


def test_dark_ground_without_cloud_towards_the_sun_is_none() -> None:
    ground = Ground()
    south = slice(160, 180), slice(150, 170)
    ground.darken(*south, 0.1, 0.06)
    assert not ground.shadow(SUN).any()
    assert covers(ground.shadow(None), *south)  # the cloud is 1.5 km away


def test_darkness_alone_is_shadow_within_3_km_of_cloud_only() -> None:
    ground = Ground()
    far = slice(300, 320), slice(200, 220)  # 3.6 km
    ground.darken(*far, 0.1, 0.06)
    assert not ground.shadow(None).any()


def test_a_cloud_outside_the_image_may_cast_a_shadow_beside_its_edge() -> None:
    ground = Ground()
    edge = slice(300, 320), slice(370, 390)
    ground.darken(*edge, 0.1, 0.06)
    assert covers(ground.shadow(SUN), *edge)
    assert not ground.shadow(Sun(270, 45)).any()  # from the west a cloud would have to be 7.6 km high


@pytest.mark.parametrize(("b08", "b11"), [(0.02, 0.005), (0.05, 0.03)])
def test_water_is_no_shadow_and_neither_is_its_shore(b08: float, b11: float) -> None:
    ground = Ground()
    ground.darken(*SHADOW, b08, b11)
    assert not ground.shadow(SUN).any()


def test_a_dark_road_is_no_shadow() -> None:
    ground = Ground()
    ground.darken(slice(0, SIZE), slice(160, 163), 0.1, 0.06)
    assert not ground.shadow(None).any()


def test_ground_is_half_shadow_at_54_percent_of_the_bright_ground() -> None:
    ground = Ground()
    ground.darken(slice(0, 50), slice(0, 50), 0.3 * 0.54, 0.2 * 0.54)
    assert shadow_probability(ground.b08, ground.b11, ground.cloud, 128)[25, 25] == pytest.approx(0.5, abs=0.01)


def test_no_data_is_neither_shadow_nor_ground() -> None:
    ground = Ground()
    ground.darken(*SHADOW, np.nan, np.nan)
    assert not ground.shadow(SUN).any()
    assert not find_shadow(np.ones((50, 50), np.float32), np.zeros((50, 50), bool), None).any()  # nor without cloud


def test_forest_beside_many_clouds_is_not_shadow() -> None:
    rng = np.random.default_rng(0)
    cloud = gaussian_filter(rng.standard_normal((700, 700)), 12) > 0.01  # clouds of 500 m, a third of the scene
    shadow = np.roll(cloud, -40, axis=1) & ~cloud  # 800 m high, the sun in the east
    forest = np.zeros_like(cloud)
    forest[200:500, 150:550] = True
    b08, b11 = np.where(forest, 0.14, 0.27), np.where(forest, 0.08, 0.3)
    b08, b11 = (np.where(cloud, 0.6, np.where(shadow, 0.35 * band, band)).astype(np.float32) for band in (b08, b11))
    found = find_shadow(shadow_probability(b08, b11, cloud, 128), cloud, SUN)
    inner = np.s_[100:600, 100:600]
    fields = ~forest & ~cloud & ~shadow
    assert found[inner][(shadow & ~forest)[inner]].mean() > 0.75
    assert found[inner][(forest & ~shadow & ~cloud)[inner]].mean() < 0.25
    assert found[inner][fields[inner]].mean() < 0.05
