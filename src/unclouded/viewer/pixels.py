"""Pixels of the layers of a scene: tiles for display, and all values of one pixel.

Both are read from the files by rasterio. Tiles of the two finest levels hold the stored numbers; coarser ones of
optical images are compressed with loss (:data:`LOSSY_FROM`), because a whole tile in reflectance takes many megabytes.
"""

import io
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Real, UInt8
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import ImageWindow, StoredImage, image_bands, open_geotiff, read_stored
from unclouded.io.raster import to_physical
from unclouded.sensors import SENTINEL2

Role = Literal["optical", "picture", "radar", "cloud_map", "provenance", "confidence", "uncertainty", "other"]
"""Kind of a layer."""

TILE_PX = 256
"""Side of a tile."""

LOSSY_FROM = 2
"""Coarsest exact level plus one; a pixel of level n covers 2**n pixels of the file."""

WHITEST = 1.6
"""Reflectance of the largest number in a lossy tile; number = 255 sqrt(reflectance / 1.6)."""

_WEBP_QUALITY = 90
_REDUCED_BY = 4
_DIRECT_PX = 2048
"""Side of images without overviews that are reduced for each tile; larger ones are reduced once."""
_REDUCED_COUNT = 4
_PAYLOAD = {"u2": ("<u2", 0), "u1": ("u1", 255), "f4": ("<f4", 0)}
"""Encoding of exact tiles: data type, and the number of pixels without data if the file has none."""


@dataclass(frozen=True)
class Layer:
    """Image of a scene.

    Attributes:
        id: Id within the scene.
        role: Kind.
        title: Title.
        path: GeoTIFF.
        file: Id of the file in the registry.
        bands: Band names.
        geobox: Grid.
        dtype: Data type of the file.
        nodata: Value of the nodata tag.
        scale: Value of one stored step.
        offsets: RADIO_ADD_OFFSET of each band, in stored steps.
        units: Units of a radar file.
        acquired: Time of acquisition, ISO 8601; None if unknown.
        verified: Whether the file is the one that the scene was made from, by SHA-256; None if not compared.
        classes: Class names by code.
        name: Name of the file of an input; empty for a product.
    """

    id: str
    role: Role
    title: str
    path: Path
    file: str
    bands: tuple[str, ...]
    geobox: GeoBox
    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offsets: tuple[int, ...] = ()
    units: str = "dB"
    acquired: str | None = None
    verified: bool | None = None
    classes: dict[int, str] = field(default_factory=dict)
    name: str = ""

    @property
    def payload(self) -> str:
        """Encoding of exact tiles: ``u1``, ``u2`` or ``f4``, little endian, band after band."""
        if self.role == "optical" or self.dtype == "uint16":
            return "u2"
        return "u1" if self.dtype == "uint8" else "f4"

    def physical(self, stored: StoredImage) -> Float32[np.ndarray, "band y x"]:
        """Return stored numbers in the unit of the layer: reflectance, dB, share or code; NaN for no data."""
        if self.role == "optical":
            values = to_physical(stored, SENTINEL2)
            if any(self.offsets) and not any(stored.offsets):
                steps = np.array(self.offsets, np.float32)[: len(values), None, None]
                values += steps / np.float32(SENTINEL2.stored_per_unit)
            return values
        values = np.where(stored.is_gap, np.float32(np.nan), stored.values.astype(np.float32))
        values = values * np.float32(self.scale)
        return _decibels(values, self.units) if self.role == "radar" else values

    def encoded(self, stored: StoredImage) -> Real[np.ndarray, "band y x"]:
        """Return stored numbers in the encoding of exact tiles, with one number for all gaps."""
        kind, _ = _PAYLOAD[self.payload]
        if self.role == "optical":
            return stored.with_gaps_as(self.gap).clip(0, 65_535).astype(kind)
        if self.payload == "f4":
            return self.physical(stored).astype(kind)
        return stored.with_gaps_as(self.gap).astype(kind)

    @property
    def gap(self) -> int:
        """Stored integer of pixels without data in exact tiles."""
        if self.role in ("optical", "picture"):
            return 0
        return int(self.nodata if self.nodata is not None else _PAYLOAD[self.payload][1])


def _decibels(values: Float32[np.ndarray, "band y x"], units: str) -> Float32[np.ndarray, "band y x"]:
    if units == "linear":
        return 10 * np.log10(np.where(values > 0, values, np.float32(np.nan)))
    return values / np.float32(100) if units == "dB x 100" else values


def levels_of(shape: tuple[int, int]) -> int:
    """Return the number of levels: the coarsest shows the image in one tile."""
    return 1 + max(0, math.ceil(math.log2(max(shape) / TILE_PX)))


def read_tile(layer: Layer, bands: tuple[str, ...], level: int, column: int, row: int) -> tuple[bytes, str]:
    """Return a tile and its media type: the stored numbers, or WebP for coarse levels of optical images.

    Args:
        layer: Layer.
        bands: Bands, at most three.
        level: 0 for pixels of the file; each further level halves the resolution.
        column: Column of the tile, from the left.
        row: Row of the tile, from the top.

    Raises:
        IndexError: The tile is outside of the image.
        InputError: The layer has no such band, or the file is damaged.
    """
    height, width = layer.geobox.shape
    side = TILE_PX << level
    top, left = row * side, column * side
    if not (0 <= level < levels_of((height, width)) and 0 <= top < height and 0 <= left < width):
        raise IndexError("tile outside of the image")
    if unknown := [band for band in bands if band not in layer.bands]:
        raise InputError(f"{layer.title} has no band {unknown[0]}")
    bottom, right = min(top + side, height), min(left + side, width)
    stored = _read_level(layer, (top, bottom), (left, right), [layer.bands.index(band) for band in bands], level)
    if layer.role == "optical" and level >= LOSSY_FROM:
        return _webp(layer.physical(stored)), "image/webp"
    return _padded(layer.encoded(stored), layer).tobytes(), "application/octet-stream"


