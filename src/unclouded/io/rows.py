"""Scenes larger than memory: rows of a file in physical units, and a file written strip by strip."""

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
from rasterio.errors import RasterioError

from unclouded.errors import InputError
from unclouded.files import named, unwritable, whole_file
from unclouded.io.gdal import gdal_path, gdal_reason, gdal_session
from unclouded.io.geotiff import StoredImage, grid_of, new_geotiff, open_geotiff, stored_rows
from unclouded.io.raster import check_limits, check_range, check_stored, to_physical
from unclouded.sensors import Sensor

_PROBE_ROWS = 64
"""Rows that are looked at together when a scene is opened."""

_PROBE_VALUES = 2 * 256 * 256
"""Enough values with data to tell dB from linear power: as many as a published radar patch has."""

ReadStored = Callable[[int, int], StoredImage]
"""From first row and row after the last to the rows as they are stored."""


@dataclass(frozen=True, eq=False)
class SceneRows:
    """An open image of one sensor, a GeoTIFF or several, read row by row; for one thread.

    Attributes:
        path: Of the file, or of the folder of several.
        sensor: Whose image it is.
        geobox: The grid; its CRS is None where the file has none.
        first: The file, or the first of several.
    """

    path: Path
    sensor: Sensor
    geobox: GeoBox
    first: Path
    _read_stored: ReadStored = field(repr=False)

    @property
    def bands(self) -> tuple[str, ...]:
        """One name a band."""
        return self.sensor.bands

    def read(self, top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
        """Read the rows from ``top`` to before ``bottom``, in the unit of the sensor; NaN where there is no data.

        Raises:
            InputError: The rows are damaged, or hold values in another unit.
            ValueError: There are no such rows.
        """
        values = to_physical(self.stored(top, bottom), self.sensor)
        check_limits(self.path, values, self.sensor)
        return values

    def stored(self, top: int, bottom: int) -> StoredImage:
        """Read the rows from ``top`` to before ``bottom`` as they are stored.

        Raises:
            InputError: The rows are damaged.
            ValueError: There are no such rows.
        """
        require_rows(self.path, self.geobox, top, bottom)
        return self._read_stored(top, bottom)


def require_rows(path: Path, geobox: GeoBox, top: int, bottom: int) -> None:
    """Refuse rows that a scene does not have: a bug of whoever asks.

    Raises:
        ValueError: There are no such rows, or none at all are asked for.
    """
    height = geobox.shape[0]
    if not 0 <= top < bottom <= height:
        raise ValueError(f"{path} has rows 0 to {height}, not {top} to {bottom}")


@contextmanager
def open_rows(path: Path, sensor: Sensor) -> Iterator[SceneRows]:
    """Open a local GeoTIFF of one sensor to read its rows in physical units.

    The checks are those of :func:`unclouded.io.raster.read`: here what can be known without reading the whole file, the
    rest row by row. Linear power is told from dB here, by the middle of the scene, for the few pixels of a strip may
    all be bright targets.

    Args:
        path: GeoTIFF with the sensor's bands in its order. Band names are checked where the file has them.
        sensor: What to expect.

    Raises:
        InputError: Not a readable GeoTIFF, or another number, order or type of bands, or values in another unit.
    """
    with open_geotiff(path) as source:
        _refuse_ungeocoded(path, source)
        last_row = stored_rows(path, source, source.height - 1, source.height)  # a file cut short lacks its end
        check_stored(path, last_row, sensor)
        scene = SceneRows(path, sensor, grid_of(source), path, partial(stored_rows, path, source))
        _check_unit(scene)
        yield scene


def _refuse_ungeocoded(path: Path, source: Any) -> None:
    """Refuse an image that lies somewhere, but on no grid: its pixels would be taken for those of the other image."""
    if not source.transform.is_identity:
        return
    points = "ground control points" if source.gcps[0] else "rational polynomials" if source.rpcs else None
    if points:
        raise InputError(
            f"{named(path)} has {points} only, so it is not geocoded; give the whole product, or warp it first "
            "('gdalwarp -t_srs EPSG:... IN OUT')"
        )


def _check_unit(scene: SceneRows) -> None:
    """Look at rows from the middle outwards, until there are enough values to judge the unit by."""
    height = scene.geobox.shape[0]
    valid = np.empty(0, np.float32)
    for top in sorted(range(0, height, _PROBE_ROWS), key=lambda top: abs(2 * top + _PROBE_ROWS - height)):
        values = scene.read(top, min(top + _PROBE_ROWS, height))
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
    """Give a function that writes a GeoTIFF strip by strip; at the end of the block the file appears, or not at all.

    The file is the one that :func:`unclouded.io.geotiff.write_geotiff` writes. Strips of a multiple of ``block_px``
    rows are written fastest. At the end the file is read back, strip by strip, and compared by CRC-32.

    Args:
        path: Where; an older file is replaced only when the new one is complete.
        bands: Band names.
        geobox: Grid.
        dtype: Data type of the file.
        nodata: Value of the nodata tag.
        tags: Tags of the file.
        block_px: Side of the blocks.

    Yields:
        ``write(top, values)``: the first row, and stored numbers (bands, rows, columns) in the data type of the file.
        Strips come from top to bottom, each once.

    Raises:
        MachineError: The disk is full, or the place cannot be written.
        ValueError: A strip has another shape or data type, leaves rows out, repeats some, or the last are missing.
    """
    ledger = _Ledger(path, (len(bands), *geobox.shape), np.dtype(dtype))
    how: dict[str, Any] = {"nodata": nodata, "tags": tags, "block_px": block_px}
    with new_geotiff(path, bands, geobox, ledger.dtype, ledger.agrees_with, **how) as write_to_file:

        def write(top: int, values: NDArray[Any]) -> None:
            ledger.require_next(top, values)
            write_to_file(top, values)
            ledger.enter(values)

        yield write
        ledger.require_all()


@dataclass
class _Ledger:
    """What has been written: the rows that each strip ends before, and its CRC-32."""

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

    def enter(self, values: NDArray[Any]) -> None:
        self.bottoms.append(self.bottoms[-1] + values.shape[1])
        self.checksums.append(_checksum(values))

    def require_all(self) -> None:
        if self.bottoms[-1] != self.shape[1]:
            raise ValueError(f"{self.path}: expected {self.shape[1]} rows, found {self.bottoms[-1]}; write them all")

    def agrees_with(self, file: Any) -> bool:
        return all(
            _checksum(file.read(window=(rows, (0, file.width)))) == checksum
            for rows, checksum in zip(pairwise(self.bottoms), self.checksums, strict=True)
        )


def _checksum(values: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data)


# Cloud-optimised GeoTIFFs of scenes larger than memory: written by rows, with overviews, whole or not at all.


BLOCK_PX = 512
"""Side of the blocks."""

Overviews = Literal["average", "nearest"]
"""How coarser copies are made; numbers that name something need ``nearest``."""


@dataclass(frozen=True)
class Layer:
    """What a file holds, apart from its pixels.

    Attributes:
        bands: Band names.
        dtype: Data type.
        nodata: Stored number that means no data.
        overviews: How coarser copies are made.
        scale: Unit of one stored step.
        offsets: Value of a stored 0 in each band; none where it is 0.
        tags: Tags of the file.
    """

    bands: tuple[str, ...]
    dtype: str
    nodata: float | None = None
    overviews: Overviews = "average"
    scale: float = 1.0
    offsets: tuple[float, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


def write_cog(path: Path, strips: Iterable[tuple[int, NDArray[Any]]], layer: Layer, geobox: GeoBox) -> None:
    """Write a cloud-optimised GeoTIFF from strips of rows; the same strips give the same bytes.

    An ordinary GeoTIFF is written beside it first, for overviews need all rows, and removed. What was written is read
    back and compared.

    Args:
        path: Where; an older file is replaced only when the new one is complete.
        strips: First row and stored numbers (bands, rows, columns), from top to bottom.
        layer: What they are.
        geobox: Grid.

    Raises:
        MachineError: The disk is full, or the place cannot be written.
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
                whole = _agrees(local, written)
            except RasterioError as error:
                raise unwritable(path, gdal_reason(error)) from error
            if not whole:
                raise unwritable(path, "it reads otherwise")
    finally:
        plain.unlink(missing_ok=True)


def _tag_units(plain: Path, layer: Layer) -> None:
    if layer.scale == 1.0 and not any(layer.offsets):
        return
    with rasterio.open(plain, "r+", driver="GTiff") as file:
        file.scales = (layer.scale,) * len(layer.bands)
        file.offsets = layer.offsets or (0.0,) * len(layer.bands)


def _options(layer: Layer) -> dict[str, Any]:
    return {
        "COMPRESS": "DEFLATE",
        "PREDICTOR": "FLOATING_POINT" if np.dtype(layer.dtype).kind == "f" else "STANDARD",
        "BLOCKSIZE": str(BLOCK_PX),
        "OVERVIEW_RESAMPLING": layer.overviews.upper(),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "1",
    }


def _agrees(path: Path, written: Sequence[tuple[int, int, int]]) -> bool:
    with rasterio.open(path, driver="GTiff") as file:
        return all(
            _checksum(file.read(window=((top, bottom), (0, file.width)))) == checksum
            for top, bottom, checksum in written
        )
