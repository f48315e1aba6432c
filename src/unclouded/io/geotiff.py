"""GeoTIFFs as stored: opened with safety checks, read whole, by window or by rows, and written atomically.

:func:`open_geotiff` accepts local GeoTIFFs only and checks size, blocks and georeference before any pixel is read.
:func:`read_stored` and :func:`stored_rows` return the stored numbers with their tags, before any unit is applied;
:mod:`unclouded.io.raster` converts them. :func:`write_geotiff` encodes an image in memory, because GDAL closes a file
on a full disk without error, and writes it to a temporary file that is renamed when it is complete.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import rasterio
from jaxtyping import Bool, Real
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, RasterioError
from rasterio.io import MemoryFile

from unclouded.errors import InputError
from unclouded.files import named, require_file, resolved, unwritable, whole_file
from unclouded.formats import format_of
from unclouded.io.gdal import gdal_path, gdal_reason, gdal_session, require_projections
from unclouded.io.tiff_tags import require_sound_tags

MAX_VALUES = 13 * 12_000 * 12_000
"""Largest number of values (bands x rows x columns) of a file: a whole Sentinel-2 tile has 13 x 10,980 x 10,980."""
MAX_BLOCK_BYTES = 256 << 20
"""Largest block of a file: reading one pixel decodes a whole block."""
MAX_COMPRESSION = 1_100
"""Largest compression ratio: deflate reaches 1032 on constants, real images a hundredth of that."""
READ_BACK_DIFFERS = "read-back differs from what was written"


@dataclass(frozen=True, eq=False)
class StoredImage:
    """Stored numbers of an image with their tags, before any unit is applied.

    Attributes:
        values: Stored numbers (band, row, column), in the data type of the file.
        geobox: Grid; its CRS is None if the file has none.
        nodata: Value of the nodata tag.
        descriptions: Band names of the file, None for a band without name.
        scales: Scale tags, 1 if absent.
        offsets: Offset tags, 0 if absent.
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
        """Return the values with ``number`` in the gaps."""
        if self.valid is None and self.nodata in (None, number):
            return self.values
        return np.where(self.is_gap, self.values.dtype.type(number), self.values)

    @property
    def is_gap(self) -> Bool[np.ndarray, "band y x"]:
        """True in gaps, whether marked by nodata tag, mask, alpha band or NaN."""
        gap = np.isnan(self.values) if self.values.dtype.kind == "f" else np.zeros(self.values.shape, bool)
        if self.nodata is not None and not math.isnan(self.nodata):
            gap |= self.values == self.nodata
        return gap if self.valid is None else gap | ~self.valid


@dataclass(frozen=True)
class ImageWindow:
    """Window of a GeoTIFF, usable wherever an image file is expected.

    Attributes:
        file: GeoTIFF.
        top: First row.
        left: First column.
        shape: Number of rows and columns.
    """

    file: Path
    top: int
    left: int
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.file.name} at row {self.top}, column {self.left}"

    @property
    def stem(self) -> str:
        """File name for a copy of the window, without suffix."""
        return f"{self.file.stem}_{self.top}_{self.left}"

    @property
    def rows_columns(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Row range and column range, end exclusive."""
        height, width = self.shape
        return (self.top, self.top + height), (self.left, self.left + width)

    def __str__(self) -> str:
        return str(self.file.with_name(self.name))


ImageFile = Path | ImageWindow
"""A whole GeoTIFF, or a window of one."""


def file_of(image: ImageFile) -> Path:
    """Return the file of an image."""
    return image.file if isinstance(image, ImageWindow) else image


@contextmanager
def open_geotiff(path: Path, window: ImageWindow | None = None) -> Iterator[Any]:
    """Open a local GeoTIFF with safety checks: no VRT, network or side-car files, no giant, no missing block.

    Args:
        path: GeoTIFF.
        window: Window to be read, whose blocks are checked; the whole file if omitted.

    Raises:
        InputError: ``path`` is not a regular file or not a GeoTIFF, is damaged or incomplete, exceeds the limits of
            this module, or has pixels without size.
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
                _require_window(path, source, window)
                _refuse_giants(path, source)
                _refuse_missing_blocks(path, source, window)
                _refuse_flat_pixels(path, source)
            yield source


def require_local_image(path: Path) -> None:
    """Refuse anything but a non-empty regular file, in particular paths of GDAL's virtual file systems.

    Raises:
        InputError: ``path`` is not a regular file, is empty, or starts with ``/vsi``.
    """
    require_file(path)
    if resolved(path).as_posix().startswith("/vsi"):
        looks = "looks like a path of GDAL's virtual file systems"
        raise InputError(f"{named(path)} {looks}; move it to another folder")
    if path.stat().st_size == 0:
        raise InputError(f"{named(path)} is empty (0 bytes); fetch it again")


@contextmanager
def _reads_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CRSError, UnicodeDecodeError) as error:  # UnicodeDecodeError: damaged bytes in a tag
        raise InputError(f"{path} is not a whole GeoTIFF ({gdal_reason(error)}); fetch it again") from error


