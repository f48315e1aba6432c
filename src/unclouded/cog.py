"""Cloud-optimised GeoTIFFs of scenes larger than memory: written by rows, with overviews, whole or not at all."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from unclouded.files import unwritable, whole_file
from unclouded.gdal import gdal_path, gdal_reason, gdal_session
from unclouded.strips import write_rows

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


def _checksum(values: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(values).data)
