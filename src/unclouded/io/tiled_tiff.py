"""Tiled GeoTIFFs written in one pass, with or without overviews; blocks are compressed in parallel.

GDAL makes a cloud-optimised file by copying a complete one: it compresses every pixel twice, and decodes it in between.
Here rows are compressed as they come. A row of blocks becomes a GeoTIFF in memory, whose blocks GDAL has predicted and
compressed; overviews are averaged from the same rows. Because a cloud-optimised file begins with its directories and
its smallest overview, compressed blocks wait in unnamed temporary files beside the output, which vanish with the
process. The bytes depend neither on the number of threads nor on the heights of the strips.
"""

import io
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from unclouded.files import unwritable, whole_file
from unclouded.io.gdal import gdal_session, require_projections
from unclouded.io.geotiff import READ_BACK_DIFFERS
from unclouded.io.tiff_tags import Tag, read_tags
from unclouded.machine import threads

Overviews = Literal["average", "nearest"]
"""Resampling of overviews; class numbers need ``nearest``."""

Compression = Literal["deflate", "zstd"]
"""Lossless compression: ``deflate`` is read by every program, ``zstd`` is twice as fast and needs GDAL 2.3 or later."""

_LEVELS: dict[Compression, dict[str, int]] = {"deflate": {"zlevel": 1}, "zstd": {"zstd_level": 1}}
"""Higher levels save 2 to 6 % at a third to a thirteenth of the speed (``benchmarks/writing.py --levels``)."""

_UNIT_PX = 4096
"""Columns of a band that a thread compresses at a time: many for few interruptions, few for many threads."""

_CHUNK = 4 << 20
_CLASSIC_BYTES = 2**32 - 2**16
"""Largest file with offsets of 32 bits."""

