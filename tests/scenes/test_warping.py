from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from unclouded.scenes import blocks
from unclouded.scenes.store import RawStore
from unclouded.scenes.warping import warp

GRID = GeoBox((60, 70), Affine(10, 0, 500_000, 0, -10, 5_000_000), 32632)


def stored(path: Path, values: NDArray[np.float32]) -> RawStore:
    store = RawStore(path, values.shape, values.dtype)
    for band, one in enumerate(values):
        store.write(band, 0, 0, one)
    return store


def warped(
    tmp_path: Path, db: NDArray[np.float32], source: GeoBox, target: GeoBox
) -> tuple[NDArray[np.float32], float]:
    into = RawStore(tmp_path / "target.raw", (2, *target.shape), np.dtype(np.float32))
    into.path.unlink(missing_ok=True)
    store = stored(tmp_path / "source.raw", db)
    share = warp(store, source, into, target)
    values = np.stack([into.read(band, 0, target.shape[0]) for band in range(2)])
    store.close()
    into.close()
    return values, share


def noise(grid: GeoBox) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-25, 0, (2, *grid.shape)).astype(np.float32)


def test_whole_pixels_move_without_change(tmp_path: Path) -> None:
    db = noise(GRID)
    seen, share = warped(tmp_path, db, GRID, GRID[7:30, 9:50])
    np.testing.assert_allclose(seen, db[:, 7:30, 9:50], atol=1e-4)
    assert share == 1


def test_half_a_pixel_is_the_mean_of_the_power(tmp_path: Path) -> None:
    db = np.full((2, *GRID.shape), -20, np.float32)
    db[:, :, ::2] = -10
    half = GeoBox(GRID.shape, GRID.affine @ Affine.translation(0.5, 0), GRID.crs)
    seen, _ = warped(tmp_path, db, GRID, half)
    np.testing.assert_allclose(seen[:, 5:-5, 5:-5], 10 * np.log10(0.055), atol=1e-3)  # not -15 dB


@pytest.mark.parametrize("block", [16, 1024])
def test_fault_10_another_zone_shows_the_same_ground(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """A plane of positions, in dB so small that power is linear, is the coordinate scene."""
    monkeypatch.setattr(blocks, "BLOCK", block)
    source = GeoBox((300, 300), Affine(10, 0, 700_000, 0, -10, 5_000_000), 32632)
    row, column = np.mgrid[:300, :300].astype(np.float32) + 0.5
    db = 10 * np.log10(1 + np.stack([row, column]) / 1_000)
    x, y = Transformer.from_crs(32632, 32633, always_xy=True).transform(701_500, 4_998_500)
    target = GeoBox((60, 70), Affine(10, 0, x - 350, 0, -10, y + 300), 32633)
    seen, share = warped(tmp_path, db.astype(np.float32), source, target)
    y, x = np.mgrid[: target.shape[0], : target.shape[1]] + 0.5
    east, north = target.affine * (x.ravel(), y.ravel())
    there = ~source.affine * Transformer.from_crs(32633, 32632, always_xy=True).transform(east, north)
    expected = np.stack([np.array(there[1]), np.array(there[0])]).reshape(2, *target.shape)
    assert share == 1
    np.testing.assert_allclose((10 ** (seen / 10) - 1) * 1_000, expected, atol=0.1)


def test_fault_13_a_hole_stays_a_hole(tmp_path: Path) -> None:
    db = noise(GRID)
    db[:, 20:30, 20:30] = np.nan
    half = GeoBox(GRID.shape, GRID.affine @ Affine.translation(0.5, 0.5), GRID.crs)
    seen, share = warped(tmp_path, db, GRID, half)
    hole = np.isnan(seen[0, 5:-5, 5:-5])
    assert 81 <= hole.sum() <= 121 and hole[17:22, 17:22].all() and share < 1


def test_what_the_source_does_not_cover_has_no_data(tmp_path: Path) -> None:
    away = GeoBox((8, 8), Affine(10, 0, 600_000, 0, -10, 5_000_000), 32632)
    seen, share = warped(tmp_path, noise(GRID), GRID, away)
    assert np.isnan(seen).all() and share == 0
