import numpy as np
import pytest

from unclouded.simulation.fields import CROP_SHARES, SEASONS, Crop, Fields, Parcels, borders, grow, simulate_fields, sow
from unclouded.simulation.terrain import Terrain, simulate_terrain


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    return simulate_terrain(np.random.default_rng(2), 512)


@pytest.fixture(scope="module")
def fields(terrain) -> Fields:
    return simulate_fields(np.random.default_rng(2), terrain)


def test_each_field_bears_one_crop(fields) -> None:
    assert fields.crop.shape == (fields.parcels.count,)
    assert set(fields.crop) == set(Crop)
    assert fields.number.max() == fields.parcels.count - 1


def test_meadows_lie_at_the_water(fields, terrain) -> None:
    shore_px = fields.mean(terrain.shore_px)
    assert (fields.crop == Crop.LEY)[shore_px < 12].mean() > 1.5 * (fields.crop == Crop.LEY)[shore_px > 60].mean()


@pytest.mark.parametrize("season", SEASONS)
def test_leaves_straw_blossom_and_soil_share_the_ground(fields, season) -> None:
    vigour = np.random.default_rng(0).standard_normal(fields.number.shape, np.float32)
    growth = grow(fields, SEASONS[season], vigour, sow(np.random.default_rng(2), fields))
    shares = np.stack([growth.leaves, growth.straw, growth.blossom, growth.soil])
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)


def test_maize_grows_from_spring_to_summer(fields) -> None:
    level = np.zeros(fields.number.shape, np.float32)
    spring, summer = (
        grow(fields, SEASONS[season], level, sow(np.random.default_rng(2), fields)).leaves[
            (fields.crop == Crop.MAIZE)[fields.number]
        ]
        for season in ("spring", "summer")
    )
    assert spring.mean() == pytest.approx(0.06, abs=0.02)
    assert summer.mean() > 0.6


def test_wheel_tracks_run_through_crops_but_not_through_meadows(fields) -> None:
    level = np.zeros(fields.number.shape, np.float32)
    leaves = grow(fields, SEASONS["summer"], level, sow(np.random.default_rng(2), fields)).leaves
    spread = np.array([np.ptp(leaves[fields.number == field]) for field in range(fields.parcels.count)])
    assert spread[fields.crop == Crop.LEY].max() < 1e-6
    assert 0.35 < (spread[fields.crop != Crop.LEY] > 0.01).mean() < 0.65


def points(rows: int, columns: int, angle: float = 0.0) -> Parcels:
    y, x = (axis.ravel().astype(np.float32) for axis in np.mgrid[:rows, :columns])
    return Parcels.whole(x, y, angle)


def test_a_field_is_cut_across_its_longer_side() -> None:
    halves = points(8, 32).cut(np.random.default_rng(0), area=160)
    number = halves.number.reshape(8, 32)
    assert halves.count == 2
    assert (number == number[0]).all()
    assert np.bincount(halves.number).min() >= 8 * 11


def test_a_field_cut_into_strips_is_cut_along_its_longer_side() -> None:
    strips = points(8, 32).cut(np.random.default_rng(0), area=160, strips=1.0)
    number = strips.number.reshape(8, 32)
    assert (number == number[:, :1]).all()


def test_no_parcel_stays_larger_than_one_and_a_half_areas() -> None:
    parcels = points(100, 100, angle=0.4).cut(np.random.default_rng(1), area=120, turn=0.1, strips=0.2)
    sizes = np.bincount(parcels.number)
    assert len(sizes) == parcels.count
    assert 1 <= sizes.min() <= sizes.max() <= 180
    assert sizes.sum() == 100 * 100


def test_cutting_again_stays_within_the_borders() -> None:
    rng = np.random.default_rng(2)
    blocks = points(64, 64).cut(rng, area=1000)
    fields = blocks.cut(rng, area=100)
    of_field = [set(blocks.number[fields.number == field]) for field in range(fields.count)]
    assert fields.count > blocks.count
    assert all(len(found) == 1 for found in of_field)


def test_mean_of_a_parcel_is_the_mean_of_its_points() -> None:
    parcels = Parcels(*np.zeros((2, 4), np.float32), np.array([0, 0, 2, 2]), np.zeros(3, np.float32))
    np.testing.assert_array_equal(parcels.mean(np.array([1, 3, 5, 6], np.float32)), [2, 0, 5.5])


def test_borders_are_one_pixel_wide() -> None:
    number = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 1]])
    np.testing.assert_array_equal(borders(number), [[0, 1, 0], [1, 1, 0], [0, 1, 0]])


@pytest.mark.parametrize("season", SEASONS.values(), ids=SEASONS)
@pytest.mark.parametrize("crop", Crop)
def test_plants_of_a_crop_leave_some_ground_bare(season, crop) -> None:
    assert 0 < season.leaves[crop] + season.straw[crop] + season.blossom[crop] < 1


def test_every_field_bears_something() -> None:
    assert sum(CROP_SHARES) == pytest.approx(1)
    assert len(CROP_SHARES) == len(Crop)


def test_the_sun_stands_highest_in_summer_and_lowest_in_winter() -> None:
    heights = {name: season.sun_elevation_deg for name, season in SEASONS.items()}
    assert max(heights, key=heights.__getitem__) == "summer"
    assert min(heights, key=heights.__getitem__) == "winter"


def test_rape_blossoms_in_spring_only() -> None:
    assert [name for name, season in SEASONS.items() if season.blossom[Crop.RAPE] > 0] == ["spring"]
