from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.scenes import blocks
from unclouded.scenes.geocoding import geocode
from unclouded.scenes.positions import GroundControlPositions
from unclouded.scenes.safe import open_product
from unclouded.scenes.sentinel1 import describe_radar_product
from unclouded.scenes.store import RawStore

Write = Callable[..., Path]


def geocoded(folder: Path, geobox: GeoBox, work: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Return VV and VH in dB, the positions they come from, and the share that was seen."""
    with open_product(folder, work) as product:
        description = describe_radar_product(product)
        positions = GroundControlPositions(description.ground, geobox)
        store = RawStore(work / "radar.raw", (2, *geobox.shape), np.dtype(np.float32))
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
    assert np.isfinite(new).all()  # it sets the rim to zero itself, so what it says is dark is dark


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
