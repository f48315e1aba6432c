import numpy as np
import pytest

from unclouded.simulation.terrain import Terrain, invent_terrain
from unclouded.simulation.town import Town, invent_town


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    return invent_terrain(np.random.default_rng(1), 384)


@pytest.fixture(scope="module")
def town(terrain) -> Town:
    return invent_town(np.random.default_rng(1), terrain)


def test_surfaces_share_the_ground_of_the_town_and_nothing_outside(town) -> None:
    np.testing.assert_allclose(town.surfaces.sum(axis=0)[town.area], 1, atol=1e-5)
    assert (town.surfaces[:, ~town.area] == 0).all()
    assert town.surfaces.min() >= 0


def test_walls_stand_in_the_town_only(town) -> None:
    assert (town.walls[~town.area] == 0).all()
    assert 0 < town.walls[town.area].min() < town.walls.max() <= 1


def test_nobody_builds_in_the_water(town, terrain) -> None:
    assert not (town.area & (terrain.river | terrain.lake)).any()


def test_the_town_lies_at_the_river(town, terrain) -> None:
    assert terrain.shore_px[town.area].min() == 2
