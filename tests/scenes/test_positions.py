from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import map_coordinates

from unclouded.errors import InputError
from unclouded.scenes.positions import GroundControlPositions, lattice, on_lattice
from unclouded.scenes.safe import open_product
from unclouded.scenes.sentinel1 import GroundControl, describe_radar_product
from unclouded.simulation.radar_geometry import RadarGeometry

GRID = GeoBox((120, 120), Affine(10, 0, 863_620, 0, -10, 4_889_970), 32632)


@pytest.fixture
def ground(radar_product: Callable[..., Path]) -> GroundControl:
    folder = radar_product()
    with open_product(folder, folder) as product:
        return describe_radar_product(product).ground


def test_places_of_the_image_are_found_again(ground: GroundControl) -> None:
    """The geometry that placed lines and pixels on the ground is the oracle."""
    rng = np.random.default_rng(1)
    line, pixel = rng.uniform(60, 140, 200), rng.uniform(80, 160, 200)
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(*RadarGeometry().place(line, pixel))
    column, row = ~GRID.affine * (np.array(x), np.array(y))
    seen = GroundControlPositions(ground, GRID).of(GRID)
    for found, expected in zip(seen, (line, pixel), strict=True):
        np.testing.assert_allclose(map_coordinates(found, [row - 0.5, column - 0.5], order=1), expected, atol=0.01)


def test_parts_of_a_map_have_the_positions_of_the_whole(ground: GroundControl) -> None:
    positions = GroundControlPositions(ground, GRID)
    np.testing.assert_allclose(positions.of(GRID[30:47, 60:]), positions.of(GRID)[:, 30:47, 60:], atol=1e-3)


def test_what_lies_outside_the_image_is_far_away(ground: GroundControl) -> None:
    away = GeoBox((40, 40), Affine(10, 0, 800_000, 0, -10, 4_889_970), 32632)
    assert (GroundControlPositions(ground, away).of(away) < -1_000).all()


def test_fault_12_both_sides_of_a_border_between_zones_see_the_same(ground: GroundControl) -> None:
    to_33 = Transformer.from_crs(32632, 32633, always_xy=True)
    x, y = to_33.transform(863_620 + 600, 4_889_970 - 600)
    other = GeoBox((1, 1), Affine(10, 0, x - 5, 0, -10, y + 5), 32633)
    here = GeoBox((1, 1), Affine(10, 0, 863_620 + 595, 0, -10, 4_889_970 - 595), 32632)
    seen = [GroundControlPositions(ground, grid).of(grid).ravel() for grid in (other, here)]
    np.testing.assert_allclose(*seen, atol=0.01)


def test_fault_12_a_scene_on_the_antimeridian_is_placed(radar_product: Callable[..., Path]) -> None:
    geometry = RadarGeometry(longitude=180 - 5.555)
    folder = radar_product(geometry=geometry)
    with open_product(folder, folder) as product:
        ground = describe_radar_product(product).ground
    x, y = Transformer.from_crs(4326, 32601, always_xy=True).transform(
        *geometry.place(np.array([90.0]), np.array([100.0]))
    )
    grid = GeoBox((1, 1), Affine(10, 0, x[0] - 5, 0, -10, y[0] + 5), 32601)
    np.testing.assert_allclose(GroundControlPositions(ground, grid).of(grid).ravel(), [90, 100], atol=0.01)


def test_a_crs_that_does_not_know_the_place_is_refused(ground: GroundControl) -> None:
    polar = GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 0), "+proj=gnom +lat_0=-44 +lon_0=-172")
    with pytest.raises(InputError, match="outside the CRS of the optical scene; is it another place"):
        GroundControlPositions(ground, polar)


@pytest.mark.parametrize("side", [1, 2, 16, 17, 18, 33, 100])
def test_the_lattice_holds_both_ends_and_a_plane(side: int) -> None:
    nodes = lattice(side)
    assert nodes[0] == 0 and nodes[-1] == max(side - 1, 1) and np.diff(nodes).max() <= 16
    grid = GeoBox((side, side), Affine(1, 0, -0.5, 0, 1, -0.5), 32632)
    row, column = np.mgrid[:side, :side]
    np.testing.assert_allclose(on_lattice(lambda x, y: np.stack([y, 2 * x]), grid), [row, 2 * column], atol=1e-9)
