"""Pixels of a Sentinel-2 granule: JPEG 2000 bands, verified, decoded once, and read by rows of the 10 m grid.

:func:`open_granule` decodes all bands into temporary raw files, from which rows are read in any order.
:func:`decode_part` reads a window of one band at reduced resolution, without decoding the rest.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
from jaxtyping import UInt16
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling as WarpResampling
from rasterio.errors import RasterioError

from unclouded.errors import InputError
from unclouded.files import named, require_room
from unclouded.io.gdal import gdal_path, gdal_reason, gdal_session
from unclouded.io.geotiff import MAX_BLOCK_BYTES, require_local_image
from unclouded.io.strips import RowReader, row_ranges
from unclouded.machine import threads
from unclouded.sentinel.radiometry import NO_DATA
from unclouded.sentinel.raw_store import RawBandCache
from unclouded.sentinel.resample import Resampling, upsample_rows
from unclouded.sentinel.safe import ProductFolder
from unclouded.sentinel.sentinel2 import MAX_SIDE, RESOLUTIONS_M, BandFile, Sentinel2Product

MOST_DECODERS = 8
"""Most bands that are decoded at the same time, each by one thread."""

MAX_EXCESS = 0.005
"""Largest excess of a band's share without data over the median band, for products without manifest."""

NO_MANIFEST = (
    "no manifest.safe: the files were verified by decoding and by their share without data only, so a changed bit is "
    "not detected"
)


@dataclass(frozen=True, eq=False)
class Granule:
    """Decoded granule, read by rows of the 10 m grid; thread-safe.

    Attributes:
        stored: Reader of stored integers (band, row, column).
        classes: Reader of the scene classification (row, column); None without one.
    """

    stored: RowReader[NDArray[np.integer]]
    classes: RowReader[NDArray[np.uint8]] | None = None


@contextmanager
def open_granule(
    product: ProductFolder, description: Sentinel2Product, work_folder: Path, resampling: Resampling
) -> Iterator[Granule]:
    """Decode a granule into temporary files.

    Args:
        product: Folder of the product.
        description: Metadata of the granule.
        work_folder: Folder for the pixels at native resolution: 1.3 GB for a whole tile.
        resampling: Interpolation of the bands of 20 and 60 m.

    Raises:
        InputError: A file is missing, truncated, damaged, or contradicts its metadata or the manifest; the disk is
            full.
    """

    def decode_file(file: BandFile, shape: tuple[int, int], on_strip: OnStrip) -> None:
        decode(product.checked(file.name), shape, on_strip, file.dtype)

    images = GranuleImages(product.path, description.files, description.classes, description.geobox, decode_file)
    with open_images(images, work_folder, resampling, check_holes=product.listed is None) as granule:
        yield granule


OnStrip = Callable[[int, NDArray[np.integer]], None]
"""Callable (first row, stored integers of a strip)."""


@dataclass(frozen=True, eq=False)
class GranuleImages:
    """Images of a granule in any format.

    Attributes:
        path: Product, for messages.
        files: Image of each band.
        classes: Image of the scene classification; None without one.
        geobox: 10 m grid.
        decode: Function (file, shape, callable for each strip) that reads an image from top to bottom, and verifies it.
    """

    path: Path
    files: tuple[BandFile, ...]
    classes: BandFile | None
    geobox: GeoBox
    decode: Callable[[BandFile, tuple[int, int], OnStrip], None]


