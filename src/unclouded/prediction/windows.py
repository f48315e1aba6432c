"""Rectangles of a scene: what one network call answers, and what it has to see for that."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of pixels; the last row and column are not part of it.

    Attributes:
        top: First row.
        left: First column.
        bottom: Row after the last.
        right: Column after the last.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def grown(self, margin_px: int, align_px: int, scene: tuple[int, int]) -> "Window":
        """Return the window with a margin on each side, as far as the scene goes; corners at multiples of an alignment.

        Args:
            margin_px: Rows and columns to add.
            align_px: Top and left become a multiple of this, bottom and right too where the scene does not end.
            scene: Rows and columns of the scene.
        """
        low = (max(edge - margin_px, 0) // align_px * align_px for edge in (self.top, self.left))
        high = (
            min(-(-(edge + margin_px) // align_px) * align_px, end)
            for edge, end in zip((self.bottom, self.right), scene, strict=True)
        )
        return Window(*low, *high)

    def within(self, outer: "Window") -> tuple[slice, slice]:
        """Return where this window lies in the pixels of another."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


def rows_of(height: int, window_px: int) -> list[tuple[int, int]]:
    """Return first and last-but-one row of each line of windows, from top to bottom."""
    return [(top, min(top + window_px, height)) for top in range(0, height, window_px)]


def windows_in(top: int, bottom: int, width: int, window_px: int) -> Iterator[Window]:
    """Yield the windows of one line, from left to right."""
    for left in range(0, width, window_px):
        yield Window(top, left, bottom, min(left + window_px, width))


def bounding(where: Bool[np.ndarray, "y x"], window: Window) -> Window | None:
    """Return the smallest window around the pixels that are true; None where none is.

    Args:
        where: One value for each pixel of ``window``.
        window: Where they lie in the scene.
    """
    rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    return Window(
        window.top + int(rows[0]),
        window.left + int(columns[0]),
        window.top + int(rows[-1]) + 1,
        window.left + int(columns[-1]) + 1,
    )
