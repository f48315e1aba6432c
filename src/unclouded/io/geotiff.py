"""A GeoTIFF as it is stored: opened within limits, read whole or by rows, written whole or not at all."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import rasterio
from jaxtyping import Bool, Real
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, RasterioError

from unclouded.errors import InputError
from unclouded.files import named, require_file, resolved, unwritable, whole_file
from unclouded.formats import format_of
from unclouded.io.gdal import gdal_path, gdal_reason, gdal_session, require_projections
from unclouded.io.tiff_tags import require_sound_tags

MAX_VALUES = 13 * 12_000 * 12_000
"""Most values (bands x rows x columns) one read may return: a whole Sentinel-2 tile with room to spare."""
MAX_BLOCK_BYTES = 256 << 20
"""Largest block a file may be stored in: reading one pixel decodes a whole block."""
MAX_COMPRESSION = 1_100
"""Most bytes that one byte of a file may unfold to: deflate reaches 1032 on constants, images a hundredth of that."""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image as its file stores it, before any unit.

    Attributes:
        values: Bands, rows, columns, in the file's own data type.
        geobox: The grid; its CRS is None where the file has none.
        nodata: The file's nodata tag.
        descriptions: The file's own band names, None where it has none.
        scales: The file's scale tags, 1 where it has none.
        offsets: The file's offset tags, 0 where it has none.
        valid: False where a mask inside or beside the file, or an alpha band, marks a gap; None without such a mask.
            The nodata tag is not part of it.
    """

    values: Real[np.ndarray, "band y x"]
    geobox: GeoBox
    nodata: float | None
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    valid: Bool[np.ndarray, "band y x"] | None = None

    def with_gaps_as(self, number: int) -> Real[np.ndarray, "band y x"]:
        """Return the values, with a number in the gaps."""
        if self.valid is None and self.nodata in (None, number):
            return self.values
        return np.where(self.is_gap, self.values.dtype.type(number), self.values)

    @property
    def is_gap(self) -> Bool[np.ndarray, "band y x"]:
        """Gaps by nodata tag, mask, alpha band or NaN: every way in which a file marks them."""
        gap = np.isnan(self.values) if self.values.dtype.kind == "f" else np.zeros(self.values.shape, bool)
        if self.nodata is not None and not math.isnan(self.nodata):
            gap |= self.values == self.nodata
        return gap if self.valid is None else gap | ~self.valid