@contextmanager
def _writes_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        raise unwritable(path, gdal_reason(error)) from error


def _require_window(path: Path, source: Any, window: ImageWindow | None) -> None:
    if window is None:
        return
    (top, bottom), (left, right) = window.rows_columns
    if not (0 <= top < bottom <= source.height and 0 <= left < right <= source.width):
        found = f"{source.height} x {source.width} px, expected rows {top} to {bottom}, columns {left} to {right}"
        raise InputError(f"{path} has {found}; recreate the window for this image")


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
        raise InputError(
            f"{declared} in {size:,} bytes, expected an image; it was never written, or is a decompression bomb"
        )


def _shares_blocks(source: Any) -> bool:
    """Return whether each block holds all bands (pixel interleaving)."""
    return bool(source.interleaving) and source.interleaving.name == "pixel"


def _refuse_missing_blocks(path: Path, source: Any, window: ImageWindow | None) -> None:
    """Refuse files with missing blocks: after an interrupted write GDAL reads zeros or nodata, without error."""
    (top, bottom), (left, right) = window.rows_columns if window else ((0, source.height), (0, source.width))
    shapes = source.block_shapes[:1] if _shares_blocks(source) else source.block_shapes
    for band, (rows, columns) in enumerate(shapes, start=1):
        for row in range(top // rows, math.ceil(bottom / rows)):
            for column in range(left // columns, math.ceil(right / columns)):
                if source.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is None:
                    raise InputError(
                        f"{path} is incomplete or sparse: block {column}, {row} of band {band} is "
                        "missing; fetch it again"
                    )


def _refuse_flat_pixels(path: Path, source: Any) -> None:
    if not (all(map(math.isfinite, source.transform)) and abs(source.transform.determinant) > 0):
        raise InputError(f"{path} has pixels without size, expected a georeference or none; fetch it again")


def read_stored(image: ImageFile) -> StoredImage:
    """Read the stored numbers of a local GeoTIFF, or of a window of one.

    Raises:
        InputError: See :func:`open_geotiff`; or the window exceeds the image.
    """
    with _opened(image) as source:
        if isinstance(image, ImageWindow):
            return _stored(image.file, source, *image.rows_columns)
        return stored_rows(image, source, 0, source.height)


def read_grid(image: ImageFile) -> GeoBox:
    """Return the grid of a local GeoTIFF, or of a window of one; its CRS is None if the file has none.

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
    """Read the stored numbers of rows ``[top, bottom)`` of an open GeoTIFF.

    Args:
        path: GeoTIFF, for messages.
        source: Open file from :func:`open_geotiff`.
        top: First row.
        bottom: Row after the last.

    Raises:
        InputError: The rows are damaged.
    """
    return _stored(path, source, (top, bottom), (0, source.width))


def _stored(path: Path, source: Any, rows: tuple[int, int], columns: tuple[int, int]) -> StoredImage:
    with gdal_session(), _reads_explained(path):  # the thread need not be the one that opened the file
        bands = image_bands(source)
        values = source.read(bands, window=(rows, columns))
        geobox = grid_of(source)[slice(*rows), slice(*columns)]
        names, scales, offsets = (
            tuple(each[band - 1] for band in bands) for each in (source.descriptions, source.scales, source.offsets)
        )
        valid = _valid(path, source, bands, (rows, columns))
        return StoredImage(values, geobox, source.nodata, names, scales, offsets, valid)


def image_bands(source: Any) -> list[int]:
    """Return the band numbers of an open GeoTIFF, from 1, without alpha bands, which mark gaps."""
    alpha = _alpha_bands(source)
    return [band for band in source.indexes if band not in alpha]


_ALPHA: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()
"""Alpha bands of open files: after a failed read, rasterio raises that error again when ``colorinterp`` is accessed."""


def _alpha_bands(source: Any) -> list[int]:
    """Return the alpha bands; a band with another name, such as VH, is data that a tool marked as alpha by mistake."""
    if source not in _ALPHA:
        has_names = [(name or "").lower() not in ("", "alpha", "mask") for name in source.descriptions]
        pairs = zip(source.indexes, source.colorinterp, has_names, strict=True)
        _ALPHA[source] = [band for band, meaning, has_name in pairs if meaning == ColorInterp.alpha and not has_name]
    return _ALPHA[source]


def _valid(path: Path, source: Any, bands: list[int], window: Any) -> Bool[np.ndarray, "band y x"] | None:
    """Return the valid pixels by alpha bands and masks inside or beside the file; None if the file has none of them."""
    found = [(source.read(band, window=window) != 0)[None] for band in _alpha_bands(source)]
    flags = [source.mask_flag_enums[band - 1] for band in bands]
    if any(not {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha} & set(flag) for flag in flags):
        found.append(source.read_masks(bands, window=window) != 0)
    if (sidecar := mask_beside(path)) is not None:
        found.append(_read_sidecar(sidecar, source, bands, window))
    shape = (len(bands), *(last - first for first, last in window))
    return np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*found)), shape) if found else None


def mask_beside(path: Path) -> Path | None:
    """Return the mask file that GDAL writes beside an image, ``NAME.tif.msk``; None if there is none."""
    names = (path.with_name(path.name + suffix) for suffix in (".msk", ".MSK"))
    return next((one for one in names if os.path.lexists(one)), None)  # False for a name that is too long


def _read_sidecar(sidecar: Path, source: Any, bands: list[int], window: Any) -> Bool[np.ndarray, "_ y x"]:
    """Read a mask file: a GeoTIFF of the size of its image, with one band, or one per band of the image.

    Raises:
        InputError: The mask is not a local GeoTIFF, is damaged, or has another size or number of bands.
    """
    with open_geotiff(sidecar) as mask:
        if mask.shape != source.shape or mask.count not in (1, source.count):
            found = f"{mask.count} bands of {mask.height} x {mask.width} px"
            raise InputError(
                f"{sidecar} masks its image with {found}, expected 1 or {source.count} of {source.height} x "
                f"{source.width} px; recreate the mask, or remove it"
            )
        with _reads_explained(sidecar):
            return np.asarray(mask.read([1] if mask.count == 1 else bands, window=window) != 0)


def grid_of(source: Any) -> GeoBox:
    """Return the grid of an open GeoTIFF; its CRS is None if the file has none."""
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
    """Write a compressed GeoTIFF with band names, atomically.

    Args:
        path: Output file; an older file is replaced only when the new one is complete.
        values: Stored numbers; their data type is the file's.
        bands: Band names.
        geobox: Grid.
        nodata: Value of the nodata tag.
        tags: Tags of the file.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
    """
    require_projections()
    with gdal_session(), MemoryFile() as memory, _writes_explained(path):
        with memory.open(**_profile(len(bands), geobox, values.dtype, nodata)) as target:
            target.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (len(bands) - 1)
            target.descriptions = bands
            target.update_tags(**(tags or {}))
            target.write(values)
        content = bytes(memory.getbuffer())
        with whole_file(path) as partial:
            partial.write_bytes(content)
            if partial.read_bytes() != content:
                raise unwritable(path, READ_BACK_DIFFERS)


def _profile(count: int, geobox: GeoBox, dtype: np.dtype[Any], nodata: float | None) -> dict[str, Any]:
    height, width = geobox.shape
    profile: dict[str, Any] = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": dtype.name}
    profile |= {"crs": str(geobox.crs) if geobox.crs else None, "transform": geobox.affine, "nodata": nodata}
    predictor = 3 if dtype.kind == "f" else 2  # floating point, horizontal differencing
    profile |= {"compress": "deflate", "zlevel": 1, "predictor": predictor, "interleave": "band", "BIGTIFF": "IF_SAFER"}
    if min(height, width) >= 512:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    return profile
