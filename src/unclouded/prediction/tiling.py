"""Tiling of a scene: windows and their margins, checkpoints of finished strips, and the sample of windows.

A scene is processed in strips of rows, and a strip in windows. Finished strips are kept on disk with a checksum, so
that an interrupted run resumes. A remover is adapted once, jointly to a fixed sample of windows spread over the scene:
neighbouring windows then use the same statistics, and a margin as wide as the receptive field makes them agree on the
pixels along their border.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from unclouded.files import whole_file


@dataclass(frozen=True, order=True)
class Window:
    """Rectangle of pixels; ``bottom`` and ``right`` are exclusive.

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
        """Return the window with a margin on each side, clipped to the scene, with corners aligned to multiples.

        A network with strides of 2 samples its input on a grid; aligned corners put the grids of all windows on the
        same pixels, so that a pixel has the same value in every window that contains it.

        Args:
            margin_px: Rows and columns to add.
            align_px: Alignment of top and left, and of bottom and right unless they are the end of the scene.
            scene: Rows and columns of the scene.
        """
        low = (max(edge - margin_px, 0) // align_px * align_px for edge in (self.top, self.left))
        high = (
            min(-(-(edge + margin_px) // align_px) * align_px, end)
            for edge, end in zip((self.bottom, self.right), scene, strict=True)
        )
        return Window(*low, *high)

    def within(self, outer: "Window") -> tuple[slice, slice]:
        """Return row and column slices of this window in an array of another window."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )


def windows_in(top: int, bottom: int, width: int, window_px: int) -> Iterator[Window]:
    """Yield the windows of one line, from left to right."""
    for left in range(0, width, window_px):
        yield Window(top, left, bottom, min(left + window_px, width))


def bounding_window(where: Bool[np.ndarray, "y x"], window: Window) -> Window | None:
    """Return the smallest window that contains all true pixels; None if there are none.

    Args:
        where: Mask of the pixels of ``window``.
        window: Position of the mask in the scene.
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


# Checkpoints: finished strips on disk, from which an interrupted run resumes.


T = TypeVar("T")

Strip = dict[str, NDArray[Any]]
"""Arrays of some rows of a scene, by name."""

_PREFIX = ".rows-"

_CHUNK = 1 << 20

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class StripCheckpoint:
    """Strips of rows on disk, each a file that ends with its SHA-256; damaged strips count as missing.

    The hash is compared at the first access of a process, which is enough to find what an earlier one left unfinished.
    Later, the checksums of the arrays themselves are compared whenever they are read.

    Attributes:
        folder: Folder of the files.
        name: Prefix of the file names.
    """

    folder: Path
    name: str
    _intact: set[int] = field(default_factory=set, compare=False, repr=False)

    def put(self, top: int, strip: Strip) -> None:
        """Write the strip that begins at a row.

        Raises:
            MachineError: The disk is full, or the folder cannot be written.
        """
        with whole_file(self._path(top)) as partial, partial.open("wb") as file:
            hashing = _Hashing(file)
            np.savez(hashing, allow_pickle=False, **strip)
            file.write(hashing.digest.digest())
        self._intact.add(top)

    def get(self, top: int, names: Collection[str] | None = None) -> Strip | None:
        """Return the strip that begins at a row, or some of its arrays; None if it is missing or damaged."""
        if not self.holds(top):
            return None
        with np.load(self._path(top), allow_pickle=False) as stored:
            return {name: stored[name] for name in (stored.files if names is None else names)}

    def holds(self, top: int) -> bool:
        """Return whether the strip exists and is intact."""
        try:
            with self._path(top).open("rb") as file:
                if top not in self._intact and _is_intact(file):
                    self._intact.add(top)
        except FileNotFoundError:
            self._intact.discard(top)
        return top in self._intact

    def _path(self, top: int) -> Path:
        return self.folder / f"{self.name}-{top:08d}.strip"


class _Hashing(io.RawIOBase):
    """File that hashes what is written: reading back a strip of hundreds of MB would take too long."""

    def __init__(self, file: BinaryIO) -> None:
        self._to = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._to.write(data)


def _is_intact(file: BinaryIO) -> bool:
    """Return whether a file ends with the hash of its content."""
    left, digest = file.seek(0, os.SEEK_END) - _DIGEST_BYTES, hashlib.sha256()
    file.seek(0)
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        digest.update(chunk)
        left -= len(chunk)
    return file.read() == digest.digest()


def work_folder(out: Path, key: str) -> Path:
    """Create and return the folder for the strips of one run; delete the folders of runs with another key.

    Args:
        out: Output folder, locked by the caller.
        key: Hash of all inputs and settings of the strips.
    """
    folder = out / f"{_PREFIX}{key[:16]}"
    for other in out.glob(f"{_PREFIX}*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(exist_ok=True)
    return folder


def prefetch(items: list[T], load: Callable[[T], "Future[Any]"]) -> Iterator[tuple[T, Any]]:
    """Yield every item with its loaded data, while the data of the next item are being loaded."""
    waiting = [load(item) for item in items[:1]]
    for index, item in enumerate(items):
        loaded = waiting.pop().result()
        waiting += [load(following) for following in items[index + 1 : index + 2]]
        yield item, loaded


# Sample: the windows that a remover is adapted to, spread over the scene and the same in every run.


SAMPLE_PX = 256
"""Side of a sampled window: the size of the training patches."""

SAMPLE_SIDE = 5
"""Rows and columns of the cells into which a scene is divided; each cell gives one window."""

_STEP_PX = 64
"""Step between candidate windows of a cell."""


def sample_windows(has_data: Bool[np.ndarray, "y x"]) -> list[Window]:
    """Choose a representative sample of windows of a scene.

    A scene with no more pixels than the sample would have is one window. In a larger one, each of 5 x 5 cells gives the
    window with the most data; among equals, the one nearest to the centre of the cell.

    Args:
        has_data: True for pixels with data.

    Returns:
        Windows from top to bottom, without those that have no data; empty if the scene has none.
    """
    height, width = has_data.shape
    if height * width <= (SAMPLE_PX * SAMPLE_SIDE) ** 2:
        return [Window(0, 0, height, width)] if has_data.any() else []
    chosen = (_best_window(has_data, cell) for cell in _sample_cells(height, width))
    return [window for window in chosen if window is not None]


def _sample_cells(height: int, width: int) -> Iterator[Window]:
    rows, columns = (
        np.linspace(0, length, min(SAMPLE_SIDE, max(length // SAMPLE_PX, 1)) + 1).astype(int).tolist()
        for length in (height, width)
    )
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield Window(top, left, bottom, right)


def _best_window(has_data: Bool[np.ndarray, "y x"], cell: Window) -> Window | None:
    def rank(window: Window) -> tuple[int, int]:
        """Order by missing data, then by distance to the centre of the cell, in half pixels to stay exact."""
        rows, columns = window.within(Window(0, 0, *has_data.shape))
        off_centre = [abs(2 * a - b) for a, b in ((window.top, middle[0]), (window.left, middle[1]))]
        return -int(np.count_nonzero(has_data[rows, columns])), sum(off_centre)

    middle = (cell.top + cell.bottom - SAMPLE_PX, cell.left + cell.right - SAMPLE_PX)
    best = min(_candidates(cell), key=rank)
    return best if rank(best)[0] else None


def _candidates(cell: Window) -> Iterator[Window]:
    """Yield candidate windows of a cell, at multiples of 4 px of the scene; smaller than 256 px only if the cell is."""
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