def _read_level(
    layer: Layer, rows: tuple[int, int], columns: tuple[int, int], bands: list[int], level: int
) -> StoredImage:
    if level == 0:
        shape = (rows[1] - rows[0], columns[1] - columns[0])
        window = ImageWindow(layer.path, rows[0], columns[0], shape)
        return _picked(read_stored(window), bands)
    with open_geotiff(layer.path) as source:
        if source.overviews(1) or max(source.shape) <= _DIRECT_PX or level < LOSSY_FROM:
            return _decimated(source, bands, rows, columns, 1 << level)
    reduced = _REDUCED.get(layer, tuple(bands))
    top, bottom, left, right = (-(-edge // _REDUCED_BY) for edge in (*rows, *columns))
    step = (1 << level) // _REDUCED_BY
    part = (slice(None), slice(top, bottom, step), slice(left, right, step))
    return replace(reduced, values=reduced.values[part], valid=None if reduced.valid is None else reduced.valid[part])


def _picked(stored: StoredImage, bands: list[int]) -> StoredImage:
    def pick(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[band] for band in bands) if values else ()

    valid = None if stored.valid is None else stored.valid[bands]
    return StoredImage(
        stored.values[bands],
        stored.geobox,
        stored.nodata,
        pick(stored.descriptions),
        pick(stored.scales),
        pick(stored.offsets),
        valid,
    )


def _decimated(
    source: Any, bands: list[int], rows: tuple[int, int], columns: tuple[int, int], factor: int
) -> StoredImage:
    """Read bands of a window with every ``factor``-th pixel; overviews are used where the file has them."""
    numbers = [image_bands(source)[band] for band in bands]
    shape = tuple(-(-(last - first) // factor) for first, last in (rows, columns))
    where: dict[str, Any] = {"window": (rows, columns), "out_shape": (len(numbers), *shape)}
    values = source.read(numbers, **where)
    valid = source.read_masks(numbers, **where) != 0
    scales, offsets = (tuple(each[number - 1] for number in numbers) for each in (source.scales, source.offsets))
    names = tuple(source.descriptions[number - 1] for number in numbers)
    grid = GeoBox(shape, source.transform, source.crs)
    return StoredImage(values, grid, source.nodata, names, scales, offsets, valid)


class _ReducedImages:
    """Large images without overviews, each reduced once; the least recently used ones are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: OrderedDict[tuple[Path, tuple[int, ...]], StoredImage] = OrderedDict()

    def get(self, layer: Layer, bands: tuple[int, ...]) -> StoredImage:
        with self._lock:  # one at a time: each reads the whole file
            key = (layer.path, bands)
            if key not in self._images:
                height, width = layer.geobox.shape
                with open_geotiff(layer.path) as source:
                    self._images[key] = _decimated(source, list(bands), (0, height), (0, width), _REDUCED_BY)
            self._images.move_to_end(key)
            while len(self._images) > _REDUCED_COUNT:
                self._images.popitem(last=False)
            return self._images[key]


_REDUCED = _ReducedImages()


def _padded(values: NDArray[Any], layer: Layer) -> NDArray[Any]:
    bands, height, width = values.shape
    if (height, width) == (TILE_PX, TILE_PX):
        return np.ascontiguousarray(values)
    gap = math.nan if layer.payload == "f4" else layer.gap
    padded = np.full((bands, TILE_PX, TILE_PX), gap, values.dtype)
    padded[:, :height, :width] = values
    return padded


def _webp(reflectance: Float32[np.ndarray, "band y x"]) -> bytes:
    from PIL import Image

    valid = np.isfinite(reflectance).all(axis=0)
    steps = np.sqrt(np.nan_to_num(reflectance).clip(0, WHITEST) / np.float32(WHITEST)) * 255
    tile: UInt8[np.ndarray, "y x 4"] = np.zeros((TILE_PX, TILE_PX, 4), np.uint8)
    height, width = valid.shape
    tile[:height, :width, : len(steps)] = np.rint(steps).astype(np.uint8).transpose(1, 2, 0)
    tile[:height, :width, 3] = np.where(valid, 255, 0)
    written = io.BytesIO()
    Image.fromarray(tile).save(written, "webp", quality=_WEBP_QUALITY, method=2, exact=True)
    return written.getvalue()


def read_pixel(layer: Layer, row: int, column: int) -> dict[str, float | None]:
    """Return the value of each band of a layer at one pixel, in its unit; None for no data.

    Raises:
        IndexError: The pixel is outside of the image.
        InputError: The file is damaged.
    """
    height, width = layer.geobox.shape
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError("pixel outside of the image")
    values = layer.physical(read_stored(ImageWindow(layer.path, row, column, (1, 1))))[:, 0, 0]
    return {
        band: float(value) if math.isfinite(value) else None
        for band, value in zip(layer.bands, values.tolist(), strict=True)
    }


def sample(layer: Layer, side: int = 256) -> Float32[np.ndarray, "band y x"]:
    """Return a layer with at most ``side`` pixels in each direction, in its unit."""
    height, width = layer.geobox.shape
    factor = max(1, math.ceil(max(height, width) / side))
    with open_geotiff(layer.path) as source:
        return layer.physical(_decimated(source, list(range(len(layer.bands))), (0, height), (0, width), factor))
