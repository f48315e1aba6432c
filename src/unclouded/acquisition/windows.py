"""Windows of cloud-optimised GeoTIFFs in an archive, read by range requests: a few MB of a band instead of the tile.

GDAL reads through :class:`RangeFile`, which asks for byte ranges by the HTTP client of this package: with deadlines,
with limits on bytes, at one address only. GDAL itself opens no connection.
"""

import io
import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.errors import RasterioError
from shapely.geometry import shape

from unclouded.errors import InputError
from unclouded.io.download import Access, RetryPolicy
from unclouded.io.gdal import gdal_session
from unclouded.io.geotiff import MAX_BLOCK_BYTES, grid_of, write_geotiff
from unclouded.io.tiff_tags import require_sound_tags
from unclouded.web import WebError, is_number, send_request, shown_address

BLOCK_BYTES = 1 << 16
"""Unit of the requests: header and directory of a file fit into one to four."""
MOST_BYTES = 512 << 20
"""Most bytes that are read of one file."""
CACHED_BLOCKS = 1024
SNAP_M = 60.0
"""Windows begin and end at multiples of the coarsest pixel, so that those of all bands of a tile coincide."""
_ROUNDING_M = 0.1
"""Distance from such a multiple within which an area ends at it: degrees are rounded."""
MAX_PX = 12_000
_REJECTED = (401, 403)
_NAME = "window.tif"


