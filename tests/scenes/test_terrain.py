from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import map_coordinates

from unclouded.errors import InputError
from unclouded.geotiff import write_geotiff
from unclouded.scenes.positions import GroundControlPositions
from unclouded.scenes.safe import open_product
from unclouded.scenes.sentinel1 import Sentinel1Product, describe_radar_product
from unclouded.scenes.terrain import Heights, TerrainPositions
from unclouded.simulation.radar_geometry import RadarGeometry

GRID = GeoBox((120, 120), Affine(10, 0, 863_620, 0, -10, 4_889_970), 32632)
AROUND = GeoBox((80, 80), Affine(30, 0, 863_020, 0, -30, 4_890_570), 32632)
FAR = Affine(1 / 3600, 0, 23.5, 0, -1 / 3600, 44.1)


@pytest.fixture
def product(radar_product: Callable[..., Path]) -> Sentinel1Product:
    folder = radar_product()
    with open_product(folder, folder) as opened:
        return describe_radar_product(opened)


def level(metres: float) -> Heights:
    return Heights(Path("dem.tif"), np.full(AROUND.shape, metres, np.float32), AROUND)


@pytest.mark.parametrize("height_m", [-50.0, 0.0, 80.0])
def test_places_at_a_height_are_found_again(product: Sentinel1Product, height_m: float) -> None:
    """The geometry that placed lines and pixels at that height, by its own equations, is the oracle."""
    rng = np.random.default_rng(1)
    line, pixel = rng.uniform(80, 120, 100), rng.uniform(100, 140, 100)
    there = RadarGeometry().place(line, pixel, height_m)
    column, row = ~GRID.affine * Transformer.from_crs(4326, 32632, always_xy=True).transform(*there)
    seen = TerrainPositions(product, level(height_m), GRID).of(GRID)
    for found, expected in zip(seen, (line, pixel), strict=True):
        np.testing.assert_allclose(map_coordinates(found, [row - 0.5, column - 0.5], order=1), expected, atol=0.02)


def test_a_hill_moves_the_radar_towards_the_satellite(product: Sentinel1Product) -> None:
    flat = GroundControlPositions(product.ground, GRID).of(GRID)
    np.testing.assert_allclose(TerrainPositions(product, level(0), GRID).of(GRID), flat, atol=0.02)
    hill = level(0)
    hill.metres[30:50, 30:50] = 100
    moved = TerrainPositions(product, hill, GRID).of(GRID) - flat
    assert -16 < moved[1][60, 60] < -11  # 100 m / tan(35 degrees) are 14 px
    assert np.abs(moved[0]).max() < 0.5 and np.abs(moved[1][0]).max() < 0.05


def test_what_has_no_height_is_counted(product: Sentinel1Product) -> None:
    heights = level(0)
    heights.metres[:, 40:] = np.nan
    positions = TerrainPositions(product, heights, GRID)
    positions.of(GRID)
    assert positions.without_height == pytest.approx(7_200, abs=400)


def test_heights_are_read_with_their_datum(tmp_path: Path) -> None:
    metres = np.full((1, 80, 80), 150, np.int16)
    metres[0, 0, 0] = -9_999
    write_geotiff(tmp_path / "dem.tif", metres, ("height",), AROUND, nodata=-9_999)
    seen = Heights.read(tmp_path / "dem.tif", 48.5).metres
    assert np.isnan(seen[0, 0]) and (seen[1:] == 198.5).all()


@pytest.mark.parametrize(
    ("values", "crs", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), 32632, "has 2 bands, expected one of heights"),
        (np.zeros((1, 8, 8), np.float32), None, "has 1 bands, expected one of heights, and a CRS"),
        (np.full((1, 8, 8), -32_768, np.int16), 32632, "has heights from -32768 to -32768 m; tag what means no data"),
        (np.full((1, 8, 8), np.nan, np.float32), 32632, "has heights from nan to nan m"),
    ],
)
def test_what_is_no_elevation_model_is_refused(
    tmp_path: Path, values: np.ndarray, crs: int | None, message: str
) -> None:
    write_geotiff(tmp_path / "dem.tif", values, ("h",) * len(values), GeoBox((8, 8), AROUND.affine, crs))
    with pytest.raises(InputError, match=message):
        Heights.read(tmp_path / "dem.tif")


def test_an_elevation_model_of_another_place_is_refused_before_the_work() -> None:
    level(100).require_over(GRID)
    far = Heights(Path("dem.tif"), np.full((100, 100), 100, np.float32), GeoBox((100, 100), FAR, "EPSG:4326"))
    with pytest.raises(InputError, match=r"dem.tif has heights for 0.0% of the optical scene .* of that place"):
        far.require_over(GRID)
