from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.radar_product import RadarGeometry
from pyproj import Transformer
from scipy.ndimage import map_coordinates

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.sentinel import raw_store as blocks
from unclouded.sentinel.geocoding import (
    ElevationModel,
    GroundControlPositions,
    TerrainPositions,
    geocode,
    lattice,
    on_lattice,
)
from unclouded.sentinel.raw_store import RawBandCache
from unclouded.sentinel.safe import SafeProduct, open_product
from unclouded.sentinel.sentinel1 import GroundControl, Sentinel1Product, describe_radar_product

Write = Callable[..., Path]


def geocoded(folder: Path, geobox: GeoBox, work: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Return VV and VH in dB, the positions they come from, and the share that was seen."""
    with open_product(SafeProduct(folder), work) as product:
        description = describe_radar_product(product)
        positions = GroundControlPositions(description.ground, geobox)
        store = RawBandCache(work / "radar.raw", (2, *geobox.shape), np.dtype(np.float32))
        share = geocode(product, description, positions, geobox, store)
    values = np.stack([store.read(band, 0, geobox.shape[0]) for band in range(2)])
    store.close()
    return values, positions.of(geobox), share


@pytest.mark.parametrize("block", [50, 1024])
def test_every_pixel_of_the_map_is_the_calibrated_place_of_the_image(
    tmp_path: Path, radar_product: Write, radar_grid: GeoBox, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    seen, (line, pixel), share = geocoded(radar_product(noise="zeros"), radar_grid, tmp_path)
    number = np.stack([150 + line + pixel, (150 + line + pixel) / 2])
    np.testing.assert_allclose(seen, 20 * np.log10(number / (660 - 0.5 * pixel + 0.2 * line)), atol=0.05)
    assert share == 1


def test_noise_is_subtracted(tmp_path: Path, radar_product: Write, radar_grid: GeoBox) -> None:
    seen, (line, pixel), _ = geocoded(radar_product(), radar_grid, tmp_path)
    noise = 400 * (1 - 0.002 * pixel + 0.001 * line) * (1 + 0.002 * line)
    power = ((150 + line + pixel) ** 2 - noise) / (660 - 0.5 * pixel + 0.2 * line) ** 2
    np.testing.assert_allclose(seen[0], 10 * np.log10(power), atol=0.01)


def test_no_data_of_the_image_has_none_on_the_map(tmp_path: Path, radar_product: Write, radar_grid: GeoBox) -> None:
    numbers = np.full((200, 240), 300, np.uint16)
    numbers[90:110, 110:130] = 0
    seen, (line, pixel), share = geocoded(radar_product(numbers=numbers), radar_grid, tmp_path)
    inside = (np.abs(line - 99.5) < 9.5) & (np.abs(pixel - 119.5) < 9.5)
    outside = (np.abs(line - 99.5) > 11) | (np.abs(pixel - 119.5) > 11)
    assert inside.sum() > 300 and np.isnan(seen[:, inside]).all() and np.isfinite(seen[:, outside]).all()
    assert share == np.isfinite(seen[0]).mean()


def test_an_image_reaches_half_a_pixel_beyond_the_middle_of_its_last_lines(
    tmp_path: Path, radar_product: Write, radar_grid: GeoBox
) -> None:
    numbers = np.full((200, 240), 300, np.uint16)
    seen, (line, pixel), _ = geocoded(radar_product(numbers=numbers, noise="zeros"), radar_grid.pad(80), tmp_path)
    within = (line > -0.55) & (line < 199.55) & (pixel > -0.55) & (pixel < 239.55)
    assert 0 < (within & ((line < 0) | (line > 199))).sum() < 400
    assert np.array_equal(np.isfinite(seen[0]), within)


def test_the_rim_of_old_products_is_cut_off_both(tmp_path: Path, radar_product: Write, radar_grid: GeoBox) -> None:
    numbers = np.full((200, 240), 300, np.uint16)
    numbers[:, :96] = 4
    old = radar_product("old", numbers, processor="002.84", noise="range", noise_power=1_500.0)
    seen, (_, pixel), _ = geocoded(old, radar_grid, tmp_path)
    assert np.isnan(seen[:, pixel < 95]).all() and np.isfinite(seen[:, pixel > 97]).all() and (pixel < 95).any()
    new, _, _ = geocoded(radar_product("new", numbers, noise_power=1_500.0), radar_grid, tmp_path)
    assert np.isfinite(new).all()  # it sets the rim to zero itself, so dark pixels are measurements


@pytest.mark.parametrize("band", ["vv", "vh"])
@pytest.mark.parametrize("share", [0.3, 0.9999])
@pytest.mark.parametrize("listed", [True, False])
def test_fault_05_a_cut_measurement_is_refused_before_anything_is_made_of_it(
    tmp_path: Path, radar_product: Write, radar_grid: GeoBox, band: str, share: float, listed: bool
) -> None:
    folder = radar_product()
    (path,) = folder.glob(f"measurement/*-{band}-*")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    if not listed:
        (folder / "manifest.safe").unlink()
    with pytest.raises(InputError, match=path.name):
        geocoded(folder, radar_grid, tmp_path)
    assert not (tmp_path / "radar.raw").exists()


def test_a_measurement_of_another_size_is_refused(tmp_path: Path, radar_product: Write, radar_grid: GeoBox) -> None:
    folder = radar_product()
    small = radar_product("small", np.full((100, 240), 300, np.uint16))
    (path,), (other,) = folder.glob("measurement/*-vh-*"), small.glob("measurement/*-vh-*")
    path.write_bytes(other.read_bytes())
    (folder / "manifest.safe").unlink()
    with pytest.raises(InputError, match="holds 1 x 100 x 240 uint16, expected 1 x 200 x 240 uint16 by its annotation"):
        geocoded(folder, radar_grid, tmp_path)


GRID = GeoBox((120, 120), Affine(10, 0, 863_620, 0, -10, 4_889_970), 32632)


@pytest.fixture
def ground(radar_product: Callable[..., Path]) -> GroundControl:
    folder = radar_product()
    with open_product(SafeProduct(folder), folder) as product:
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
    with open_product(SafeProduct(folder), folder) as product:
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


AROUND = GeoBox((80, 80), Affine(30, 0, 863_020, 0, -30, 4_890_570), 32632)

FAR = Affine(1 / 3600, 0, 23.5, 0, -1 / 3600, 44.1)


@pytest.fixture
def product(radar_product: Callable[..., Path]) -> Sentinel1Product:
    folder = radar_product()
    with open_product(SafeProduct(folder), folder) as opened:
        return describe_radar_product(opened)


def level(metres: float) -> ElevationModel:
    return ElevationModel(Path("dem.tif"), np.full(AROUND.shape, metres, np.float32), AROUND)


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
    seen = ElevationModel.read(tmp_path / "dem.tif", 48.5).metres
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
        ElevationModel.read(tmp_path / "dem.tif")


def test_an_elevation_model_of_another_place_is_refused_before_the_work() -> None:
    level(100).require_over(GRID)
    far = ElevationModel(Path("dem.tif"), np.full((100, 100), 100, np.float32), GeoBox((100, 100), FAR, "EPSG:4326"))
    with pytest.raises(InputError, match=r"dem.tif has heights for 0.0% of the optical scene .* of that place"):
        far.require_over(GRID)