class RangeFile(io.RawIOBase):
    """File on a web server, read by byte ranges.

    Args:
        address: http or https URL.
        access: Credentials; none if omitted.
        retry: Timeouts and attempts; the defaults if omitted.

    Attributes:
        size: Size of the file, bytes.
        fetched: Bytes that were requested so far.

    Raises:
        InputError: The server has no such file, or does not support ranges.
    """

    def __init__(self, address: str, access: Access | None = None, retry: RetryPolicy | None = None) -> None:
        super().__init__()
        self._address, self._access, self._retry = address, access, retry or RetryPolicy()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._at, self._mark, self.size, self.fetched = 0, "", 0, 0
        self._load(0, 1)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read bytes at the position; fewer at the end of the file.

        Raises:
            InputError: The server does not answer, or the file changed.
        """
        last = self.size if size < 0 else min(self._at + size, self.size)
        if last <= self._at:
            return b""
        first_block, end_block = self._at // BLOCK_BYTES, -(-last // BLOCK_BYTES)
        missing = [block for block in range(first_block, end_block) if block not in self._blocks]
        kept = {block: self._blocks[block] for block in range(first_block, end_block) if block in self._blocks}
        if missing:
            kept |= self._load(missing[0], missing[-1] + 1)
        content = b"".join(kept[block] for block in range(first_block, end_block))
        start = self._at - first_block * BLOCK_BYTES
        found = content[start : start + last - self._at]
        self._at = last
        return found

    def _load(self, first: int, end: int) -> dict[int, bytes]:
        """Request consecutive blocks; several attempts, with renewed credentials."""
        failures, renewed = 0, False
        while True:
            try:
                return self._request(first, end)
            except WebError as error:
                if error.status in _REJECTED and self._access is not None and not renewed and self._access.renew():
                    renewed = True
                    continue
                failures += 1
                if not error.may_pass or failures >= self._retry.attempts:
                    raise InputError(
                        f"{shown_address(self._address)}: {error}; run again, or fetch whole files"
                    ) from error
                self._retry.wait(failures, error.wait_s)

    def _request(self, first: int, end: int) -> dict[int, bytes]:
        begin, last = first * BLOCK_BYTES, end * BLOCK_BYTES - 1
        if self.fetched + last + 1 - begin > MOST_BYTES:
            raise WebError(f"more than {MOST_BYTES >> 20} MiB of one file were needed", may_pass=False)
        access = self._access
        address, authorize = (self._address, None) if access is None else (access.signed(self._address), access.headers)
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={begin}-{last}"}
        with send_request("GET", address, headers=headers, limits=self._retry.limits, authorize=authorize) as answer:
            if answer.status == 200:
                raise WebError("the server does not support byte ranges", may_pass=False)
            if answer.status != 206:
                raise answer.error()
            content = answer.read(last + 1 - begin)
            size = self._described(answer.headers, begin, len(content))
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if self.size and (size, mark) != (self.size, self._mark):
            raise WebError("the file changed while it was read", may_pass=False)
        self.size, self._mark, self.fetched = size, mark, self.fetched + len(content)
        blocks = {
            first + k: content[k * BLOCK_BYTES : (k + 1) * BLOCK_BYTES] for k in range(-(-len(content) // BLOCK_BYTES))
        }
        self._blocks |= blocks
        while len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return blocks

    def _described(self, headers: Mapping[str, str], begin: int, received: int) -> int:
        """Return the size of the file by the header of an answer, which must describe the bytes that were received."""
        span, _, total = headers.get("Content-Range", "").strip().removeprefix("bytes ").partition("/")
        first, _, last = span.partition("-")
        if not (is_number(first) and is_number(last) and is_number(total)) or int(first) != begin:
            raise WebError("the partial response has no valid Content-Range", may_pass=False)
        expected = min(int(last), int(total) - 1) + 1 - begin
        if received != expected:
            raise WebError(f"the connection closed {expected - received:,} bytes before the end")
        return int(total)


def fetch_window(
    address: str,
    target: Path,
    outline: Mapping[str, Any],
    access: Access | None = None,
    retry: RetryPolicy | None = None,
) -> int:
    """Write the part of a remote GeoTIFF that shows an area; return the bytes that were requested.

    Args:
        address: http or https URL of a GeoTIFF.
        target: Output file with the pixels of the smallest window of multiples of 60 m around the area.
        outline: GeoJSON geometry in degrees.
        access: Credentials; none if omitted.
        retry: Timeouts and attempts; the defaults if omitted.

    Raises:
        InputError: The server does not answer with ranges, or the file is no GeoTIFF that shows the area.
        MachineError: The disk is full, or the folder cannot be written.
    """
    remote = RangeFile(address, access, retry)

    def opened(path: str, mode: str = "rb", **_: Any) -> RangeFile:
        """Open the only file that exists; GDAL looks for others beside it."""
        if path != _NAME or mode not in ("r", "rb"):
            raise FileNotFoundError(path)
        return remote

    try:
        with gdal_session(), rasterio.open(_NAME, driver="GTiff", opener=opened, sharing=False) as source:
            _require_plain(address, source)
            rows, columns = _window(address, grid_of(source), outline)
            values = source.read(window=((rows.start, rows.stop), (columns.start, columns.stop)))
            geobox = grid_of(source)[rows, columns]
            names = tuple(name or target.stem for name in source.descriptions)
            tags = {key: value for key, value in source.tags().items() if key != "AREA_OR_POINT"}
            nodata = source.nodata
    except RasterioError as error:
        reason = " ".join(str(error).split())[:120].replace(address, shown_address(address))
        raise InputError(f"{shown_address(address)} is not a whole GeoTIFF ({reason}); fetch whole files") from error
    write_geotiff(target, values, names, geobox, nodata=nodata, tags=tags)
    require_sound_tags(target)
    return remote.fetched


def _require_plain(address: str, source: Any) -> None:
    """Refuse images that are too large, or whose tags would be lost in a copy of the pixels."""
    rows, columns = max(source.block_shapes)
    itemsize = max(np.dtype(dtype).itemsize for dtype in source.dtypes)
    if max(source.shape) > MAX_PX or source.count > 4 or rows * columns * itemsize * source.count > MAX_BLOCK_BYTES:
        raise InputError(f"{shown_address(address)} is too large to be read by windows; fetch whole files")
    if set(source.scales) != {1.0} or any(source.offsets) or source.crs is None:
        raise InputError(f"{shown_address(address)} has scale tags or no CRS; fetch whole files")


def _window(address: str, grid: GeoBox, outline: Mapping[str, Any]) -> tuple[slice, slice]:
    """Return rows and columns of the smallest window of multiples of 60 m around an outline, within an image."""
    to_image = Transformer.from_crs("EPSG:4326", str(grid.crs), always_xy=True)
    dense = shapely.segmentize(shape(outline), 0.01)
    x, y = to_image.transform(*shapely.get_coordinates(dense).T)
    left, bottom = (math.floor((float(np.min(axis)) + _ROUNDING_M) / SNAP_M) * SNAP_M for axis in (x, y))
    right, top = (math.ceil((float(np.max(axis)) - _ROUNDING_M) / SNAP_M) * SNAP_M for axis in (x, y))
    corners = [~grid.affine * (left, top), ~grid.affine * (right, bottom)]
    places = [(round(column), round(row)) for column, row in corners]
    height, width = grid.shape
    rows = slice(max(min(places[0][1], places[1][1]), 0), min(max(places[0][1], places[1][1]), height))
    columns = slice(max(min(places[0][0], places[1][0]), 0), min(max(places[0][0], places[1][0]), width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise InputError(f"{shown_address(address)} does not show the place; choose another image")
    return rows, columns
