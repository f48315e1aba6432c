"""A JPEG 2000 image as Sentinel-2 products hold it: decoded once, by one thread, tile row by tile row."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import UInt16
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.gdal import gdal_path, gdal_reason, gdal_session
from unclouded.geotiff import MAX_BLOCK_BYTES, require_local_image

_STRIP_BYTES = 32 << 20
"""About how much is decoded at a time."""


def decode(path: Path, shape: tuple[int, int], take: Callable[[int, NDArray[np.uint16]], None]) -> None:
    """Decode an image from top to bottom.

    One thread decodes: with more, a file cut short reads as zeros and nothing is said.

    Args:
        path: JPEG 2000 file with one band of 16 bits.
        shape: Rows and columns it must have.
        take: Is given the first row of each strip, and its stored integers (rows, columns).

    Raises:
        InputError: Not such an image, of another size, cut or damaged.
    """
    with _opened(path, shape) as source:
        rows = _strip_rows(source, shape)
        for top in range(0, shape[0], rows):
            take(top, source.read(1, window=((top, min(top + rows, shape[0])), (0, shape[1]))))


def decode_part(
    path: Path, shape: tuple[int, int], rows: slice, columns: slice, factor: int
) -> UInt16[np.ndarray, "coarse_rows coarse_columns"]:
    """Decode a part of an image no finer than needed, and average it to pixels ``factor`` times as large.

    Args:
        path: JPEG 2000 file with one band of 16 bits.
        shape: Rows and columns it must have.
        rows: Which rows, in large pixels.
        columns: Which columns, in large pixels.
        factor: Pixels of the image along a large one.

    Raises:
        InputError: Not such an image, of another size, cut or damaged.
    """
    window = tuple((side.start * factor, side.stop * factor) for side in (rows, columns))
    coarse = rows.stop - rows.start, columns.stop - columns.start
    with _opened(path, shape) as source:
        return np.asarray(source.read(1, window=window, out_shape=coarse, resampling=Resampling.average))


@contextmanager
def _opened(path: Path, shape: tuple[int, int]) -> Iterator[Any]:
    require_local_image(path)
    with gdal_session(OPJ_NUM_THREADS="1"), gdal_path(path) as local:
        try:
            with rasterio.open(local, driver="JP2OpenJPEG") as source:
                _refuse_others(path, source, shape)
                yield source
        except RasterioError as error:
            reason = gdal_reason(error)
            raise InputError(f"{named(path)} is not a whole JPEG 2000 image ({reason}); fetch it again") from error


def _refuse_others(path: Path, source: Any, shape: tuple[int, int]) -> None:
    expected = f"1 x {shape[0]} x {shape[1]} uint16"
    found = f"{source.count} x {source.height} x {source.width} {source.dtypes[0]}"
    if found != expected:
        raise InputError(f"{named(path)} holds {found}, expected {expected} by its metadata; fetch it again")
    rows, columns = source.block_shapes[0]
    if 2 * rows * columns > MAX_BLOCK_BYTES:
        raise InputError(f"{named(path)} is stored in tiles of {rows} x {columns} px, too large to read safely")


def _strip_rows(source: Any, shape: tuple[int, int]) -> int:
    """Return how many rows to decode at a time, a multiple of the tiles, so that each is decoded once."""
    rows = source.block_shapes[0][0]
    return int(max(_STRIP_BYTES // (2 * shape[1] * rows), 1) * rows)
