from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

from unclouded.errors import InputError
from unclouded.io.geotiff import write_geotiff
from unclouded.sensors import SENTINEL2
from unclouded.sentinel import scene_alignment as align
from unclouded.sentinel.optical import open_optical
from unclouded.sentinel.radar import open_radar
from unclouded.sentinel.scene_alignment import date_gap_days, scene_shift

GRID = GeoBox((300, 400), Affine(10, 0, 500_000, 0, -10, 5_000_000), 32632)


@pytest.fixture
def scenes(tmp_path: Path) -> Callable[[int, int], tuple[Path, Path]]:
    """Write an optical scene, and a radar scene whose ground lies further right and down."""

    def write(right: int, down: int) -> tuple[Path, Path]:
        rng = np.random.default_rng(1)
        level = np.digitize(gaussian_filter(rng.normal(size=(320, 420)), 6), [-0.03, 0, 0.03])
        there = level[10 - down : 310 - down, 10 - right : 410 - right]
        db = np.array([-8, -14, -6, -11])[there] + 10 * np.log10(rng.gamma(4.4, 1 / 4.4, (2, 300, 400)))
        stored = np.stack([500 + 400 * level[10:310, 10:410]] * 13) + rng.integers(0, 30, (13, 300, 400))
        write_geotiff(tmp_path / "s1.tif", db.astype(np.float32), ("VV", "VH"), GRID)
        write_geotiff(tmp_path / "s2.tif", stored.astype(np.uint16), SENTINEL2.bands, GRID)
        return tmp_path / "s1.tif", tmp_path / "s2.tif"

    return write


@pytest.mark.parametrize("block", [100, 512])
def test_the_shift_of_a_scene_is_found_block_by_block(
    scenes: Callable[[int, int], tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(align, "BLOCK_PX", block)
    radar_path, optical_path = scenes(2, -1)
    with open_optical(optical_path) as optical, open_radar(radar_path, optical.geobox) as radar:
        seen = scene_shift(radar, optical)
        assert np.hypot(seen.right_px - 2, seen.down_px + 1) < 0.4 and seen.is_confident
        assert seen.blocks == (12 if block == 100 else 1)
        nothing = scene_shift(radar, optical, lambda top, bottom: np.zeros((bottom - top, 400), bool))
        assert not nothing.is_confident


def test_fault_11_scenes_on_other_grids_are_refused(scenes: Callable[[int, int], tuple[Path, Path]]) -> None:
    radar_path, optical_path = scenes(0, 0)
    other = GeoBox((300, 400), GRID.affine @ Affine.translation(0.5, 0), GRID.crs)
    with (
        open_optical(optical_path) as optical,
        open_radar(radar_path, other, align=True) as radar,
        pytest.raises(InputError, match="lies on another grid than the optical scene"),
    ):
        scene_shift(radar, optical)


def test_every_part_of_a_scene_gives_a_block() -> None:
    assert align._cells(10_980) == [(0, 2196), (2196, 4392), (4392, 6588), (6588, 8784), (8784, 10_980)]
    assert align._cells(700) == [(0, 350), (350, 700)]
    assert align._cells(300) == [(0, 300)]
    assert [align._side(length) for length in (10_980, 700, 300)] == [256, 350, 300]


def test_a_block_lies_where_most_pixels_may_be_compared_else_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align, "BLOCKS", 2)
    monkeypatch.setattr(align, "BLOCK_PX", 512)
    mask = np.ones((700, 1_400), bool)
    assert align._clearest(mask, 2_000, 512) == ((2_094, 2_606), [(94, 606), (794, 1_306)])
    mask[:180, :700] = mask[:, 700:860] = False  # a cloud over the top left, another down the left of the right half
    assert align._clearest(mask, 2_000, 512) == ((2_128, 2_640), [(94, 606), (828, 1_340)])  # to 128 px


@given(
    st.datetimes(datetime(2015, 1, 1), datetime(2040, 1, 1)),
    st.integers(-(10**6), 10**6),
    st.integers(-12, 14),
)
def test_fault_36_the_gap_is_signed_and_independent_of_time_zones(time: datetime, seconds: int, hours: int) -> None:
    optical = time.replace(tzinfo=UTC)
    radar = (optical + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=hours)))
    assert date_gap_days(radar, optical) == pytest.approx(seconds / 86_400)
    assert date_gap_days(optical, radar) == pytest.approx(-seconds / 86_400)


def test_an_unknown_time_has_no_gap() -> None:
    assert date_gap_days(None, datetime(2021, 1, 1, tzinfo=UTC)) is None
    assert date_gap_days(datetime(2021, 1, 1, tzinfo=UTC), None) is None
