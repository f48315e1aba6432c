from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from products.manifest import zip_product
from pyproj import Transformer

from unclouded.errors import InputError, MachineError
from unclouded.io.geotiff import write_geotiff
from unclouded.sentinel import raw_store as blocks
from unclouded.sentinel.radar import NO_NOISE, NO_TERRAIN, UNUSED_HEIGHTS, open_radar, warp
from unclouded.sentinel.raw_store import RawBandCache

Write = Callable[..., Path]
GRID = GeoBox((40, 50), Affine(10, 0, 500_000, 0, -10, 5_000_000), 32632)


def radar(rows: int = 40, columns: int = 50) -> NDArray[np.float32]:
    return np.random.default_rng(2).uniform(-25, -5, (2, rows, columns)).astype(np.float32)


def stack(path: Path, values: NDArray[Any] | None = None, grid: GeoBox = GRID, **options: Any) -> Path:
    write_geotiff(path, radar() if values is None else values, ("VV", "VH"), grid, **options)
    return path


def seen(path: Path, grid: GeoBox = GRID, **options: Any) -> NDArray[np.float32]:
    with open_radar(path, grid, **options) as scene:
        return np.concatenate([scene.read(0, 3), scene.read(3, grid.shape[0])], axis=1)


def refused(path: Path, grid: GeoBox = GRID, **options: Any) -> str:
    with pytest.raises((InputError, MachineError)) as error, open_radar(path, grid, **options) as scene:
        scene.read(0, grid.shape[0])
    assert "\n" not in str(error.value)
    return str(error.value)


# GeoTIFFs