@contextmanager
def open_images(
    images: GranuleImages, work_folder: Path, resampling: Resampling, *, check_holes: bool
) -> Iterator[Granule]:
    """Decode images of bands at their own pixel sizes into temporary files.

    Args:
        images: Images.
        work_folder: Folder for the pixels at native resolution.
        resampling: Interpolation of the bands of 20 and 60 m.
        check_holes: Whether an excess of pixels without data in a band is an error.

    Raises:
        InputError: An image is damaged; the disk is full.
    """
    classes = images.classes
    files = images.files if classes is None else (*images.files, classes)
    stores = {file.band: _store(file, images.geobox, work_folder) for file in files}
    require_room(work_folder, sum(store.bytes for store in stores.values()), f"decode {named(images.path)}")
    with ExitStack() as stack:
        for store in stores.values():
            stack.callback(store.close)
        with ThreadPoolExecutor(min(threads(), MOST_DECODERS)) as pool:
            by_size = sorted(files, key=lambda file: file.pixel_m)  # small images last, so that no thread waits long
            decoded = pool.map(lambda file: _decode_band(images, file, stores[file.band]), by_size)
            shares = dict(zip((file.band for file in by_size), decoded, strict=True))
            empty = {file.band: shares[file.band] for file in images.files}
        if check_holes:
            refuse_holes(images.path, empty)

        def read(top: int, bottom: int) -> NDArray[np.integer]:
            found = np.empty((len(images.files), bottom - top, images.geobox.shape[1]), np.uint16)
            for band, file in zip(found, images.files, strict=True):
                band[:] = _rows(stores[file.band], file, top, bottom, resampling)
            return found

        def read_classes(top: int, bottom: int) -> NDArray[np.uint8]:
            assert classes is not None
            return np.asarray(_rows(stores[classes.band], classes, top, bottom, "nearest"), np.uint8)

        yield Granule(read, None if classes is None else read_classes)


