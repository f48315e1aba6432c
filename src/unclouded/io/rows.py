"""Images larger than memory, read and written by rows.

:func:`open_rows` opens a GeoTIFF whose rows are read in physical units. :func:`write_rows` writes a plain GeoTIFF and
:func:`write_cog` a cloud-optimised one from strips of rows; both compare the file with what was written, by CRC-32,
before it appears.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
from jaxtyping import Float32
from numpy.typing import DTypeLike, NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from unclouded.errors import InputError
from unclouded.files import named, unwritable, whole_file
from unclouded.io.gdal import gdal_path, gdal_reason, gdal_session
from unclouded.io.geotiff import READ_BACK_DIFFERS, StoredImage, grid_of, new_geotiff, open_geotiff, stored_rows
from unclouded.io.raster import check_limits, check_range, check_stored, to_physical
from unclouded.io.strips import RowReader, row_ranges
from unclouded.sensors import Sensor

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


@contextmanager
def open_rows(path: Path, sensor: Sensor) -> Iterator[SceneRows]:
    """Open a local GeoTIFF of one sensor to read its rows in physical units.

    The checks are those of :func:`unclouded.io.raster.read`; those that need all pixels are made row by row. Linear
    power is distinguished from dB on opening, by the middle of the scene, because the pixels of a single strip may all
    be bright targets.

    Args:
        path: GeoTIFF with the bands of the sensor in their order; band names are checked if the file has them.
        sensor: Expected sensor.

    Raises:
        InputError: The file is not a readable GeoTIFF, has another number, order or type of bands, or holds values in
            another unit.
    """
    with open_geotiff(path) as source:
        _refuse_ungeocoded(path, source)
        last_row = stored_rows(path, source, source.height - 1, source.height)  # a truncated file lacks its end
        check_stored(path, last_row, sensor)
        scene = SceneRows(path, sensor, grid_of(source), path, partial(stored_rows, path, source))
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
) -> Iterator[Callable[[int, NDArray[Any]], None]]:
    """Context with a function that writes a GeoTIFF strip by strip; the file appears at the end of the block.

    The file equals that of :func:`unclouded.io.geotiff.write_geotiff`. Strips of a multiple of ``block_px`` rows are
    written fastest. At the end the file is read back, strip by strip, and compared by CRC-32.

    Args:
        path: Output file; an older file is replaced only when the new one is complete.
        bands: Band names.
        geobox: Grid.
        dtype: Data type of the file.
        nodata: Value of the nodata tag.
        tags: Tags of the file.
        block_px: Side of the blocks.

    Yields:
        ``write(top, values)``: first row, and stored numbers (band, row, column) in the data type of the file. Strips
        are written from top to bottom, each once.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
        ValueError: A strip has another shape or data type, rows are skipped or repeated, or the last are missing.
    """
    written = _WrittenStrips(path, (len(bands), *geobox.shape), np.dtype(dtype))
    options: dict[str, Any] = {"nodata": nodata, "tags": tags, "block_px": block_px}
    with new_geotiff(path, bands, geobox, written.dtype, written.verify, **options) as write_to_file:

        def write(top: int, values: NDArray[Any]) -> None:
            written.require_next(top, values)
            write_to_file(top, values)
            written.add(values)

        yield write
        written.require_all()


@dataclass
class _WrittenStrips:
    """Strips written so far: the row after the last of each, and its CRC-32."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    bottoms: list[int] = field(default_factory=lambda: [0])
    checksums: list[int] = field(default_factory=list)

    def require_next(self, top: int, values: NDArray[Any]) -> None:
        count, height, width = self.shape
        next_row = self.bottoms[-1]
        if values.dtype != self.dtype or values.ndim != 3 or (values.shape[0], values.shape[2]) != (count, width):
            expected = f"{self.dtype} of shape ({count}, rows, {width})"
            raise ValueError(f"{self.path}: expected a strip of {expected}, found {values.dtype} of {values.shape}")
        if top != next_row or not 0 < values.shape[1] <= height - next_row:
            found = f"{top} to {top + values.shape[1]}"
            raise ValueError(f"{self.path}: expected rows from {next_row} to at most {height}, found {found}")

    def add(self, values: NDArray[Any]) -> None:
        self.bottoms.append(self.bottoms[-1] + values.shape[1])
        self.checksums.append(_checksum(values))

    def require_all(self) -> None:
        if self.bottoms[-1] != self.shape[1]:
            raise ValueError(f"{self.path}: expected {self.shape[1]} rows, found {self.bottoms[-1]}; write them all")

    def verify(self, file: Any) -> bool:
        return all(
            _checksum(file.read(window=(rows, (0, file.width)))) == checksum
            for rows, checksum in zip(pairwise(self.bottoms), self.checksums, strict=True)
        )


def _checksum(values: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data)


# Cloud-optimised GeoTIFFs.

BLOCK_PX = 512
"""Side of the blocks of a cloud-optimised GeoTIFF."""

Overviews = Literal["average", "nearest"]
"""Resampling of overviews; class numbers need ``nearest``."""