@dataclass(frozen=True)
class ImageWindow:
    """A rectangle of a GeoTIFF, which is read where it stands for a file of its own.

    Attributes:
        file: The GeoTIFF.
        top: First row.
        left: First column.
        shape: Rows and columns.
    """

    file: Path
    top: int
    left: int
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.file.name} at row {self.top}, column {self.left}"

    @property
    def stem(self) -> str:
        """Name of a file that would hold it, without suffix."""
        return f"{self.file.stem}_{self.top}_{self.left}"

    @property
    def rows_columns(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First row and row after the last; columns likewise."""
        height, width = self.shape
        return (self.top, self.top + height), (self.left, self.left + width)

    def __str__(self) -> str:
        return str(self.file.with_name(self.name))


ImageFile = Path | ImageWindow
"""Where an image is: a whole GeoTIFF, or a rectangle of one."""


def file_of(image: ImageFile) -> Path:
    """Return the file that an image is in."""
    return image.file if isinstance(image, ImageWindow) else image


@contextmanager
def open_geotiff(path: Path, window: ImageWindow | None = None) -> Iterator[Any]:
    """Open a local GeoTIFF and nothing else: no VRT, no network, no side-car files, no giant, no missing block.

    Args:
        path: The file.
        window: What will be read of it; only its blocks are looked for then. The whole file if omitted.

    Raises:
        InputError: ``path`` is no regular file, no GeoTIFF, damaged, larger than the limits of this module, was not
            written to its end, or has pixels without size.
    """
    require_local_image(path)
    if (found := format_of(path)) and "TIFF" not in found.name:
        remedy = found.remedy or "give a GeoTIFF"
        raise InputError(f"{named(path)} is not a whole GeoTIFF (it is {found.name}); {remedy}")
    require_projections()
    require_sound_tags(path)
    with gdal_session(), gdal_path(path) as local:
        with _reads_explained(path):
            source = rasterio.open(local, driver="GTiff")
        with source:
            with _reads_explained(path):
                _refuse_leaving(path, source, window)
                _refuse_giants(path, source)
                _refuse_missing_blocks(path, source, window)
                _refuse_flat_pixels(path, source)
            yield source


def require_local_image(path: Path) -> None:
    """Refuse what GDAL would take for an address, and files that are none or empty.

    Raises:
        InputError: ``path`` is no regular file, has no bytes, or begins like GDAL's virtual file systems.
    """
    require_file(path)
    if resolved(path).as_posix().startswith("/vsi"):
        looks = "looks like an address of GDAL's virtual file systems"
        raise InputError(f"{named(path)} {looks}; move it to another folder")
    if path.stat().st_size == 0:
        raise InputError(f"{named(path)} is empty (0 bytes); fetch it again")


@contextmanager
def _reads_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CRSError, UnicodeDecodeError) as error:  # Unicode: bytes changed within a tag
        raise InputError(f"{path} is not a whole GeoTIFF ({gdal_reason(error)}); fetch it again") from error


@contextmanager
def _writes_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        raise unwritable(path, gdal_reason(error)) from error


def _refuse_leaving(path: Path, source: Any, window: ImageWindow | None) -> None:
    if window is None:
        return
    (top, bottom), (left, right) = window.rows_columns
    if not (0 <= top < bottom <= source.height and 0 <= left < right <= source.width):
        found = f"{source.height} x {source.width} px, expected rows {top} to {bottom}, columns {left} to {right}"
        raise InputError(f"{path} has {found}; make it again")


def _refuse_giants(path: Path, source: Any) -> None:
    declared = f"{path} declares {source.count} x {source.height} x {source.width} values"
    values = source.count * source.height * source.width
    if values > MAX_VALUES:
        raise InputError(f"{declared}, expected at most {MAX_VALUES:,}; cut it first")
    itemsize = max(np.dtype(dtype).itemsize for dtype in source.dtypes)
    rows, columns = max(source.block_shapes)
    if rows * columns * itemsize * (source.count if _shares_blocks(source) else 1) > MAX_BLOCK_BYTES:
        raise InputError(f"{path} is stored in blocks of {rows} x {columns} px, too large to read safely; retile it")
    size = path.stat().st_size
    if values * itemsize > max(MAX_COMPRESSION * size, MAX_BLOCK_BYTES):
        raise InputError(f"{declared} in {size:,} bytes, expected an image; it was never written or is a bomb")


def _shares_blocks(source: Any) -> bool:
    """Say whether each block holds all bands."""
    return bool(source.interleaving) and source.interleaving.name == "pixel"


def _refuse_missing_blocks(path: Path, source: Any, window: ImageWindow | None) -> None:
    """A file whose writer was killed opens and reads as zeros, or as its nodata tag: only its block table tells."""
    (top, bottom), (left, right) = window.rows_columns if window else ((0, source.height), (0, source.width))
    shapes = source.block_shapes[:1] if _shares_blocks(source) else source.block_shapes
    for band, (rows, columns) in enumerate(shapes, start=1):
        for row in range(top // rows, math.ceil(bottom / rows)):
            for column in range(left // columns, math.ceil(right / columns)):
                if source.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is None:
                    raise InputError(
                        f"{path} was not written to its end, or is sparse: block {column}, {row} of band {band} is "
                        "missing; fetch it again"
                    )


def _refuse_flat_pixels(path: Path, source: Any) -> None:
    if not (all(map(math.isfinite, source.transform)) and abs(source.transform.determinant) > 0):
        raise InputError(f"{path} has pixels without size, expected a georeference or none; fetch it again")


def read_stored(image: ImageFile) -> StoredImage:
    """Read a local GeoTIFF, or a rectangle of one, as it is stored.

    Raises:
        InputError: See :func:`open_geotiff`; or the rectangle leaves the image.
    """
    with _opened(image) as source:
        if isinstance(image, ImageWindow):
            return _stored(image.file, source, *image.rows_columns)
        return stored_rows(image, source, 0, source.height)


def read_grid(image: ImageFile) -> GeoBox:
    """Return the grid of a local GeoTIFF, or of a rectangle of one; its CRS is None where the file has none.

    Raises:
        InputError: See :func:`read_stored`.
    """
    with _opened(image) as source:
        grid = grid_of(source)
        if not isinstance(image, ImageWindow):
            return grid
        rows, columns = image.rows_columns
        return grid[slice(*rows), slice(*columns)]


def _opened(image: ImageFile) -> AbstractContextManager[Any]:
    return open_geotiff(image.file, image) if isinstance(image, ImageWindow) else open_geotiff(image)


def stored_rows(path: Path, source: Any, top: int, bottom: int) -> StoredImage:
    """Read rows of an open GeoTIFF as they are stored.

    Args:
        path: What messages call it.
        source: What :func:`open_geotiff` gave.
        top: First row.
        bottom: Row after the last.

    Raises:
        InputError: The rows are damaged.
    """
    return _stored(path, source, (top, bottom), (0, source.width))


def _stored(path: Path, source: Any, rows: tuple[int, int], columns: tuple[int, int]) -> StoredImage:
    with _reads_explained(path):
        bands = image_bands(source)
        values = source.read(bands, window=(rows, columns))
        geobox = grid_of(source)[slice(*rows), slice(*columns)]
        names, scales, offsets = (
            tuple(each[band - 1] for band in bands) for each in (source.descriptions, source.scales, source.offsets)
        )
        valid = _valid(path, source, bands, (rows, columns))
        return StoredImage(values, geobox, source.nodata, names, scales, offsets, valid)


def image_bands(source: Any) -> list[int]:
    """Return the numbers of the bands of an open GeoTIFF, from 1, without alpha bands, which mark gaps."""
    alpha = _alpha_bands(source)
    return [band for band in source.indexes if band not in alpha]


_ALPHA: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()
"""Alpha bands of open files: after rows that could not be read, rasterio raises that error again where it is asked."""


def _alpha_bands(source: Any) -> list[int]:
    """Bands marked as alpha; one with a name of its own, such as VH, is data that a tool marked wrongly."""
    if source not in _ALPHA:
        named = [(name or "").lower() not in ("", "alpha", "mask") for name in source.descriptions]
        pairs = zip(source.indexes, source.colorinterp, named, strict=True)
        _ALPHA[source] = [band for band, meaning, has_name in pairs if meaning == ColorInterp.alpha and not has_name]
    return _ALPHA[source]


def _valid(path: Path, source: Any, bands: list[int], window: Any) -> Bool[np.ndarray, "band y x"] | None:
    """Where alpha bands, a mask within the file and one beside it leave pixels valid; None where there are none."""
    found = [(source.read(band, window=window) != 0)[None] for band in _alpha_bands(source)]
    flags = [source.mask_flag_enums[band - 1] for band in bands]
    if any(not {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha} & set(flag) for flag in flags):
        found.append(source.read_masks(bands, window=window) != 0)
    if (sidecar := mask_beside(path)) is not None:
        found.append(_read_sidecar(sidecar, source, bands, window))
    shape = (len(bands), *(last - first for first, last in window))
    return np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*found)), shape) if found else None


def mask_beside(path: Path) -> Path | None:
    """Return the mask file that GDAL writes beside an image, ``NAME.tif.msk``; None where there is none."""
    names = (path.with_name(path.name + suffix) for suffix in (".msk", ".MSK"))
    return next((one for one in names if os.path.lexists(one)), None)  # False for a name that is too long


def _read_sidecar(sidecar: Path, source: Any, bands: list[int], window: Any) -> Bool[np.ndarray, "_ y x"]:
    """Read a mask file: a GeoTIFF of the image's size, with one band for all of the image's, or one for each.

    Raises:
        InputError: It is no local GeoTIFF, is damaged, or has another size or number of bands.
    """
    with open_geotiff(sidecar) as mask:
        if mask.shape != source.shape or mask.count not in (1, source.count):
            found = f"{mask.count} bands of {mask.height} x {mask.width} px"
            raise InputError(
                f"{sidecar} masks its image with {found}, expected 1 or {source.count} of {source.height} x "
                f"{source.width} px; make the mask again, or remove it"
            )
        with _reads_explained(sidecar):
            return np.asarray(mask.read([1] if mask.count == 1 else bands, window=window) != 0)


def grid_of(source: Any) -> GeoBox:
    """Return the grid of an open GeoTIFF; its CRS is None where the file has none."""
    return GeoBox((source.height, source.width), source.transform, source.crs)


def write_geotiff(
    path: Path,
    values: Real[np.ndarray, "band y x"],
    bands: tuple[str, ...],
    geobox: GeoBox,
    *,
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a compressed GeoTIFF with band names, whole or not at all.

    Args:
        path: Where; an older file is replaced only when the new one is complete.
        values: Stored numbers; their data type is the file's.
        bands: Band names.
        geobox: Grid.
        nodata: Value of the nodata tag.
        tags: Tags of the file.

    Raises:
        MachineError: The disk is full, or the place cannot be written.
    """

    def holds(file: Any) -> bool:
        pairs = ((file.read(band), stored) for band, stored in enumerate(values, start=1))
        return all(np.array_equal(found, stored, equal_nan=stored.dtype.kind == "f") for found, stored in pairs)

    with new_geotiff(path, bands, geobox, values.dtype, holds, nodata=nodata, tags=tags) as write:
        write(0, values)


@contextmanager
def new_geotiff(
    path: Path,
    bands: tuple[str, ...],
    geobox: GeoBox,
    dtype: np.dtype[Any],
    holds: Callable[[Any], bool],
    *,
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
    block_px: int = 256,
) -> Iterator[Callable[[int, NDArray[Any]], None]]:
    """Give a function that writes rows of a new GeoTIFF; at the end of the block the file appears, or not at all.

    Args:
        path: Where; an older file is replaced only when the new one is complete.
        bands: Band names.
        geobox: Grid.
        dtype: Data type of the file.
        holds: Is given the closed file, opened again, and says whether it holds what was written: GDAL closes a file
            on a full disk without a word.
        nodata: Value of the nodata tag.
        tags: Tags of the file.
        block_px: Side of the blocks of an image that is twice as large or larger.

    Yields:
        A function of the first row and of the stored numbers (bands, rows, columns).

    Raises:
        MachineError: The disk is full, or the place cannot be written.
    """
    require_projections()
    with whole_file(path) as partial, gdal_session(), gdal_path(partial) as local:
        with _writes_explained(path):
            target = rasterio.open(local, "w", **_profile(len(bands), geobox, dtype, nodata, block_px))

        def write(top: int, values: NDArray[Any]) -> None:
            with _writes_explained(path):
                target.write(values, window=((top, top + values.shape[1]), (0, target.width)))

        try:
            with _writes_explained(path):
                target.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (len(bands) - 1)
                target.descriptions = bands
                if tags:
                    target.update_tags(**tags)
            yield write
        finally:
            with _writes_explained(path):
                target.close()
        with _writes_explained(path), rasterio.open(local, driver="GTiff") as source:
            whole = holds(source)
        if not whole:
            raise unwritable(path, "it reads otherwise")


def _profile(count: int, geobox: GeoBox, dtype: np.dtype[Any], nodata: float | None, block_px: int) -> dict[str, Any]:
    height, width = geobox.shape
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": dtype.name,
        "crs": str(geobox.crs) if geobox.crs else None,
        "transform": geobox.affine,
        "nodata": nodata,
        "compress": "deflate",
        "predictor": 3 if dtype.kind == "f" else 2,
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
    }
    if min(height, width) >= 2 * block_px:
        profile |= {"tiled": True, "blockxsize": block_px, "blockysize": block_px}
    return profile
