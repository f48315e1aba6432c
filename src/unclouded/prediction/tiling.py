"""Rectangles of a scene: what one network call answers, and what it has to see for that."""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from unclouded.files import whole_file


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


# Finished rows of a scene, kept until the scene is whole: who was killed goes on where he was.


T = TypeVar("T")

Strip = dict[str, NDArray[Any]]
"""Rows of a scene: arrays by name."""

_PREFIX = ".rows-"

_CHUNK = 1 << 20

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class StripCheckpoint:
    """Strips of rows on disk, each a file with its own SHA-256: a strip is there and right, or is not there.

    Attributes:
        folder: Where they lie.
        name: What the strips are of.
    """

    folder: Path
    name: str

    def put(self, top: int, strip: Strip) -> None:
        """Keep the strip that begins at a row.

        Raises:
            MachineError: The disk is full, or the folder cannot be written.
        """
        with whole_file(self._path(top)) as partial, partial.open("wb") as file:
            hashing = _Hashing(file)
            np.savez(hashing, allow_pickle=False, **strip)
            file.write(hashing.digest.digest())

    def get(self, top: int) -> Strip | None:
        """Return the strip that begins at a row; None where it is absent or damaged."""
        try:
            with self._path(top).open("rb") as file:
                if not _is_whole(file):
                    return None
                with np.load(file, allow_pickle=False) as stored:
                    return dict(stored)
        except FileNotFoundError:
            return None

    def holds(self, top: int) -> bool:
        """Say whether the strip is there and whole."""
        try:
            with self._path(top).open("rb") as file:
                return _is_whole(file)
        except FileNotFoundError:
            return False

    def _path(self, top: int) -> Path:
        return self.folder / f"{self.name}-{top:08d}.strip"


class _Hashing(io.RawIOBase):
    """Writes into a file and hashes on the way: a strip of a wide scene has hundreds of MB, once is enough."""

    def __init__(self, file: BinaryIO) -> None:
        self._to = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._to.write(data)


def _is_whole(file: BinaryIO) -> bool:
    """Say whether a file ends with the hash of what comes before, and go back to its beginning."""
    left, digest = file.seek(0, os.SEEK_END) - _DIGEST_BYTES, hashlib.sha256()
    file.seek(0)
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        digest.update(chunk)
        left -= len(chunk)
    whole = file.read() == digest.digest()
    file.seek(0)
    return whole


def work_folder(out: Path, key: str) -> Path:
    """Return the folder for the strips of one run, and delete those of runs with another key.

    Args:
        out: Folder of the products, held by the caller.
        key: Hash of everything that the strips depend on.
    """
    folder = out / f"{_PREFIX}{key[:16]}"
    for other in out.glob(f"{_PREFIX}*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(exist_ok=True)
    return folder


def prefetch(items: list[T], load: Callable[[T], "Future[Any]"]) -> Iterator[tuple[T, Any]]:
    """Yield every item with what was loaded for it; the next one is being loaded meanwhile."""
    waiting = [load(item) for item in items[:1]]
    for index, item in enumerate(items):
        loaded = waiting.pop().result()
        waiting += [load(following) for following in items[index + 1 : index + 2]]
        yield item, loaded


# Which windows of a scene a remover is adapted to: spread over it, with data, the same ones in every run.


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
