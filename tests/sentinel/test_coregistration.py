import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from unclouded.errors import InputError
from unclouded.sentinel.coregistration import (
    REACH_PX,
    EdgeCorrelation,
    _smoothed,
    combine_shifts,
    correlate_edges,
    estimate_shift,
)


def fields(seed: int = 1, side: int = 160) -> NDArray[np.float64]:
    """Levels of simulated fields with sharp edges."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    return np.digitize(gaussian_filter(noise, 6), np.array([-0.03, 0, 0.03])).astype(float)


def pair(
    seed: int = 1, right: float = 0, down: float = 0, side: int = 160
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Radar with speckle, in which the fields' brightness has another order than in the two optical bands."""
    rng = np.random.default_rng(seed + 1_000)
    level = fields(seed, side)
    db = np.array([-8, -14, -6, -11])[level.astype(int)]
    db = shift(db, (down, right), order=1, mode="nearest")
    radar = db + 10 * np.log10(rng.gamma(4.4, 1 / 4.4, (2, side, side)))
    optical = np.stack([0.05 + 0.05 * level, 0.4 - 0.08 * level]) + rng.normal(0, 0.003, (2, side, side))
    return radar.astype(np.float32), optical.astype(np.float32)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (0, -2), (-1.5, 3.25), (6, -5)])
def test_a_shift_is_found_to_parts_of_a_pixel(right: float, down: float) -> None:
    seen = estimate_shift(*pair(3, right, down))
    assert (seen.right_px, seen.down_px) == (pytest.approx(right, abs=0.35), pytest.approx(down, abs=0.35))
    assert seen.is_confident and seen.correlation > 0.3


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), right=st.sampled_from([-2, 0, 2]), down=st.sampled_from([-2, 0, 2]))
def test_two_pixels_are_found_in_any_fields(seed: int, right: int, down: int) -> None:
    seen = estimate_shift(*pair(seed, right, down))
    assert np.hypot(seen.right_px - right, seen.down_px - down) < 0.5


def test_images_without_anything_in_common_give_no_confidence() -> None:
    gaps = [estimate_shift(pair(seed)[0], pair(seed + 1)[1]) for seed in range(0, 8, 2)]
    assert sum(seen.is_confident for seen in gaps) <= 1
    flat = estimate_shift(np.full((2, 80, 80), -10, np.float32), np.full((4, 80, 80), 0.1, np.float32))
    assert not flat.is_confident and flat.correlation == 0


def test_clouds_are_left_out() -> None:
    radar, optical = pair(5, 2, 0)
    cloudy = optical.copy()
    cloud = np.zeros((160, 160), bool)
    cloud[40:130, 30:120] = True
    cloudy[:, cloud] = 0.8 + gaussian_filter(np.random.default_rng(1).normal(size=cloud.shape), 3)[cloud]
    seen = estimate_shift(radar, cloudy, ~cloud)
    assert np.hypot(seen.right_px - 2, seen.down_px) < 0.5 and seen.is_confident


def test_fault_13_no_data_neither_poisons_nor_makes_edges() -> None:
    radar, optical = pair(7, 0, 2)
    radar[:, 20:60, 20:60] = np.nan
    optical[:, :, 120:] = np.nan
    seen = estimate_shift(radar, optical)
    assert np.hypot(seen.right_px, seen.down_px - 2) < 0.5
    nothing = estimate_shift(np.full_like(radar, np.nan), optical)
    assert not nothing.is_confident


def test_blocks_add_up() -> None:
    blocks = [correlate_edges(*pair(seed, 2, -1, side=96)) for seed in range(5)]
    seen = combine_shifts(blocks)
    assert np.hypot(seen.right_px - 2, seen.down_px + 1) < 0.4 and seen.blocks == 5 and seen.spread_px < 0.6
    assert seen.is_confident and re.fullmatch(r"\+\d\.\d\d px right, -\d\.\d\d px down \(gap 0\.\d{3}\)", str(seen))


def test_a_scene_without_edges_has_no_shift() -> None:
    nothing = combine_shifts([])
    assert nothing.blocks == 0 and not nothing.is_confident and np.isnan(nothing.right_px)
    assert "not confident" in str(nothing)


def test_the_vertex_of_a_parabola_is_between_pixels() -> None:
    places = np.arange(-REACH_PX, REACH_PX + 1, dtype=float)
    products = 100 - (places[:, None] + 2.25) ** 2 - (places - 1.5) ** 2
    seen = EdgeCorrelation(products, 100.0).shift()
    assert (seen.right_px, seen.down_px) == (pytest.approx(1.5), pytest.approx(-2.25))


def test_a_shift_at_the_end_of_the_reach_stays_there() -> None:
    products = np.add.outer(np.arange(17.0), np.arange(17.0))
    seen = EdgeCorrelation(products, 1.0).shift()
    assert (seen.right_px, seen.down_px) == (8, 8)


def test_images_too_small_to_be_shifted_are_refused() -> None:
    radar, optical = pair()
    with pytest.raises(InputError, match=r"of one size, at least 64 px, found \(60, 160\) px and \(60, 160\) px"):
        estimate_shift(radar[:, :60], optical[:, :60])


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_smoothing_is_that_of_scipy(sigma: float) -> None:
    planes = np.random.default_rng(0).random((2, 64, 71))
    np.testing.assert_allclose(_smoothed(planes, sigma), gaussian_filter(planes, (0, sigma, sigma)), rtol=1e-12)
    narrow = planes[:, :3, :5]  # narrower than the kernel: the edges are reflected again and again
    np.testing.assert_allclose(_smoothed(narrow, sigma), gaussian_filter(narrow, (0, sigma, sigma)), rtol=1e-12)
