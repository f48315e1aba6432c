import numpy as np
import pytest

from unclouded.simulation.fields import Fields, grow, invent_fields
from unclouded.simulation.seasons import SEASONS, Crop
from unclouded.simulation.terrain import Terrain, invent_terrain


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    return invent_terrain(np.random.default_rng(2), 512)


@pytest.fixture(scope="module")
def fields(terrain) -> Fields:
    return invent_fields(np.random.default_rng(2), terrain)


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
    growth = grow(np.random.default_rng(2), fields, SEASONS[season], vigour)
    shares = np.stack([growth.leaves, growth.straw, growth.blossom, growth.soil])
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)


def test_maize_grows_from_spring_to_summer(fields) -> None:
    level = np.zeros(fields.number.shape, np.float32)
    spring, summer = (
        grow(np.random.default_rng(2), fields, SEASONS[season], level).leaves[
            (fields.crop == Crop.MAIZE)[fields.number]
        ]
        for season in ("spring", "summer")
    )
    assert spring.mean() == pytest.approx(0.06, abs=0.02)
    assert summer.mean() > 0.6


def test_wheel_tracks_run_through_crops_but_not_through_meadows(fields) -> None:
    level = np.zeros(fields.number.shape, np.float32)
    leaves = grow(np.random.default_rng(2), fields, SEASONS["summer"], level).leaves
    spread = np.array([np.ptp(leaves[fields.number == field]) for field in range(fields.parcels.count)])
    assert spread[fields.crop == Crop.LEY].max() < 1e-6
    assert 0.35 < (spread[fields.crop != Crop.LEY] > 0.01).mean() < 0.65
