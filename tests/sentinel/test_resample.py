from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unclouded.sentinel.resample import Resampling, upsample_rows


def finer(
    coarse: NDArray[np.uint16], factor: int, method: Resampling, ends: tuple[int, ...] | None = None
) -> NDArray[np.uint16]:
    ends = ends or (0, len(coarse) * factor)
    read = lambda top, bottom: coarse[top:bottom]  # noqa: E731
    rows = [upsample_rows(read, len(coarse), factor, a, b, method) for a, b in pairwise(ends)]
    return np.concatenate(rows)


def test_the_nearest_pixel_is_repeated() -> None:
    assert finer(np.uint16([[1, 2], [3, 4]]), 2, "nearest").tolist() == [[1, 1, 2, 2]] * 2 + [[3, 3, 4, 4]] * 2


def test_bilinear_weights_are_quarters_of_the_way() -> None:
    # Centres of pixels of 10 m lie at 1/4 and 3/4 of pixels of 20 m; edges repeat.
    assert finer(np.uint16([[100, 200]]), 2, "bilinear").tolist() == [[100, 125, 175, 200]] * 2
    assert finer(np.uint16([[0x100], [0x200]]), 2, "bilinear")[:, 0].tolist() == [256, 320, 448, 512]


def test_bilinear_follows_a_plane_exactly() -> None:
    row, column = np.mgrid[:5, :7]
    plane = (1000 + 120 * row + 12 * column).astype(np.uint16)
    seen = finer(plane, 6, "bilinear")[3:-3, 3:-3]
    fine_row, fine_column = np.mgrid[3 : 5 * 6 - 3, 3 : 7 * 6 - 3]
    exact = 1000 + 120 * ((fine_row + 0.5) / 6 - 0.5) + 12 * ((fine_column + 0.5) / 6 - 0.5)
    np.testing.assert_array_equal(seen, exact)


@pytest.mark.parametrize("hole", [0, 65_535])
def test_fault_13_a_hole_neither_grows_nor_bleeds(hole: int) -> None:
    coarse = np.full((3, 3), 500, np.uint16)
    coarse[1, 1] = hole
    seen = finer(coarse, 2, "bilinear")
    assert (seen[2:4, 2:4] == hole).all() and np.count_nonzero(seen == 500) == 32


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 6]), st.sampled_from(["nearest", "bilinear"]))
def test_strips_are_the_whole(seed: int, factor: int, method: Resampling) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 65_536, (6, 5)).astype(np.uint16)
    ends = (0, *sorted({int(end) for end in rng.integers(1, 6 * factor, 3)}), 6 * factor)
    np.testing.assert_array_equal(finer(coarse, factor, method, ends), finer(coarse, factor, method))


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 6]), st.integers(1, 1000))
def test_fault_16_an_offset_changes_nothing_but_itself(seed: int, factor: int, offset: int) -> None:
    coarse = np.random.default_rng(seed).integers(1, 60_000, (4, 4)).astype(np.uint16)
    moved = finer(coarse + np.uint16(offset), factor, "bilinear")
    np.testing.assert_array_equal(moved - np.uint16(offset), finer(coarse, factor, "bilinear"))


def test_the_10_m_grid_is_left_alone() -> None:
    coarse = np.random.default_rng(1).integers(0, 9, (4, 4)).astype(np.uint16)
    np.testing.assert_array_equal(finer(coarse, 1, "bilinear"), coarse)
