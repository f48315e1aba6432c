"""Images larger than memory, read and written by rows.

:func:`open_rows` opens a GeoTIFF whose rows are read in physical units. :func:`write_rows` writes a plain GeoTIFF and
:func:`open_cog` a cloud-optimised one from strips of rows, in one pass (:mod:`unclouded.io.tiled_tiff`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import DTypeLike, NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.geotiff import StoredImage, grid_of, open_geotiff, stored_rows
from unclouded.io.raster import check_limits, check_range, check_stored, to_physical
from unclouded.io.strips import RowReader, row_ranges
from unclouded.io.tiled_tiff import Layer as Layer
from unclouded.io.tiled_tiff import tiled_tiff
from unclouded.sensors import Sensor

WriteStrip = Callable[[int, NDArray[Any]], None]
"""Writes a strip: first row, and stored numbers (band, row, column)."""

_PROBE_ROWS = 64
"""Rows of one probe of the unit when a scene is opened."""

_PROBE_VALUES = 2 * 256 * 256
"""Number of valid values that distinguishes dB from linear power: that of a published radar patch."""


@dataclass(frozen=True, eq=False)
class SceneRows:
    """Open image of one sensor in one or several GeoTIFFs, read by rows; not thread-safe.

    Attributes:
        path: File, or folder of several files.
        sensor: Sensor of the image.
        geobox: Grid; its CRS is None if the file has none.
        first: The file, or the first of several.
    """

    path: Path
    sensor: Sensor
    geobox: GeoBox
    first: Path
    _read_stored: RowReader[StoredImage] = field(repr=False)

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names."""
        return self.sensor.bands

    def read(self, top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
        """Read the rows from ``top`` to before ``bottom`` in the unit of the sensor; NaN for no data.

        Raises:
            InputError: The rows are damaged, or hold values in another unit.
            ValueError: The rows exceed the image.
        """
        values = to_physical(self.stored(top, bottom), self.sensor)
        check_limits(self.path, values, self.sensor)
        return values

    def stored(self, top: int, bottom: int) -> StoredImage:
        """Read the stored numbers of the rows from ``top`` to before ``bottom``.

        Raises:
            InputError: The rows are damaged.
            ValueError: The rows exceed the image.
        """
        require_rows(self.path, self.geobox, top, bottom)
        return self._read_stored(top, bottom)


def require_rows(path: Path, geobox: GeoBox, top: int, bottom: int) -> None:
    """Refuse an empty row range, or one that exceeds the image.

    Raises:
        ValueError: The range is invalid, a bug of the caller.
    """
    height = geobox.shape[0]
    if not 0 <= top < bottom <= height:
        raise ValueError(f"{path} has rows 0 to {height}, not {top} to {bottom}")


def unchanged(stored: StoredImage) -> StoredImage:
    """Return stored rows as they are."""
    return stored


@contextmanager
def open_rows(
    path: Path, sensor: Sensor, convert: Callable[[StoredImage], StoredImage] = unchanged
) -> Iterator[SceneRows]:
    """Open a local GeoTIFF of one sensor to read its rows in physical units.

    The checks are those of :func:`unclouded.io.raster.read`; those that need all pixels are made row by row. Linear
    power is distinguished from dB on opening, by the middle of the scene, because the pixels of a single strip may all
    be bright targets.

    Args:
        path: GeoTIFF with the bands of the sensor in their order; band names are checked if the file has them.
        sensor: Expected sensor.
        convert: Function applied to the stored rows before they are checked, such as a selection of bands.

    Raises:
        InputError: The file is not a readable GeoTIFF, has another number, order or type of bands, or holds values in
            another unit.
    """
    with open_geotiff(path) as source:
        _refuse_ungeocoded(path, source)

        def read(top: int, bottom: int) -> StoredImage:
            return convert(stored_rows(path, source, top, bottom))

        check_stored(path, read(source.height - 1, source.height), sensor)  # a truncated file lacks its end
        scene = SceneRows(path, sensor, grid_of(source), path, read)
        _check_unit(scene)
        yield scene


def _refuse_ungeocoded(path: Path, source: Any) -> None:
    """Refuse an image located by control points or RPCs only: its pixels would be matched to the wrong ground."""
    if not source.transform.is_identity:
        return
    points = "ground control points" if source.gcps[0] else "rational polynomials" if source.rpcs else None
    if points:
        raise InputError(
            f"{named(path)} has {points} only, so it is not geocoded; give the whole product, or warp it first "
            "('gdalwarp -t_srs EPSG:... IN OUT')"
        )


def _check_unit(scene: SceneRows) -> None:
    """Check the unit by rows from the middle outwards, until there are enough valid values."""
    height = scene.geobox.shape[0]
    valid = np.empty(0, np.float32)
    for top, bottom in sorted(row_ranges(height, _PROBE_ROWS), key=lambda r: abs(2 * r[0] + _PROBE_ROWS - height)):
        values = scene.read(top, bottom)
        valid = np.concatenate([valid, values[~np.isnan(values)]])
        if valid.size >= _PROBE_VALUES:
            break
    if valid.size:
        check_range(scene.path, valid.reshape(1, 1, -1), scene.sensor)


@contextmanager
def write_rows(
    path: Path,
    bands: tuple[str, ...],
    geobox: GeoBox,
    dtype: DTypeLike,
    *,
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
    block_px: int = 256,
) -> Iterator[WriteStrip]:
    """Context with a function that writes a tiled GeoTIFF strip by strip; the file appears at the end of the block.

    Args:
        path: Output file; an older file is replaced only when the new one is complete.
        bands: Band names.
        geobox: Grid.
        dtype: Data type of the file.
        nodata: Value of the nodata tag.
        tags: Tags of the file.
        block_px: Side of the blocks, a multiple of 16; strips of a multiple of it are written fastest.

    Yields:
        ``write(top, values)``: first row, and stored numbers (band, row, column) in the data type of the file. Strips
        are written from top to bottom, each once.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        ValueError: A strip has another shape or data type, rows are skipped or repeated, or the last are missing.
    """
    layer = Layer(bands, np.dtype(dtype).name, nodata, tags=tags or {})
    with _written(path, layer, geobox, block_px, cloud_optimised=False) as write:
        yield write


COG_BLOCK_PX = 512
"""Side of the blocks of a cloud-optimised GeoTIFF."""


@contextmanager
def open_cog(path: Path, layer: Layer, geobox: GeoBox) -> Iterator[WriteStrip]:
    """Context with a function that writes a cloud-optimised GeoTIFF; equal pixels give equal bytes.

    Args:
        path: Output file; an older file is replaced only when the new one is complete.
        layer: Bands, data type and tags.
        geobox: Grid.

    Yields:
        The function that :func:`write_rows` yields.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        ValueError: See :func:`write_rows`.
    """
    with _written(path, layer, geobox, COG_BLOCK_PX, cloud_optimised=True) as write:
        yield write


def write_cog(path: Path, strips: Iterable[tuple[int, NDArray[Any]]], layer: Layer, geobox: GeoBox) -> None:
    """Write a cloud-optimised GeoTIFF from strips: first row, and stored numbers; see :func:`open_cog`."""
    with open_cog(path, layer, geobox) as write:
        for top, values in strips:
            write(top, values)


@contextmanager
def _written(path: Path, layer: Layer, geobox: GeoBox, block_px: int, *, cloud_optimised: bool) -> Iterator[WriteStrip]:
    shape, dtype, next_row = (len(layer.bands), *geobox.shape), np.dtype(layer.dtype), 0
    with tiled_tiff(path, layer, geobox, block_px, cloud_optimised=cloud_optimised) as write_next:

        def write(top: int, values: NDArray[Any]) -> None:
            nonlocal next_row
            _require_next(path, shape, dtype, next_row, top, values)
            write_next(values)
            next_row += values.shape[1]

        yield write
        if next_row != shape[1]:
            raise ValueError(f"{path}: expected {shape[1]} rows, found {next_row}; write them all")


def _require_next(
    path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any], next_row: int, top: int, values: NDArray[Any]
) -> None:
    count, height, width = shape
    if values.dtype != dtype or values.ndim != 3 or (values.shape[0], values.shape[2]) != (count, width):
        expected = f"{dtype} of shape ({count}, rows, {width})"
        raise ValueError(f"{path}: expected a strip of {expected}, found {values.dtype} of {values.shape}")
    if top != next_row or not 0 < values.shape[1] <= height - next_row:
        found = f"{top} to {top + values.shape[1]}"
        raise ValueError(f"{path}: expected rows from {next_row} to at most {height}, found {found}")
