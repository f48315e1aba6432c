"""Sentinel-2 products in the Zarr format of the EOPF, versions 2 and 3 of Zarr: metadata, and pixels by rows of chunks.

The package ``zarr`` (extra ``zarr``) decodes the chunks. Metadata are read here first, because a store from an
untrusted source may name any codec, one of which runs code, and chunks of any size.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.files import is_file, is_folder, named, open_file, resolved
from unclouded.io.geotiff import MAX_BLOCK_BYTES
from unclouded.io.strips import row_ranges
from unclouded.sensors import Level, optical_sensor
from unclouded.sentinel.radiometry import QUANTIFICATION, Radiometry
from unclouded.sentinel.sentinel2 import CLASSES_M, MAX_SIDE, RESOLUTIONS_M, BandFile, ProcessingLevel, native_pixel_m
from unclouded.strict_json import read_json_object

CODECS = {"blosc", "zstd", "zlib", "gzip", "lz4", "bytes", "crc32c", "shuffle", "transpose", "fixedscaleoffset"}
"""Codecs that only move and compress bytes; that of pickled objects runs code."""
_REFLECTANCE = "measurements/reflectance"
_CLASSES = "conditions/mask/l2a_classification/r20m/scl"


@dataclass(frozen=True, eq=False)
class EopfProduct:
    """Zarr store of a Sentinel-2 product, local.

    Attributes:
        path: Folder of the store.
    """

    path: Path

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the product."""
        return _attributes(self.path)

    @cached_property
    def level(self) -> ProcessingLevel:
        """Level of the product, and whether it has a scene classification."""
        if not is_folder(self.path / _REFLECTANCE):
            raise InputError(f"{named(self.path)} holds no {_REFLECTANCE}, expected a Sentinel-2 product of the EOPF")
        level: Level = "L1C" if self._place("B10") else "L2A"
        return ProcessingLevel(level, level == "L2A" and _is_array(self.path / _CLASSES))

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names."""
        return optical_sensor(self.level.level).bands

    @cached_property
    def files(self) -> tuple[BandFile, ...]:
        """Array of each band, the finest one.

        Raises:
            InputError: A band is missing.
        """
        places = {band: self._place(band) for band in self.bands}
        if missing := [band for band, place in places.items() if place is None]:
            raise InputError(f"{named(self.path)} has no array of {' '.join(missing)}; fetch the product again")
        return tuple(BandFile(band, *place) for band, place in places.items() if place is not None)

    @property
    def classes(self) -> BandFile | None:
        """Array of the scene classification; None without one."""
        return BandFile("SCL", _CLASSES, CLASSES_M, "uint8") if self.level.has_classes else None

    @cached_property
    def geobox(self) -> GeoBox:
        """10 m grid, from the coordinates of the pixel centres."""
        blue = next(file for file in self.files if file.band == "B02")
        rows, columns = self._array(blue.name).shape
        west, north = (self._first(f"{_REFLECTANCE}/r10m/{axis}") for axis in ("x", "y"))
        return GeoBox((rows, columns), Affine(10, 0, west - 5, 0, -10, north + 5), self._crs())

    @cached_property
    def radiometry(self) -> Radiometry:
        """Scale and offset of the bands, from the attributes of their arrays.

        Raises:
            InputError: The scale is not 0.0001, or an offset is impossible.
        """
        return Radiometry(tuple(self._offset(file) for file in self.files))

    @property
    def identity(self) -> str:
        """Name of the product."""
        return self.path.name.removesuffix(".zarr")

    @cached_property
    def acquired(self) -> datetime:
        """Acquisition time in UTC.

        Raises:
            InputError: The metadata do not contain it.
        """
        properties = _mapping(_mapping(self.attributes.get("stac_discovery")).get("properties"))
        stamp = properties.get("datetime") or properties.get("start_datetime")
        try:
            return parse_utc(stamp)
        except InputError:
            raise InputError(f"{named(self.path)} has the time {str(stamp)[:40]!r}, expected one of ISO 8601") from None

    def decode(
        self, file: BandFile, shape: tuple[int, int], on_strip: Callable[[int, NDArray[np.integer]], None]
    ) -> None:
        """Read an array from top to bottom by rows of chunks.

        Raises:
            InputError: The array has another shape or type, a codec that is not allowed, or damaged chunks.
        """
        array = self._array(file.name)
        found, expected = f"{array.shape} {array.dtype}", f"{shape} {file.dtype}"
        if found != expected:
            raise InputError(f"{named(self.path)}: {file.name} holds {found}, expected {expected}; fetch it again")
        for top, bottom in row_ranges(shape[0], array.chunks[0]):
            try:
                values = np.asarray(array[top:bottom, :])
            except Exception as error:  # codecs raise exceptions of any type on damaged bytes
                reason = str(error).partition("\n")[0][:80]
                raise InputError(f"{named(self.path)}: {file.name} is damaged ({reason}); fetch it again") from error
            on_strip(top, values)

    def _place(self, band: str) -> tuple[str, int] | None:
        """Return array and pixel size of a band: the native one where there are several."""
        sizes = sorted(RESOLUTIONS_M, key=lambda metres: (metres != native_pixel_m(band), metres))
        places = ((f"{_REFLECTANCE}/r{metres}m/{band.lower()}", metres) for metres in sizes)
        return next((place for place in places if _is_array(self.path / place[0])), None)

    def _array(self, name: str) -> Any:
        folder = self.path / name
        if not resolved(folder).is_relative_to(resolved(self.path)) or any(one.is_symlink() for one in _inside(folder)):
            raise InputError(f"{named(self.path)}: {name} leads out of the store; do not trust it")
        _require_harmless(folder)
        try:
            import zarr
        except ImportError as error:
            raise InputError("Zarr products need zarr; install it with 'pip install unclouded[zarr]'") from error
        try:
            array: Any = zarr.open_array(str(folder), mode="r")
        except Exception as error:
            reason = str(error).partition("\n")[0][:80]
            raise InputError(f"{named(self.path)}: {name} is not a Zarr array ({reason}); fetch it again") from error
        side = max(array.shape, default=0)
        if not 0 < side <= MAX_SIDE or np.prod(array.chunks) * array.dtype.itemsize > MAX_BLOCK_BYTES:
            raise InputError(
                f"{named(self.path)}: {name} declares {array.shape} values in chunks of {array.chunks}, too large to "
                "read safely; fetch it again"
            )
        return array

    def _first(self, name: str) -> float:
        if not _is_array(self.path / name):
            raise InputError(f"{named(self.path)} has no coordinates {name}; fetch the product again")
        values = np.asarray(self._array(name)[:2], np.float64)
        if values.shape != (2,) or abs(abs(values[1] - values[0]) - 10) > 1e-6:
            raise InputError(f"{named(self.path)}: {name} has steps other than 10 m; fetch the product again")
        return float(values[0])

    def _crs(self) -> str:
        properties = _mapping(_mapping(self.attributes.get("stac_discovery")).get("properties"))
        code = _mapping(self.attributes.get("other_metadata")).get("horizontal_CRS_code") or properties.get("proj:code")
        code = str(code or f"EPSG:{properties.get('proj:epsg')}").upper()
        if not code.startswith(("EPSG:326", "EPSG:327")) or len(code) != len("EPSG:32632"):
            raise InputError(f"{named(self.path)} lies in {code[:20]}, expected a UTM zone; fetch it again")
        return code

    def _offset(self, file: BandFile) -> int:
        attributes = _attributes(self.path / file.name)
        nested = _mapping(attributes.get("_eopf_attrs"))
        scale, offset = (
            attributes.get(name, nested.get(name, usual))
            for name, usual in (("scale_factor", 1.0), ("add_offset", 0.0))
        )
        if not isinstance(scale, int | float) or abs(scale * QUANTIFICATION - 1) > 1e-6:
            raise InputError(f"{named(self.path)} has the scale {str(scale)[:20]} for {file.band}, expected 0.0001")
        steps = offset * QUANTIFICATION if isinstance(offset, int | float) else np.nan
        if not (-10_000 <= steps <= 0 and abs(steps - round(steps)) < 1e-3):
            raise InputError(
                f"{named(self.path)} has the offset {str(offset)[:20]} for {file.band}, expected -0.1 or 0"
            )
        return round(steps)


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a Zarr group."""
    return is_file(folder / ".zgroup") or is_file(folder / "zarr.json")


