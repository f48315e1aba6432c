"""Pixels that were read once and found whole, kept raw on disk: rows of any band at the speed of the disk."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.files import explained


@dataclass(frozen=True, eq=False)
class RawBandCache:
    """A raw file of bands, rows, columns; may be shared by threads.

    It is read and written, never mapped: a mapped file counts as memory of the process.

    Attributes:
        path: Of the file, which grows as it is written.
        shape: Bands, rows, columns.
        dtype: Of its values.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _files: list[Any] = field(default_factory=list, repr=False)

    @property
    def bytes(self) -> int:
        """Size of the whole file."""
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
                left_over = np.ascontiguousarray(piece, self.dtype).data.cast("B")
                while left_over:  # a disk that is nearly full takes a part, and says no only the next time
                    left_over = left_over[file.write(left_over) :]

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


# A map in blocks, row of blocks by row of blocks: what is near on the map is near in any image of it.


BLOCK = 1024
"""Side of the blocks, in pixels."""


def block_rows(geobox: GeoBox) -> Iterator[tuple[int, list[tuple[int, GeoBox]]]]:
    """Give the first row of each row of blocks, and the first column and the grid of each of its blocks."""
    height, width = geobox.shape
    for top in range(0, height, BLOCK):
        rows = slice(top, min(top + BLOCK, height))
        yield top, [(left, geobox[rows, left : min(left + BLOCK, width)]) for left in range(0, width, BLOCK)]