def test_a_geotiff_on_the_grid_is_a_scene(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(seen(path), radar())
    with open_radar(path, GRID) as scene:
        assert (scene.bands, scene.geobox, scene.remarks) == (("VV", "VH"), GRID, ())
        assert scene.metadata() == {"product": "a.tif", "processing": "as it came"}
        with pytest.raises(ValueError, match="has rows 0 to 40, not 5 to 5"):
            scene.read(5, 5)


def test_fault_15_units_are_those_stated_by_the_user(tmp_path: Path) -> None:
    linear = stack(tmp_path / "linear.tif", np.power(np.float32(10), radar() / 10))
    np.testing.assert_allclose(seen(linear, units="linear"), radar(), atol=1e-4)
    hundredths = stack(tmp_path / "hundredths.tif", np.rint(radar() * 100).astype(np.int16), nodata=-32_768)
    np.testing.assert_allclose(seen(hundredths, units="dB x 100"), radar(), atol=0.006)


@pytest.mark.parametrize(
    ("units", "fill"),
    [
        *(("dB", fill) for fill in (0, -9_999, -32_768, np.finfo(np.float32).min, np.nan, -np.inf)),
        *(("linear", fill) for fill in (0, -9_999, np.nan)),
        *(("dB x 100", fill) for fill in (0, -9_999, -32_768)),
    ],
)
@pytest.mark.parametrize("align", [False, True])
def test_fault_13_untagged_fills_of_radar_are_gaps(tmp_path: Path, units: str, fill: float, align: bool) -> None:
    values = radar()
    stored = {"dB": values, "linear": np.power(np.float32(10), values / 10), "dB x 100": np.rint(100 * values)}[units]
    stored = stored.astype(np.int16 if units == "dB x 100" else np.float32)
    stored[:, 10:20, 5:] = fill
    grid = GeoBox(GRID.shape, GRID.affine @ Affine.translation(2, 0), GRID.crs) if align else GRID
    gap = np.isnan(seen(stack(tmp_path / "a.tif", stored), grid, units=units, align=align))
    expected = np.zeros((2, 40, 50), bool)
    expected[:, 10:20, 3 if align else 5 :] = True
    assert np.array_equal(gap[..., :47], expected[..., :47])


@settings(max_examples=8)
@given(low=st.floats(-30, -5), width=st.floats(1, 20), seed=st.integers(0, 99))
def test_fault_15_other_units_are_refused_and_never_guessed(
    tmp_path: Path, low: float, width: float, seed: int
) -> None:
    db = np.random.default_rng(seed).uniform(low, low + width, (2, 40, 50)).astype(np.float32)
    linear = stack(tmp_path / "linear.tif", np.power(np.float32(10), db / 10))
    assert "most of them positive, expected dB; if this is linear power" in refused(linear)
    in_db = stack(tmp_path / "db.tif", np.minimum(db, -2))
    assert "expected linear power; if this is dB, set --units dB" in refused(in_db, units="linear")
    assert "when read as dB x 100, expected below -1; if it is in dB, leave the units out" in refused(
        in_db, units="dB x 100"
    )
    hundredths = stack(tmp_path / "hundredths.tif", (np.minimum(db, -2) * 100).astype(np.int16))
    assert "has values of type int16, expected float32 or float64 for Sentinel-1 in dB; convert it" in refused(
        hundredths
    )
    as_float = stack(tmp_path / "float.tif", np.minimum(db, -2) * 100)
    assert "expected dB; if this is dB x 100" in refused(as_float)


def test_fault_15_digital_numbers_are_refused(tmp_path: Path) -> None:
    numbers = stack(tmp_path / "a.tif", np.full((2, 40, 50), 300, np.uint16))
    assert "has values of type uint16" in refused(numbers)
    assert "has values of type uint16" in refused(numbers, units="linear")


@settings(max_examples=12)
@given(right=st.floats(-2, 2), down=st.floats(-2, 2), scale=st.sampled_from([1.0, 1.0, 2.0, -1.0]))
def test_fault_11_any_other_grid_is_refused_and_aligned_only_when_asked(
    tmp_path: Path, right: float, down: float, scale: float
) -> None:
    moved = GRID.affine @ Affine.translation(right, down + (40 if scale < 0 else 0))
    grid = GeoBox(GRID.shape, moved @ Affine.scale(1, scale), GRID.crs)
    path = stack(tmp_path / "a.tif", grid=grid)
    if max(abs(right), abs(down)) < 1e-7 and scale == 1:
        np.testing.assert_array_equal(seen(path), radar())
    elif max(abs(right), abs(down)) > 2e-6 or scale != 1:
        assert "lies on another grid than the optical scene (50x40 px in EPSG:32632" in refused(path)
        with open_radar(path, GRID, align=True) as scene:
            assert scene.geobox == GRID and scene.processing.startswith("warped (50x40 px in EPSG:32632")
            assert np.isfinite(scene.read(0, 40)).any()


def test_fault_11_half_a_pixel_is_half_a_pixel(tmp_path: Path) -> None:
    values = np.full((2, 40, 50), -20, np.float32)
    values[:, :, ::2] = -10
    path = stack(tmp_path / "a.tif", values, GeoBox(GRID.shape, GRID.affine @ Affine.translation(0.5, 0), GRID.crs))
    np.testing.assert_allclose(seen(path, align=True)[:, 5:-5, 5:-5], 10 * np.log10(0.055), atol=1e-3)


def test_fault_10_another_zone_is_refused_and_aligned_when_asked(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif")
    x, y = Transformer.from_crs(32632, 32633, always_xy=True).transform(500_250, 4_999_800)
    other = GeoBox((40, 50), Affine(10, 0, x - 250, 0, -10, y + 200), 32633)
    assert "EPSG:32632" in refused(path, other) and "EPSG:32633" in refused(path, other)
    with open_radar(path, other, align=True) as scene:
        assert scene.remarks[0].startswith("the radar covers ") and np.isfinite(scene.read(20, 30)).any()
    longitude, latitude = Transformer.from_crs(32632, 4326, always_xy=True).transform(500_250, 4_999_800)
    geographic = GeoBox((40, 40), Affine(1e-4, 0, longitude - 2e-3, 0, -1e-4, latitude + 2e-3), 4326)
    assert np.isfinite(seen(path, geographic, align=True)).any()


def test_a_geotiff_is_not_terrain_corrected_and_has_a_remark(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "dem.tif", np.zeros((1, 40, 50), np.float32), ("height",), GRID)
    with open_radar(stack(tmp_path / "a.tif"), GRID, heights=tmp_path / "dem.tif") as scene:
        assert scene.remarks == (UNUSED_HEIGHTS,)
    moved = stack(tmp_path / "b.tif", grid=GeoBox(GRID.shape, GRID.affine @ Affine.translation(9, 0), GRID.crs))
    with open_radar(moved, GRID, align=True, heights=tmp_path / "dem.tif") as scene:
        assert scene.remarks[0] == UNUSED_HEIGHTS and scene.remarks[1].startswith("the radar covers 8")


def test_fault_10_without_crs_nothing_is_aligned(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif", grid=GeoBox(GRID.shape, Affine.identity(), None))
    assert "assign the CRS that one of them lacks" in refused(path, align=True)


def test_another_place_is_refused(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif", grid=GeoBox(GRID.shape, Affine(10, 0, 300_000, 0, -10, 5_000_000), 32632))
    assert "a.tif does not overlap the optical scene (" in refused(path, align=True)


def test_fault_08_a_damaged_source_is_never_warped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block is changed, which opening does not see; nothing may be warped before it was read."""
    grid = GeoBox((600, 600), GRID.affine @ Affine.translation(0.5, 0), GRID.crs)
    path = stack(tmp_path / "a.tif", radar(600, 600), grid)
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=2))
    content = bytearray(path.read_bytes())
    content[offset : offset + 50] = bytes(50)
    path.write_bytes(content)
    monkeypatch.setattr("unclouded.sentinel.radar.warp", lambda *_: pytest.fail("warped before it was read"))
    assert "a.tif is not a whole GeoTIFF" in refused(path, align=True)


@settings(max_examples=8)
@given(share=st.floats(0.0, 0.9999))
def test_fault_05_a_cut_file_is_refused(tmp_path: Path, share: float) -> None:
    content = stack(tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: int(share * len(content))])
    assert "cut.tif" in refused(tmp_path / "cut.tif") and "cut.tif" in refused(tmp_path / "cut.tif", align=True)


def test_the_working_folder_is_left_empty(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    path = stack(tmp_path / "a.tif", grid=GeoBox(GRID.shape, GRID.affine @ Affine.translation(1, 0), GRID.crs))
    with open_radar(path, GRID, align=True, work_folder=work):
        assert len(list(work.rglob("*.raw"))) == 2
    assert not list(work.iterdir())


# Products


@pytest.mark.parametrize("packed", [False, True])
def test_a_product_is_a_scene(tmp_path: Path, radar_product: Write, radar_grid: GeoBox, packed: bool) -> None:
    folder = radar_product()
    path = zip_product(folder, tmp_path / "a.zip") if packed else folder
    with open_radar(path, radar_grid) as scene:
        assert scene.identity == "S1A_IW_GRDH_1SDV_20210907T170650_20210907T170650_039571_04AC9A_3768"
        assert scene.acquired.isoformat() == "2021-09-07T17:06:50.054569+00:00"
        assert scene.remarks == (NO_TERRAIN,)
        assert scene.processing == "border noise, thermal noise, calibration to sigma0, geolocation grid, dB"
        values = scene.read(0, 120)
    assert np.isfinite(values).all() and -15 < values[1].min() < values[0].max() < 0


def test_missing_noise_and_gaps_have_remarks(radar_product: Write, radar_grid: GeoBox) -> None:
    folder = radar_product(processor="002.36", noise="zeros")
    (folder / "manifest.safe").unlink()
    wide = radar_grid.pad(60)
    with open_radar(folder, wide) as scene:
        terrain, noise, manifest, part = scene.remarks
    assert (terrain, noise) == (NO_TERRAIN, NO_NOISE) and manifest.startswith("no manifest.safe")
    assert part.startswith("the radar covers ") and part.endswith("% of the optical scene; the rest has no data")


def test_terrain_moves_the_product(tmp_path: Path, radar_product: Write, radar_grid: GeoBox) -> None:
    around = GeoBox((80, 80), Affine(30, 0, 863_020, 0, -30, 4_890_570), 32632)
    write_geotiff(tmp_path / "flat.tif", np.zeros((1, 80, 80), np.float32), ("height",), around)
    folder = radar_product()
    with open_radar(folder, radar_grid, heights=tmp_path / "flat.tif") as scene:
        assert scene.remarks == () and "terrain correction" in scene.processing
        np.testing.assert_allclose(scene.read(0, 120), seen(folder, radar_grid), atol=0.01)
    raised = seen(folder, radar_grid, heights=tmp_path / "flat.tif", heights_datum_m=60.0)
    # 60 m move the image by 60 / tan(35 degrees) = 86 m: 8.6 px, and its numbers rise by 1 a pixel.
    difference = (10 ** (seen(folder, radar_grid)[0] / 20) - 10 ** (raised[0] / 20)).mean()
    assert difference * 620 == pytest.approx(9.6, abs=1.5)


def test_a_product_elsewhere_is_refused(radar_product: Write) -> None:
    away = GeoBox((40, 40), Affine(10, 0, 800_000, 0, -10, 4_889_970), 32632)
    assert "does not overlap the optical scene (40x40 px in EPSG:32632" in refused(radar_product(), away)
    nowhere = GeoBox((40, 40), Affine.identity(), None)
    assert "cannot be geocoded to a grid without CRS" in refused(radar_product("b"), nowhere)


def test_fault_18_an_optical_product_is_named(optical_product: Write) -> None:
    assert "is a Sentinel-2 Level-1C product with 0 images of VV, expected a Sentinel-1 IW GRDH" in refused(
        optical_product()
    )


def test_fault_07_a_cut_zip_is_refused(tmp_path: Path, radar_product: Write, radar_grid: GeoBox) -> None:
    content = zip_product(radar_product(), tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    assert "cut.zip is not a whole zip" in refused(tmp_path / "cut.zip", radar_grid)


def test_fault_32_a_full_disk_is_reported_before_the_start(
    radar_product: Write, radar_grid: GeoBox, full_disk: Callable[[], None]
) -> None:
    folder = radar_product()
    full_disk()
    assert "has 0 MiB free, expected 1 MiB to read" in refused(folder, radar_grid)


WARPING_GRID = GeoBox((60, 70), Affine(10, 0, 500_000, 0, -10, 5_000_000), 32632)


def cached(path: Path, values: NDArray[np.float32]) -> RawBandCache:
    store = RawBandCache(path, values.shape, values.dtype)
    for band, one in enumerate(values):
        store.write(band, 0, 0, one)
    return store


def warped(
    tmp_path: Path, db: NDArray[np.float32], source: GeoBox, target: GeoBox
) -> tuple[NDArray[np.float32], float]:
    into = RawBandCache(tmp_path / "target.raw", (2, *target.shape), np.dtype(np.float32))
    into.path.unlink(missing_ok=True)
    store = cached(tmp_path / "source.raw", db)
    share = warp(store, source, into, target)
    values = np.stack([into.read(band, 0, target.shape[0]) for band in range(2)])
    store.close()
    into.close()
    return values, share


def noise(grid: GeoBox) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-25, 0, (2, *grid.shape)).astype(np.float32)


def test_whole_pixels_move_without_change(tmp_path: Path) -> None:
    db = noise(WARPING_GRID)
    seen, share = warped(tmp_path, db, WARPING_GRID, WARPING_GRID[7:30, 9:50])
    np.testing.assert_allclose(seen, db[:, 7:30, 9:50], atol=1e-4)
    assert share == 1


def test_half_a_pixel_is_the_mean_of_the_power(tmp_path: Path) -> None:
    db = np.full((2, *WARPING_GRID.shape), -20, np.float32)
    db[:, :, ::2] = -10
    half = GeoBox(WARPING_GRID.shape, WARPING_GRID.affine @ Affine.translation(0.5, 0), WARPING_GRID.crs)
    seen, _ = warped(tmp_path, db, WARPING_GRID, half)
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
    db = noise(WARPING_GRID)
    db[:, 20:30, 20:30] = np.nan
    half = GeoBox(WARPING_GRID.shape, WARPING_GRID.affine @ Affine.translation(0.5, 0.5), WARPING_GRID.crs)
    seen, share = warped(tmp_path, db, WARPING_GRID, half)
    hole = np.isnan(seen[0, 5:-5, 5:-5])
    assert 81 <= hole.sum() <= 121 and hole[17:22, 17:22].all() and share < 1


def test_what_the_source_does_not_cover_has_no_data(tmp_path: Path) -> None:
    away = GeoBox((8, 8), Affine(10, 0, 600_000, 0, -10, 5_000_000), 32632)
    seen, share = warped(tmp_path, noise(WARPING_GRID), WARPING_GRID, away)
    assert np.isnan(seen).all() and share == 0