def _store(file: BandFile, geobox: GeoBox, folder: Path) -> RawBandCache:
    height, width = (side * 10 // file.pixel_m for side in geobox.shape)
    return RawBandCache(folder / f"{file.band}.raw", (1, height, width), np.dtype(file.dtype))


def _decode_band(images: GranuleImages, file: BandFile, store: RawBandCache) -> float:
    """Verify and decode one image; return its share without data."""
    empty = 0

    def store_strip(top: int, values: NDArray[np.integer]) -> None:
        nonlocal empty
        empty += int(np.count_nonzero(values == NO_DATA))
        store.write(0, top, 0, values)

    images.decode(file, store.shape[1:], store_strip)
    return empty / (store.shape[1] * store.shape[2])


def refuse_holes(path: Path, empty: Mapping[str, float]) -> None:
    """Refuse a product without manifest in which a band has more pixels without data than the others.

    All bands of a granule cover nearly the same ground, so an excess indicates a damaged file.

    Args:
        path: Product, for messages.
        empty: Share without data of each band.

    Raises:
        InputError: A band exceeds the median by more than :data:`MAX_EXCESS`.
    """
    usual = median(empty.values())
    for band, share in empty.items():
        if share > usual + MAX_EXCESS:
            raise InputError(
                f"{named(path)} has no data in {share:.1%} of {band}, and in {usual:.1%} of its other bands; "
                "without manifest.safe this indicates a damaged file; fetch the whole product"
            )


def _rows(store: RawBandCache, file: BandFile, top: int, bottom: int, resampling: Resampling) -> NDArray[np.integer]:
    def read(first: int, last: int) -> NDArray[np.integer]:
        return store.read(0, first, last)

    return upsample_rows(read, store.shape[1], file.pixel_m // 10, top, bottom, resampling)


# JPEG 2000 images of Sentinel-2 products, decoded by rows of tiles.

_STRIP_BYTES = 32 << 20
"""Approximate size of the strips that are decoded at a time."""


def decode(
    path: Path,
    shape: tuple[int, int],
    on_strip: Callable[[int, NDArray[np.integer]], None],
    dtype: str = "uint16",
) -> None:
    """Decode an image from top to bottom, in one thread.

    With several threads OpenJPEG reads a truncated file as zeros, without error.

    Args:
        path: JPEG 2000 file with one band.
        shape: Expected number of rows and columns.
        on_strip: Called with the first row of each strip and its stored integers (row, column).
        dtype: Expected data type.

    Raises:
        InputError: The file is not such an image, has another size, or is truncated or damaged.
    """
    with _opened(path, shape, dtype) as source:
        rows = _strip_rows(source, shape)
        for top, bottom in row_ranges(shape[0], rows):
            on_strip(top, source.read(1, window=((top, bottom), (0, shape[1]))))


def decode_part(
    path: Path, shape: tuple[int, int], rows: slice, columns: slice, factor: int
) -> UInt16[np.ndarray, "coarse_rows coarse_columns"]:
    """Decode a window of an image at reduced resolution, averaged to pixels ``factor`` times as large.

    Args:
        path: JPEG 2000 file with one band of 16 bits.
        shape: Expected number of rows and columns of the whole image.
        rows: Row range in large pixels.
        columns: Column range in large pixels.
        factor: Pixels of the image along a large pixel.

    Raises:
        InputError: The file is not such an image, has another size, or is truncated or damaged.
    """
    window = tuple((side.start * factor, side.stop * factor) for side in (rows, columns))
    coarse = rows.stop - rows.start, columns.stop - columns.start
    with _opened(path, shape) as source:
        return np.asarray(source.read(1, window=window, out_shape=coarse, resampling=WarpResampling.average))


@contextmanager
def _opened(path: Path, shape: tuple[int, int], dtype: str = "uint16") -> Iterator[Any]:
    with _open_jp2(path) as source:
        _refuse_others(path, source, shape, dtype)
        yield source


@contextmanager
def _open_jp2(path: Path) -> Iterator[Any]:
    require_local_image(path)
    with gdal_session(OPJ_NUM_THREADS="1"), gdal_path(path) as local:
        try:
            with rasterio.open(local, driver="JP2OpenJPEG") as source:
                yield source
        except RasterioError as error:
            reason = gdal_reason(error)
            raise InputError(f"{named(path)} is not a whole JPEG 2000 image ({reason}); fetch it again") from error


def _refuse_others(path: Path, source: Any, shape: tuple[int, int], dtype: str) -> None:
    expected = f"1 x {shape[0]} x {shape[1]} {dtype}"
    found = f"{source.count} x {source.height} x {source.width} {source.dtypes[0]}"
    if found != expected:
        raise InputError(f"{named(path)} holds {found}, expected {expected} by its metadata; fetch it again")
    rows, columns = source.block_shapes[0]
    if 2 * rows * columns > MAX_BLOCK_BYTES:
        raise InputError(
            f"{named(path)} is stored in tiles of {rows} x {columns} px, too large to read safely; fetch it again"
        )


def grid_of_jp2(path: Path) -> GeoBox:
    """Return the grid of a JPEG 2000 image with pixels of 10 m.

    Raises:
        InputError: The file is not such an image, or has no georeference or other pixels.
    """
    with _open_jp2(path) as source:
        if source.crs is None or source.transform.is_identity:
            raise InputError(f"{named(path)} has no georeference; fetch the whole product")
        if (round(source.transform.a, 6), round(source.transform.e, 6)) != (10, -10):
            step = f"{source.transform.a:g} x {source.transform.e:g}"
            raise InputError(f"{named(path)} has pixels of {step}, expected 10 m; fetch the bands of 10 m")
        if not all(0 < side <= MAX_SIDE for side in source.shape):
            raise InputError(f"{named(path)} declares {source.height} x {source.width} px, expected at most {MAX_SIDE}")
        return GeoBox(source.shape, source.transform, str(source.crs))


def pixel_of_jp2(path: Path, geobox: GeoBox) -> int:
    """Return the pixel size in metres of a JPEG 2000 image that covers a grid of 10 m.

    Raises:
        InputError: The file is not such an image, or covers other ground.
    """
    with _open_jp2(path) as source:
        metres: int = round(source.transform.a)
        corner = (source.transform.c, source.transform.f, str(source.crs))
        if metres not in RESOLUTIONS_M or corner != (geobox.affine.c, geobox.affine.f, str(geobox.crs)):
            raise InputError(f"{named(path)} covers other ground than B02; fetch the bands of one scene")
        return metres


def _strip_rows(source: Any, shape: tuple[int, int]) -> int:
    """Return the height of strips, a multiple of the tile height, so that every tile is decoded once."""
    rows = source.block_shapes[0][0]
    return int(max(_STRIP_BYTES // (2 * shape[1] * rows), 1) * rows)