def _is_array(folder: Path) -> bool:
    return is_file(folder / ".zarray") or is_file(folder / "zarr.json")


def _attributes(folder: Path) -> Mapping[str, Any]:
    if is_file(folder / "zarr.json"):
        return _mapping(read_json_object(folder / "zarr.json", limit=64 << 20).get("attributes"))
    return read_json_object(folder / ".zattrs", limit=64 << 20) if is_file(folder / ".zattrs") else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _inside(folder: Path) -> Iterator[Path]:
    yield folder
    if is_folder(folder):
        yield from folder.rglob("*")


_BLOSC_HEADER, _BLOSC_SIZE = 16, slice(12, 16)
"""Bytes of the header of a block of Blosc, and those with its compressed size."""


def _require_whole(folder: Path, codecs: list[str]) -> None:
    """Refuse truncated chunks of Blosc, which it decodes to zeros without error (numcodecs 0.16).

    Raises:
        InputError: A chunk has another size than it declares.
    """
    if not codecs or codecs[-1] != "blosc":
        return
    for chunk in _inside(folder):
        if not is_file(chunk) or chunk.name == "zarr.json" or chunk.name.startswith("."):
            continue
        with open_file(chunk) as file:
            header = file.read(_BLOSC_HEADER)
        declared, size = int.from_bytes(header[_BLOSC_SIZE], "little"), chunk.stat().st_size
        if len(header) < _BLOSC_HEADER or declared != size:
            raise InputError(
                f"{named(chunk)} is damaged: it has {size:,} bytes and declares {declared:,}; fetch it again"
            )


def _require_harmless(folder: Path) -> None:
    """Refuse arrays of objects, codecs that are not known to be harmless, and truncated chunks.

    Raises:
        InputError: The metadata are damaged, or name another codec, or a chunk is truncated.
    """
    metadata = read_json_object(folder / ("zarr.json" if is_file(folder / "zarr.json") else ".zarray"))
    listed = [*(metadata.get("filters") or []), metadata.get("compressor"), *(metadata.get("codecs") or [])]
    codecs = [str(_mapping(one).get("id") or _mapping(one).get("name")) for one in listed if one is not None]
    codecs = [name.removeprefix("numcodecs.") for name in codecs]
    for name in codecs:
        if name not in CODECS:
            raise InputError(f"{named(folder)} is packed by {name[:40]!r}, expected one of {', '.join(sorted(CODECS))}")
    if "O" in str(metadata.get("dtype", "")):
        raise InputError(f"{named(folder)} holds objects, expected numbers; do not trust it")
    _require_whole(folder, codecs)
