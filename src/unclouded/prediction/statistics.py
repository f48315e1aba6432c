"""Which windows of a scene a remover is adapted to: spread over it, with data, the same ones in every run."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Bool

from unclouded.prediction.windows import Window

SAMPLE_PX = 256
"""Side of a sampled window: that of the patches that networks are trained on."""
SAMPLE_SIDE = 5
"""A scene is divided into this many rows and columns of cells, with one window in each."""
_STEP_PX = 64
"""Windows start at multiples of this from a cell's corner."""


def sample_windows(has_data: Bool[np.ndarray, "y x"]) -> list[Window]:
    """Choose the windows of a scene whose pixels stand for all.

    A scene of at most as many pixels as the sample would have is its own sample, in one piece. Of a larger one each of
    5 x 5 cells gives the window with the most data, and of those the one nearest to the cell's middle.

    Args:
        has_data: Of each pixel of the scene.

    Returns:
        Windows from top to bottom, those without any data left out; none where the scene has none.
    """
    height, width = has_data.shape
    if height * width <= (SAMPLE_PX * SAMPLE_SIDE) ** 2:
        return [Window(0, 0, height, width)] if has_data.any() else []
    chosen = (_fullest(has_data, cell) for cell in _cells(height, width))
    return [window for window in chosen if window is not None]


def _cells(height: int, width: int) -> Iterator[Window]:
    rows, columns = (
        np.linspace(0, length, min(SAMPLE_SIDE, max(length // SAMPLE_PX, 1)) + 1).astype(int).tolist()
        for length in (height, width)
    )
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield Window(top, left, bottom, right)


def _fullest(has_data: Bool[np.ndarray, "y x"], cell: Window) -> Window | None:
    def rank(window: Window) -> tuple[int, int]:
        rows, columns = window.within(Window(0, 0, *has_data.shape))
        off_centre = [abs(2 * a - b) for a, b in ((window.top, middle[0]), (window.left, middle[1]))]
        return -int(np.count_nonzero(has_data[rows, columns])), sum(off_centre)

    middle = (cell.top + cell.bottom - SAMPLE_PX, cell.left + cell.right - SAMPLE_PX)
    best = min(_candidates(cell), key=rank)
    return best if rank(best)[0] else None


def _candidates(cell: Window) -> Iterator[Window]:
    """Yield windows within a cell, at a multiple of 4 px from the scene's corner; smaller only where the cell is."""
    tops, lefts = (
        sorted(
            {
                start // 4 * 4
                for start in (
                    *range(low, max(high - SAMPLE_PX, low) + 1, _STEP_PX),
                    (low + max(high - SAMPLE_PX, low)) // 2,
                )
            }
        )
        for low, high in ((cell.top, cell.bottom), (cell.left, cell.right))
    )
    for top in tops:
        for left in lefts:
            yield Window(top, left, min(top + SAMPLE_PX, cell.bottom), min(left + SAMPLE_PX, cell.right))
