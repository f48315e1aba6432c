"""The pixels of a Sentinel-2 granule: every band checked, decoded once, and then read by rows of the 10 m grid."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.files import named, require_room
from unclouded.scenes.jp2 import decode
from unclouded.scenes.radiometry import NO_DATA
from unclouded.scenes.resample import Resampling, on_finer_rows
from unclouded.scenes.safe import ProductFolder
from unclouded.scenes.sentinel2 import BandFile, Sentinel2Product
from unclouded.scenes.store import RawStore

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


def _store(file: BandFile, description: Sentinel2Product, folder: Path) -> RawStore:
    height, width = (side * 10 // file.pixel_m for side in description.geobox.shape)
    return RawStore(folder / f"{file.band}.raw", (1, height, width), np.dtype(np.uint16))


def _decode_band(product: ProductFolder, file: BandFile, store: RawStore) -> float:
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


def _rows(store: RawStore, file: BandFile, top: int, bottom: int, resampling: Resampling) -> NDArray[np.uint16]:
    def read(first: int, last: int) -> NDArray[np.uint16]:
        return store.read(0, first, last)

    return on_finer_rows(read, store.shape[1], file.pixel_m // 10, top, bottom, resampling)