_REDUCED, _WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS = 254, 256, 257, 322, 323, 324, 325
_OF_PIXELS = (258, 259, 262, 277, 284, 317, 338, 339, 42113)
"""Tags of a template that overviews have, too: they say how values are stored, and which one is no data."""


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
        compression: Compression of the blocks.
    """

    bands: tuple[str, ...]
    dtype: str
    nodata: float | None = None
    overviews: Overviews = "average"
    scale: float = 1.0
    offsets: tuple[float, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = "deflate"


WriteRows = Callable[[NDArray[Any]], None]
"""Writes the next rows (band, row, column) in the data type of the file."""


@contextmanager
def tiled_tiff(
    path: Path,
    layer: Layer,
    geobox: GeoBox,
    block_px: int,
    *,
    cloud_optimised: bool,
) -> Iterator[WriteRows]:
    """Context with a function that writes the rows of a tiled GeoTIFF; the file appears at the end of the block.

    Args:
        path: Output file; an older file is replaced only when the new one is complete.
        layer: Bands, data type and tags.
        geobox: Grid.
        block_px: Side of the blocks, a multiple of 16.
        cloud_optimised: Whether to add overviews, each half as large as the one before, down to a single block.

    Yields:
        Function that writes the next rows, any number of them; all rows have to be written.

    Raises:
        MachineError: The disk is full, or the folder cannot be written.
    """
    require_projections()
    with whole_file(path) as partial, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads()))
        encoding = _Encoding(layer, block_px, pool)
        height, width = geobox.shape
        levels = [_Level(encoding, (height, width), stack.enter_context(tempfile.TemporaryFile(dir=path.parent)))]
        while cloud_optimised and max(height, width) > block_px:
            height, width = -(-height // 2), -(-width // 2)
            file = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
            levels.append(_Level(encoding, (height, width), file))
            levels[-2].reduced = levels[-1]
        yield levels[0].add
        written = _assemble(partial, levels, encoding.template(geobox))
        if _checksum_of(partial) != written:
            raise unwritable(path, READ_BACK_DIFFERS)


@dataclass(frozen=True, eq=False)
class _Encoding:
    """Storage of the pixels of a file."""

    layer: Layer
    block_px: int
    pool: ThreadPoolExecutor

    def blocks(self, values: Shaped[np.ndarray, "rows columns"]) -> list[bytes]:
        """Return the compressed blocks of a row of blocks of one band, or of a part of it, from left to right."""
        padding = [(0, -side % self.block_px) for side in values.shape]
        padded = np.pad(values, padding, mode="edge") if any(after for _, after in padding) else values
        with gdal_session(), MemoryFile() as memory:
            with memory.open(**self._profile(1, padded.shape, self.block_px)) as file:
                file.write(padded, 1)
            content = memory.getbuffer()
            tags = read_tags(io.BytesIO(content))
            places = zip(tags[_OFFSETS].numbers(), tags[_COUNTS].numbers(), strict=True)
            return [bytes(content[offset : offset + count]) for offset, count in places]

    def template(self, geobox: GeoBox) -> dict[int, Tag]:
        """Return the tags that do not depend on the size of the image, as GDAL writes them."""
        layer = self.layer
        crs = {"crs": str(geobox.crs)} if geobox.crs else {}
        place = {"transform": geobox.affine, "nodata": layer.nodata, **crs}
        with gdal_session(), MemoryFile() as memory:
            with memory.open(**self._profile(len(layer.bands), (16, 16), 16), **place) as file:
                file.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (len(layer.bands) - 1)
                file.descriptions = layer.bands
                file.update_tags(**layer.tags)
                if layer.scale != 1.0 or any(layer.offsets):
                    file.scales = (layer.scale,) * len(layer.bands)
                    file.offsets = layer.offsets or (0.0,) * len(layer.bands)
            return read_tags(io.BytesIO(memory.getbuffer()))

    def _profile(self, count: int, shape: tuple[int, ...], block_px: int) -> dict[str, Any]:
        predictor = 3 if np.dtype(self.layer.dtype).kind == "f" else 2  # floating point, horizontal differencing
        return {
            "driver": "GTiff",
            "count": count,
            "height": shape[0],
            "width": shape[1],
            "dtype": self.layer.dtype,
            "tiled": True,
            "blockxsize": block_px,
            "blockysize": block_px,
            "interleave": "band",
            "compress": self.layer.compression,
            "predictor": predictor,
            "endianness": "little",
            **_LEVELS[self.layer.compression],
        }


@dataclass
class _Level:
    """The image, or an overview of it, while it is written.

    Attributes:
        encoding: Storage of the pixels.
        shape: Rows and columns.
        file: Temporary file of the compressed blocks.
        reduced: Next overview.
        done: Number of rows compressed.
        buffer: Rows that do not fill a row of blocks yet.
        filled: Number of rows in the buffer.
        sizes: Compressed bytes of each block, in the order of the file.
        checksum: CRC-32 of the temporary file.
    """

    encoding: _Encoding
    shape: tuple[int, int]
    file: BinaryIO
    reduced: "_Level | None" = None
    done: int = 0
    buffer: NDArray[Any] | None = None
    filled: int = 0
    sizes: list[int] = field(default_factory=list)
    checksum: int = 0

    def add(self, rows: NDArray[Any]) -> None:
        """Write the next rows."""
        side = self.encoding.block_px
        while rows.shape[1]:
            needed = min(side, self.shape[0] - self.done) - self.filled
            part, rows = rows[:, :needed], rows[:, needed:]
            if self.filled or part.shape[1] < needed:
                if self.buffer is None:
                    self.buffer = np.empty((len(part), side, self.shape[1]), part.dtype)
                self.buffer[:, self.filled : self.filled + part.shape[1]] = part
                self.filled += part.shape[1]
                if part.shape[1] < needed:
                    return
                part = self.buffer[:, : self.filled]
            self._compress(part)
            self.done, self.filled = self.done + part.shape[1], 0
        if self.done == self.shape[0]:
            self.buffer = None

    def _compress(self, rows: NDArray[Any]) -> None:
        """Write one row of blocks, each column with all its bands, so that a place in all bands is one stretch."""
        encoding, width = self.encoding, rows.shape[2]
        lefts = range(0, width, _UNIT_PX)
        parts = [(band, left) for left in lefts for band in range(len(rows))]
        found = encoding.pool.map(lambda at: encoding.blocks(rows[at[0], :, at[1] : at[1] + _UNIT_PX]), parts)
        halved = encoding.pool.map(lambda band: _halved(band, encoding.layer), rows if self.reduced else ())
        for _ in lefts:
            for column in zip(*(next(found) for _ in rows), strict=True):
                for block in column:
                    self.file.write(block)
                    self.checksum = zlib.crc32(block, self.checksum)
                    self.sizes.append(len(block))
        if self.reduced is not None:
            self.reduced.add(np.stack([*halved]))

    def places(self, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return offsets and sizes of the blocks, plane by plane as in the tags, for data that begin at an offset."""
        side, bands = self.encoding.block_px, len(self.encoding.layer.bands)
        rows, columns = (-(-length // side) for length in self.shape)
        sizes = np.array(self.sizes, np.int64)
        by_place = np.stack([start + np.cumsum(sizes) - sizes, sizes]).reshape(2, rows, columns, bands)
        offsets, counts = by_place.transpose(0, 3, 1, 2).reshape(2, -1)
        return offsets, counts


def _halved(band: Shaped[np.ndarray, "rows columns"], layer: Layer) -> Shaped[np.ndarray, "coarse_rows coarse_columns"]:
    """Return rows of one band in pixels twice as large: the mean of four, or of fewer at an odd side, or the first.

    Pixels without data do not count. Means of integers are rounded half up, as by GDAL.
    """
    if layer.overviews == "nearest":
        return band[::2, ::2]
    nodata, is_integer = layer.nodata, band.dtype.kind != "f"
    odd = [(0, side % 2) for side in band.shape]
    band = np.pad(band, odd, mode="edge") if any(after for _, after in odd) else band
    total = np.zeros([side // 2 for side in band.shape], np.int64 if is_integer else np.float64)
    count = np.full(total.shape, 4, np.int64)
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part = band[top::2, left::2]
        gap = None if nodata is None else np.isnan(part) if np.isnan(nodata) else part == nodata
        if gap is not None and gap.any():
            count -= gap
            part = np.where(gap, band.dtype.type(0), part)
        total += part
    known = np.maximum(count, 1)
    mean = ((total + known // 2) // known if is_integer else total / known).astype(band.dtype)
    return mean if nodata is None else np.where(count > 0, mean, band.dtype.type(nodata))


# The finished file: header, directories, and the blocks from the smallest overview to the image.


def _assemble(path: Path, levels: list[_Level], template: dict[int, Tag]) -> int:
    """Write the file from its levels; return its CRC-32."""
    head = _head(levels, template)
    with path.open("wb") as file:
        file.write(head)
        checksum = zlib.crc32(head)
        for level in reversed(levels):
            level.file.seek(0)
            found = 0
            while chunk := level.file.read(_CHUNK):
                file.write(chunk)
                found, checksum = zlib.crc32(chunk, found), zlib.crc32(chunk, checksum)
            if found != level.checksum:
                raise unwritable(path, READ_BACK_DIFFERS)
    return checksum


def _checksum_of(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _head(levels: list[_Level], template: dict[int, Tag]) -> bytes:
    """Return header and directories: TIFF 6.0, section 2, or BigTIFF if the file exceeds 4 GiB."""
    sizes = [sum(level.sizes) for level in levels]
    is_big = sum(sizes) + 32 * sum(len(level.sizes) for level in levels) > _CLASSIC_BYTES
    first = 16 if is_big else 8

    def directories(data: int) -> tuple[bytes, ...]:
        """Return the directories of a file whose blocks begin at an offset."""
        found, at = [], first
        for number, level in enumerate(levels):
            tags = _tags(level, data + sum(sizes[number + 1 :]), template, is_overview=number > 0, is_big=is_big)
            is_last = number + 1 == len(levels)
            found.append(_directory(tags, at, is_last=is_last, is_big=is_big))
            at += len(found[-1])
        return tuple(found)

    end = first + sum(map(len, directories(0)))
    header = b"II+\0\x08\0\0\0" + first.to_bytes(8, "little") if is_big else b"II*\0" + first.to_bytes(4, "little")
    return b"".join([header, *directories(end)])


def _tags(level: _Level, start: int, template: dict[int, Tag], *, is_overview: bool, is_big: bool) -> dict[int, Tag]:
    """Return the tags of a level whose blocks begin at an offset."""
    kept = {code: tag for code, tag in template.items() if not is_overview or code in _OF_PIXELS}
    offsets, counts = level.places(start)
    height, width = level.shape
    side = level.encoding.block_px
    numbers = {_REDUCED: 1} if is_overview else {}
    numbers |= {_WIDTH: width, _HEIGHT: height, _TILE_WIDTH: side, _TILE_HEIGHT: side}
    own = {code: Tag.of(number) for code, number in numbers.items()}
    return kept | own | {_OFFSETS: Tag.of(offsets, wide=is_big), _COUNTS: Tag.of(counts)}


def _directory(tags: Mapping[int, Tag], at: int, *, is_last: bool, is_big: bool) -> bytes:
    """Return a directory that stands at an offset, with the values that do not fit into its entries behind it."""
    word = 8 if is_big else 4
    entries, values = b"", b""
    length = (8 if is_big else 2) + len(tags) * (12 if not is_big else 20) + word
    for code, tag in sorted(tags.items()):
        stored = tag.value
        if len(stored) > word:
            stored = (at + length + len(values)).to_bytes(word, "little")
            values += tag.value + b"\0" * (len(tag.value) % 2)
        entries += code.to_bytes(2, "little") + tag.type.to_bytes(2, "little") + tag.count.to_bytes(word, "little")
        entries += stored.ljust(word, b"\0")
    following = 0 if is_last else at + length + len(values)
    return b"".join(
        [len(tags).to_bytes(word if is_big else 2, "little"), entries, following.to_bytes(word, "little"), values]
    )