Compression = Literal["deflate", "zstd", "jpeg"]
"""Compression of a cloud-optimised GeoTIFF; ``jpeg`` is lossy, for pictures."""

JPEG_QUALITY = 85
_JPEG_BLOCK_PX, _JPEG_ERROR = 16, 6.0
"""Side of blocks, and largest mean error of their means in a strip of a picture: JPEG keeps means, if not pixels."""


@dataclass(frozen=True)
class Layer:
    """Bands, data type and tags of a file to be written.

    Attributes:
        bands: Band names.
        dtype: Data type.
        nodata: Value of the nodata tag.
        overviews: Resampling of overviews.
        scale: Scale tag, the physical value of one stored step.
        offsets: Offset tag of each band, the physical value of a stored 0; empty if all are 0.
        tags: Tags of the file.
        compression: ``jpeg`` needs four bands of uint8: red, green, blue, and 255 where there are data, which becomes
            the mask of the file.
    """

    bands: tuple[str, ...]
    dtype: str
    nodata: float | None = None
    overviews: Overviews = "average"
    scale: float = 1.0
    offsets: tuple[float, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = "deflate"


def write_cog(path: Path, strips: Iterable[tuple[int, NDArray[Any]]], layer: Layer, geobox: GeoBox) -> None:
    """Write a cloud-optimised GeoTIFF from strips of rows; equal strips give equal bytes.

    A plain GeoTIFF is written first, because overviews need all rows, and removed afterwards. The result is read back
    and compared.

    Args:
        path: Output file; an older file is replaced only when the new one is complete.
        strips: First row and stored numbers (band, row, column) of each strip, from top to bottom.
        layer: Bands, data type and tags.
        geobox: Grid.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
    """
    plain = path.with_name(f".{path.stem}.plain.tif")
    written: list[tuple[int, int, int]] = []
    try:
        with write_rows(plain, layer.bands, geobox, layer.dtype, nodata=layer.nodata, tags=layer.tags) as write:
            for top, values in strips:
                write(top, values)
                written.append((top, top + values.shape[1], _checksum(values)))
        with whole_file(path) as partial, gdal_session(), gdal_path(plain) as source, gdal_path(partial) as local:
            try:
                _tag_units(source, layer)
                rasterio.shutil.copy(source, local, driver="COG", **_options(layer))
                lossy = layer.compression == "jpeg"
                is_intact = _resembles(local, source, written) if lossy else _verify(local, written)
            except RasterioError as error:
                raise unwritable(path, gdal_reason(error)) from error
            if not is_intact:
                raise unwritable(path, READ_BACK_DIFFERS)
    finally:
        plain.unlink(missing_ok=True)


def _tag_units(plain: Path, layer: Layer) -> None:
    if layer.compression == "jpeg":
        with rasterio.open(plain, "r+", driver="GTiff") as file:
            file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        return
    if layer.scale == 1.0 and not any(layer.offsets):
        return
    with rasterio.open(plain, "r+", driver="GTiff") as file:
        file.scales = (layer.scale,) * len(layer.bands)
        file.offsets = layer.offsets or (0.0,) * len(layer.bands)


def _options(layer: Layer) -> dict[str, Any]:
    coding = (
        {"QUALITY": str(JPEG_QUALITY), "OVERVIEW_QUALITY": str(JPEG_QUALITY)}
        if layer.compression == "jpeg"
        else {"PREDICTOR": "FLOATING_POINT" if np.dtype(layer.dtype).kind == "f" else "STANDARD"}
    )
    return {
        "COMPRESS": layer.compression.upper(),
        **coding,
        "BLOCKSIZE": str(BLOCK_PX),
        "OVERVIEW_RESAMPLING": layer.overviews.upper(),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "1",
    }


def _verify(path: Path, written: Sequence[tuple[int, int, int]]) -> bool:
    with rasterio.open(path, driver="GTiff") as file:
        return all(
            _checksum(file.read(window=((top, bottom), (0, file.width)))) == checksum
            for top, bottom, checksum in written
        )


def _resembles(path: Path, plain: Path, written: Sequence[tuple[int, int, int]]) -> bool:
    """Return whether a picture has the mask of its source, and its colours but for the loss of JPEG."""
    with rasterio.open(path, driver="GTiff") as file, rasterio.open(plain, driver="GTiff") as source:
        for top, bottom, _ in written:
            window = ((top, bottom), (0, file.width))
            colours, valid = file.read(window=window), file.dataset_mask(window=window)
            *expected, alpha = source.read(window=window)
            errors = _block_means((colours.astype(np.float32) - np.stack(expected)) * (alpha > 0))
            if not np.array_equal(valid, alpha) or np.abs(errors).mean() > _JPEG_ERROR:
                return False
    return True


def _block_means(values: Float32[np.ndarray, "band y x"]) -> Float32[np.ndarray, "band blocks_y blocks_x"]:
    starts = [np.arange(0, length, _JPEG_BLOCK_PX) for length in values.shape[1:]]
    sums = np.add.reduceat(np.add.reduceat(values, starts[0], axis=1), starts[1], axis=2)
    return np.asarray(sums / np.float32(_JPEG_BLOCK_PX**2))
