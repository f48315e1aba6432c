"""The pixels of a Sentinel-2 granule: every band checked, decoded once, and then read by rows of the 10 m grid."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
from jaxtyping import UInt16
from numpy.typing import NDArray
from rasterio.enums import Resampling as WarpResampling
from rasterio.errors import RasterioError

from unclouded.errors import InputError
from unclouded.files import named, require_room
from unclouded.io.gdal import gdal_path, gdal_reason, gdal_session
from unclouded.io.geotiff import MAX_BLOCK_BYTES, require_local_image
from unclouded.sentinel.radiometry import NO_DATA
from unclouded.sentinel.raw_store import RawBandCache
from unclouded.sentinel.resample import Resampling, upsample_rows
from unclouded.sentinel.safe import ProductFolder
from unclouded.sentinel.sentinel2 import BandFile, Sentinel2Product

DECODERS = 2
"""Bands that are decoded at the same time, each by one thread."""

MAX_EXCESS = 0.005
"""How much more of a band than of the median band may be without data, where no manifest tells what is whole."""

NO_MANIFEST = (
    "no manifest.safe: that the files are whole was judged by decoding them and by their share of no data alone, "
    "and a changed bit goes unseen"
)

ReadStored = Callable[[int, int], NDArray[np.integer]]
"""From first row and row after the last to stored integers (band, rows, x)."""


@contextmanager
def open_granule(
    product: ProductFolder, description: Sentinel2Product, work_folder: Path, resampling: Resampling
) -> Iterator[ReadStored]:
    """Decode a granule into a folder and give a function that reads its rows on the 10 m grid; threads may share it.

    Args:
        product: Its folder.
        description: Its metadata.
        work_folder: Takes the pixels at their own resolution: 1.3 GB for a whole tile.
        resampling: How bands of 20 and 60 m come to the 10 m grid.

    Raises:
        InputError: A file is absent, cut, damaged, or not what its metadata and the manifest say; the disk is full.
    """
    stores = {file.band: _store(file, description, work_folder) for file in description.files}
    require_room(work_folder, sum(store.bytes for store in stores.values()), f"decode {named(product.path)}")
    with ExitStack() as stack:
        for store in stores.values():
            stack.callback(store.close)
        with ThreadPoolExecutor(DECODERS) as pool:
            decoded = pool.map(lambda file: _decode_band(product, file, stores[file.band]), description.files)
            empty = dict(zip(description.bands, decoded, strict=True))
        if product.listed is None:
            refuse_holes(product, empty)

        def read(top: int, bottom: int) -> NDArray[np.integer]:
            found = np.empty((len(description.files), bottom - top, description.geobox.shape[1]), np.uint16)
            for band, file in zip(found, description.files, strict=True):
                band[:] = _rows(stores[file.band], file, top, bottom, resampling)
            return found

        yield read


def _store(file: BandFile, description: Sentinel2Product, folder: Path) -> RawBandCache:
    height, width = (side * 10 // file.pixel_m for side in description.geobox.shape)
    return RawBandCache(folder / f"{file.band}.raw", (1, height, width), np.dtype(np.uint16))


def _decode_band(product: ProductFolder, file: BandFile, store: RawBandCache) -> float:
    """Check and decode one image; return the share of it that has no data."""
    empty = 0

    def take(top: int, values: NDArray[np.uint16]) -> None:
        nonlocal empty
        empty += int(np.count_nonzero(values == NO_DATA))
        store.write(0, top, 0, values)

    decode(product.checked(file.name), store.shape[1:], take)
    return empty / (store.shape[1] * store.shape[2])


def refuse_holes(product: ProductFolder, empty: Mapping[str, float]) -> None:
    """Refuse a product without manifest, a band of which has lost some ground: all see about the same.

    Args:
        product: Its folder.
        empty: Share of each band without data.

    Raises:
        InputError: A band has more zeros than the others.
    """
    usual = median(empty.values())
    for band, share in empty.items():
        if share > usual + MAX_EXCESS:
            raise InputError(
                f"{named(product.path)} has no data in {share:.1%} of {band}, and in {usual:.1%} of its other bands; "
                "without manifest.safe that is a damaged file: fetch the whole product"
            )


def _rows(store: RawBandCache, file: BandFile, top: int, bottom: int, resampling: Resampling) -> NDArray[np.uint16]:
    def read(first: int, last: int) -> NDArray[np.uint16]:
        return store.read(0, first, last)

    return upsample_rows(read, store.shape[1], file.pixel_m // 10, top, bottom, resampling)


# A JPEG 2000 image as Sentinel-2 products hold it: decoded once, by one thread, tile row by tile row.


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
        return np.asarray(source.read(1, window=window, out_shape=coarse, resampling=WarpResampling.average))


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
