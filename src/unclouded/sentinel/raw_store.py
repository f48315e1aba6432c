"""Temporary raw files of decoded pixels, for fast access to the rows of any band, and the blocks of a grid."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.files import explained
from unclouded.io.strips import row_ranges


@dataclass(frozen=True, eq=False)
class RawBandCache:
    """Raw file of an array (band, row, column); thread-safe.

    The file is read and written, not memory-mapped: mapped pages count as memory of the process.

    Attributes:
        path: File, which grows as it is written.
        shape: Number of bands, rows and columns.
        dtype: Data type of the values.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _files: list[Any] = field(default_factory=list, repr=False)

    @property
    def bytes(self) -> int:
        """Size of the complete file in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def write(self, band: int, top: int, left: int, values: NDArray[Any]) -> None:
        """Write a block of one band.

        Raises:
            MachineError: The disk is full, or cannot be written.
        """
        pieces = [values] if values.shape[1] == self.shape[2] else list(values)
        with self._lock, explained(self.path):
            file = self._file()
            for offset, piece in enumerate(pieces):
                file.seek(self._place(band, top + offset, left))
                remaining = np.ascontiguousarray(piece, self.dtype).data.cast("B")
                while remaining:  # a nearly full disk accepts a part, and raises at the next write
                    remaining = remaining[file.write(remaining) :]

    def read(self, band: int, top: int, bottom: int) -> NDArray[Any]:
        """Read rows of one band."""
        values = np.empty((bottom - top, self.shape[2]), self.dtype)
        with self._lock:
            file = self._file()
            file.seek(self._place(band, top, 0))
            count = file.readinto(values.data.cast("B"))
        if count != values.nbytes:
            raise RuntimeError(f"{self.path} ends before row {bottom} of band {band}")
        return values

    def close(self) -> None:
        """Close the file; it stays on disk."""
        while self._files:
            self._files.pop().close()

    def _file(self) -> Any:
        if not self._files:
            self.path.touch()
            self._files.append(self.path.open("rb+", buffering=0))
        return self._files[0]

    def _place(self, band: int, row: int, column: int) -> int:
        return ((band * self.shape[1] + row) * self.shape[2] + column) * self.dtype.itemsize


# Blocks of a grid: pixels that are close on the map are close in the radar image, so a block needs a small window.

BLOCK = 1024
"""Side of the blocks, in pixels."""


def block_rows(geobox: GeoBox) -> Iterator[tuple[int, list[tuple[int, GeoBox]]]]:
    """Yield the first row of each row of blocks, with the first column and the grid of each of its blocks."""
    height, width = geobox.shape
    for top, bottom in row_ranges(height, BLOCK):
        yield top, [(left, geobox[top:bottom, left:right]) for left, right in row_ranges(width, BLOCK)]
