import numpy as np
import pytest

from unclouded.simulation.fields import SEASONS
from unclouded.simulation.land import LandCover, Town, simulate_land, simulate_town
from unclouded.simulation.terrain import Terrain, simulate_terrain


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_region_has_all_covers(seed) -> None:
    land = simulate_land(np.random.default_rng(seed), 256, SEASONS["spring"])
    pixels = np.bincount(land.cover.ravel(), minlength=len(LandCover))
    assert (pixels > 100).all()
    assert 0.2 < pixels[LandCover.FOREST] / 256**2 < 0.45


def test_roads_cross_the_river_on_bridges() -> None:
    land = simulate_land(np.random.default_rng(2), 512, SEASONS["spring"])
    assert set(np.unique(land.cover[land.terrain.river])) == {LandCover.WATER, LandCover.ROAD}
    assert (land.cover[land.terrain.lake] == LandCover.WATER).all()


def test_town_and_plants_fit_to_the_cover() -> None:
    land = simulate_land(np.random.default_rng(2), 256, SEASONS["fall"])
    np.testing.assert_array_equal(land.cover == LandCover.TOWN, land.town.area)
    assert 0 <= land.moisture.min() <= land.moisture.max() <= 1
    assert 0 <= land.needles.min() <= land.needles.max() <= 1


def test_soil_is_wetter_at_the_water_and_in_winter() -> None:
    summer, winter = (simulate_land(np.random.default_rng(2), 256, SEASONS[season]) for season in ("summer", "winter"))
    assert winter.moisture.mean() > summer.moisture.mean() + 0.3
    assert summer.moisture[summer.terrain.shore_px < 5].mean() > summer.moisture.mean() + 0.05


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    return simulate_terrain(np.random.default_rng(1), 384)


@pytest.fixture(scope="module")
def town(terrain) -> Town:
    return simulate_town(np.random.default_rng(1), terrain)


def test_surfaces_share_the_ground_of_the_town_and_nothing_outside(town) -> None:
    np.testing.assert_allclose(town.surfaces.sum(axis=0)[town.area], 1, atol=1e-5)
    assert (town.surfaces[:, ~town.area] == 0).all()
    assert town.surfaces.min() >= 0


def test_walls_stand_in_the_town_only(town) -> None:
    assert (town.walls[~town.area] == 0).all()
    assert 0 < town.walls[town.area].min() < town.walls.max() <= 1


def test_there_are_no_buildings_in_the_water(town, terrain) -> None:
    assert not (town.area & (terrain.river | terrain.lake)).any()


def test_the_town_lies_at_the_river(town, terrain) -> None:
    assert terrain.shore_px[town.area].min() == 2
