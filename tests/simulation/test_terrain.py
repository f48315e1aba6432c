import numpy as np
import pytest

from unclouded.simulation.terrain import Terrain, simulate_terrain


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    return simulate_terrain(np.random.default_rng(3), 257)


def test_a_plane_rises_by_its_slope() -> None:
    row, column = np.mgrid[:5, :5].astype(np.float32)
    nowhere = np.zeros((5, 5), bool)
    plane = Terrain(3 * row + 4 * column, nowhere, nowhere, row, np.zeros((1, 2), np.float32))
    np.testing.assert_allclose(plane.rise[:, 2, 2], [0.3, 0.4])
    np.testing.assert_allclose(plane.steepness, 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_the_river_crosses_the_region(seed) -> None:
    terrain = simulate_terrain(np.random.default_rng(seed), 256)
    rows, columns = np.nonzero(terrain.river)
    assert max(np.ptp(rows), np.ptp(columns)) >= 200


def test_the_river_flows_in_the_lowest_land(terrain) -> None:
    assert terrain.height_m[terrain.river].mean() < 0.5 * terrain.height_m[terrain.shore_px > 40].mean()


def test_the_shore_is_where_the_water_ends(terrain) -> None:
    water = terrain.river | terrain.lake
    assert (terrain.shore_px[water] == 0).all()
    assert (terrain.shore_px[~water] >= 1).all()
    assert not (terrain.river & terrain.lake).any()


def test_the_course_runs_in_the_river(terrain) -> None:
    row, column = np.rint(terrain.course).astype(int).T
    assert len(row) > 100
    assert terrain.river[row, column].mean() > 0.99
