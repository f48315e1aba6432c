"""A tile on the border of two slices of one pass."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.scenes.radar import NO_TERRAIN, open_radar
from unclouded.scenes.slices import slices_in
from unclouded.simulation.manifest import zip_product
from unclouded.simulation.radar_geometry import RadarGeometry
from unclouded.simulation.radar_product import RadarProduct

Write = Callable[..., Path]
NUMBERS = np.full((200, 240), 300, np.uint16)


@pytest.fixture
def halves(radar_product: Write) -> Path:
    """The upper and the lower part of one image, overlapping by 20 lines, as two products of the same geometry."""
    later = RadarProduct().acquired + timedelta(seconds=25)
    upper, lower = NUMBERS.copy(), NUMBERS.copy()
    upper[110:], lower[:90] = 0, 0
    lower[90:] = 600
    radar_product("pass", upper)
    return radar_product("pass", lower, acquired=later).parent


def test_slices_are_one_image_whose_earlier_one_counts(halves: Path, radar_grid: GeoBox) -> None:
    first, second = slices_in(halves)
    assert "T170650" in first.name and "T170715" in second.name
    with open_radar(first, radar_grid) as upper, open_radar(second, radar_grid) as lower:
        above, below = upper.read(0, 120), lower.read(0, 120)
    both = np.isfinite(above) & np.isfinite(below)
    assert both.any() and not np.isfinite(above).all() and not np.isfinite(below).all()
    with open_radar(halves, radar_grid) as joined:
        seen = np.concatenate([joined.read(0, 50), joined.read(50, 120)], axis=1)
        assert joined.identity == f"{first.stem} + {second.stem}"
        assert joined.acquired == RadarProduct().acquired and joined.processing.endswith(", dB, 2 slices")
        share = float(np.isfinite(seen[0]).mean())
        assert share > max(np.isfinite(above[0]).mean(), np.isfinite(below[0]).mean())
        assert joined.remarks[0] == NO_TERRAIN
        assert joined.remarks[1:] == (f"the radar saw {share:.1%} of the optical scene; the rest has no data",) * (
            share < 0.999
        )
    np.testing.assert_array_equal(seen, np.where(np.isfinite(above), above, below))


def test_contiguous_slices_of_one_image_leave_no_gap(radar_product: Write, radar_grid: GeoBox) -> None:
    """The satellite goes on along its meridian: after 100 lines of 1.5 ms it looks from there."""
    whole = RadarGeometry()
    degrees = np.degrees(100 * whole.line_s * np.sqrt(3.986004418e14 / (6_378_137.0 + whole.altitude_m) ** 3))
    further = replace(whole, latitude=whole.latitude + float(degrees))
    line, pixel = np.mgrid[:200, :240]
    numbers = (150 + line + pixel).astype(np.uint16)
    how: dict[str, Any] = {"noise": "zeros", "sigma_slopes": (0.0, -0.5)}
    together = radar_product("whole", numbers, **how)
    radar_product("pass", numbers[:100], **how)
    later = RadarProduct().acquired + timedelta(seconds=1)
    folder = radar_product("pass", numbers[100:], geometry=further, acquired=later, **how).parent
    with open_radar(together, radar_grid) as one, open_radar(folder, radar_grid) as joined:
        assert len(joined.processing.split("2 slices")) == 2
        expected, seen = one.read(0, 120), joined.read(0, 120)
    assert np.isfinite(seen).all()
    np.testing.assert_allclose(seen, expected, atol=0.03)  # VH rises by half a step in 150 or so: 0.5 / 150 is 0.03 dB


def test_a_folder_with_one_product_is_that_product(radar_product: Write, radar_grid: GeoBox, tmp_path: Path) -> None:
    folder = radar_product("lone")
    (tmp_path / "zips").mkdir()
    packed = zip_product(folder, tmp_path / "zips" / f"{folder.stem}.zip")
    for path in (folder.parent, packed.parent):
        with open_radar(path, radar_grid) as scene:
            assert scene.identity == folder.stem and scene.remarks == (NO_TERRAIN,)


def test_products_of_several_passes_are_refused(radar_product: Write) -> None:
    radar_product("many")
    folder = radar_product("many", acquired=RadarProduct().acquired + timedelta(days=12)).parent
    told = r"many holds Sentinel-1 products from 2021-09-07 17:06 to 2021-09-19 17:06, expected slices of one pass"
    with pytest.raises(InputError, match=told):
        slices_in(folder)


def test_other_folders_hold_no_slices(radar_product: Write, optical_product: Write, tmp_path: Path) -> None:
    product = radar_product("a")
    assert slices_in(product) == slices_in(optical_product("b").parent) == slices_in(product / "manifest.safe") == []
    (tmp_path / "c" / product.name).mkdir(parents=True)
    assert slices_in(tmp_path / "c") == []
