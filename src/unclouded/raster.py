"""A georeferenced image: values in physical units, band names and a grid; checked reading, atomic writing."""

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from jaxtyping import Float32, Float64, Integer, Real
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from unclouded.errors import InputError
from unclouded.files import require_file, whole_file
from unclouded.sensors import Sensor

MAX_VALUES = 13 * 12_000 * 12_000
"""Most values (bands x rows x columns) one read may return: a whole Sentinel-2 tile with room to spare."""
MAX_BLOCK_BYTES = 256 << 20
"""Largest block a file may be stored in: reading one pixel decodes a whole block."""
MAX_COMPRESSION = 1_100
"""Most bytes that one byte of a file may unfold to: deflate reaches 1032 on constants, images a hundredth of that."""

_TAG_BYTES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8, 0])
"""Bytes of one value of each TIFF type, from BYTE (1) to IFD8 (18)."""
_ROUNDING_DB = 1e-6
"""Published patches hold values such as 5e-15 where they were clipped at 0; linear power this low is -60 dB."""
_LOWEST_REFLECTANCE = -0.1001
"""What remains of 0 when RADIO_ADD_OFFSET, -1000, is applied."""

_GDAL = {
    "GDAL_NUM_THREADS": "1",  # a truncated file raises only where one thread decodes
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no side-car file changes what is read
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GTIFF_SRS_SOURCE": "EPSG",
}


@dataclass(frozen=True, eq=False)
class Raster:
    """A georeferenced image.

    Attributes:
        values: Bands, rows, columns, in the unit of the sensor (dB or TOA reflectance); NaN where there is no data.
        bands: One name a band.
        geobox: The grid; its CRS is None where the file has none.
    """

    values: Float32[np.ndarray, "band y x"]
    bands: tuple[str, ...]
    geobox: GeoBox

    def __post_init__(self) -> None:
        expected = (len(self.bands), *self.geobox.shape)
        if self.values.shape != expected:
            raise InputError(
                f"expected values of shape {expected} for these bands and this grid, found {self.values.shape}"
            )

    def select(self, bands: tuple[str, ...]) -> "Raster":
        """Return a raster of some of the bands, in the order given."""
        if absent := [band for band in bands if band not in self.bands]:
            raise InputError(f"no band {' '.join(absent)} here; there are {' '.join(self.bands)}")
        return Raster(self.values[[self.bands.index(band) for band in bands]], bands, self.geobox)


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image as its file stores it, before any unit.

    Attributes:
        values: Bands, rows, columns, in the file's own data type.
        geobox: The grid; its CRS is None where the file has none.
        nodata: The file's nodata tag.
        descriptions: The file's own band names, None where it has none.
    """

    values: Real[np.ndarray, "band y x"]
    geobox: GeoBox
    nodata: float | None
    descriptions: tuple[str | None, ...]


def describe(geobox: GeoBox) -> str:
    """Return a grid in words, for messages: size, CRS, upper left corner and the steps to the right and down."""
    height, width = geobox.shape
    crs = f"EPSG:{geobox.crs.epsg}" if geobox.crs and geobox.crs.epsg else str(geobox.crs or "no CRS")[:80]
    affine = geobox.affine
    return f"{width}x{height} px in {crs}, corner {affine.c:.12g} {affine.f:.12g}, steps {affine.a:.6g} {affine.e:.6g}"


def same_grid(first: GeoBox, second: GeoBox, tolerance_px: float = 1e-6) -> bool:
    """Say whether two grids have the same size and CRS, and corners within ``tolerance_px`` pixels."""
    if first.shape != second.shape or first.crs != second.crs:
        return False
    height, width = first.shape
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    matrix, difference = _matrix(first), _matrix(second) - _matrix(first)
    moved_px = np.linalg.solve(matrix[:, :2], difference @ corners)
    return bool(np.hypot(*moved_px).max() <= tolerance_px)


def _matrix(geobox: GeoBox) -> Float64[np.ndarray, "2 3"]:
    affine = geobox.affine
    return np.array([[affine.a, affine.b, affine.c], [affine.d, affine.e, affine.f]])


@contextmanager
def open_geotiff(path: Path) -> Iterator[Any]:
    """Open a local GeoTIFF and nothing else: no VRT, no network, no side-car files, no giant.

    Raises:
        InputError: ``path`` is no regular file, no GeoTIFF, damaged, or larger than the limits of this module.
    """
    require_file(path)
    if path.resolve().as_posix().startswith("/vsi"):
        raise InputError(f"{path} looks like an address of GDAL's virtual file systems; move it to another folder")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); fetch it again")
    with rasterio.Env(**_GDAL), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path.resolve(), driver="GTiff") as source:
                _refuse_giants(path, source)
                _refuse_cut_tags(path)
                yield source
        except (RasterioError, CRSError, UnicodeDecodeError) as error:  # Unicode: bytes changed within a tag
            raise InputError(f"{path} is not a whole GeoTIFF ({_reason(error)}); fetch it again") from error


def _reason(error: Exception) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return " ".join(str(cause).split())[:160]


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


def _refuse_cut_tags(path: Path) -> None:
    """Refuse a file that ends before its tags do: GDAL reads it without georeference, nodata or names.

    TIFF 6.0, section 2: a directory is a count and that many entries, whose values stand in the entry or elsewhere.
    """
    with path.open("rb") as file:
        header = file.read(16)
        order, wide = ("<" if header[:2] == b"II" else ">"), 43 in header[2:4]
        word, size = (f"{order}u8", 8) if wide else (f"{order}u4", 4)
        file.seek(int(np.frombuffer(header, word, count=1, offset=size)[0]))
        counted = f"{order}u8" if wide else f"{order}u2"
        entries = int(np.frombuffer(file.read(np.dtype(counted).itemsize), counted)[0])
        layout = np.dtype([("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", word), ("value", word)])
        tags = np.frombuffer(file.read(min(entries, 65_535) * layout.itemsize), layout)
        length = _TAG_BYTES[np.minimum(tags["type"], len(_TAG_BYTES) - 1)] * tags["count"].astype(float)
        ends = np.where(length > size, tags["value"] + length, 0)
        if ends.max() > path.stat().st_size:
            raise InputError(f"{path} ends within its tags, expected {ends.max():,.0f} bytes; fetch it again")


def _shares_blocks(source: Any) -> bool:
    """Say whether each block holds all bands."""
    return bool(source.interleaving) and source.interleaving.name == "pixel"


def read_stored(path: Path) -> StoredImage:
    """Read a local GeoTIFF as it is stored.

    Raises:
        InputError: See :func:`open_geotiff`; also where blocks were never written, or pixels have no size.
    """
    with open_geotiff(path) as source:
        _refuse_missing_blocks(path, source)
        if not abs(source.transform.determinant) > 0:
            raise InputError(f"{path} has pixels without size, expected a georeference or none; fetch it again")
        geobox = GeoBox((source.height, source.width), source.transform, source.crs)
        return StoredImage(source.read(), geobox, source.nodata, tuple(source.descriptions))


def _refuse_missing_blocks(path: Path, source: Any) -> None:
    """A file whose writer was killed opens and reads as zeros, or as its nodata tag: only its block table tells."""
    shapes = source.block_shapes[:1] if _shares_blocks(source) else source.block_shapes
    for band, (rows, columns) in enumerate(shapes, start=1):
        for row in range(math.ceil(source.height / rows)):
            for column in range(math.ceil(source.width / columns)):
                if source.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is None:
                    raise InputError(
                        f"{path} was not written to its end, or is sparse: block {column}, {row} of band {band} is "
                        "missing; fetch it again"
                    )


def read(path: Path, sensor: Sensor) -> Raster:
    """Read a local GeoTIFF of one sensor, all bands, in physical units.

    Args:
        path: GeoTIFF with the sensor's bands in its order. Band names are checked where the file has them.
        sensor: What to expect.

    Raises:
        InputError: Not a readable GeoTIFF, or another number, order or type of bands, or values in another unit.
    """
    stored = read_stored(path)
    check_stored(path, stored, sensor)
    values = to_physical(stored, sensor)
    check_range(path, values, sensor)
    return Raster(values, sensor.bands, stored.geobox)


def check_stored(path: Path, stored: StoredImage, sensor: Sensor) -> None:
    """Refuse an image whose bands or data type are not the sensor's.

    Raises:
        InputError: Says what was expected and what was found.
    """
    count, found = stored.values.shape[0], stored.values.dtype.name
    if count != len(sensor.bands):
        expected = f"the {len(sensor.bands)} of {sensor.name}: {' '.join(sensor.bands)}"
        raise InputError(f"{path} has {count} bands, expected {expected}; is it another product?")
    if found not in sensor.dtypes:
        scale = "" if sensor.stored_per_unit == 1.0 else f" x {sensor.stored_per_unit:g}"
        expected = f"{' or '.join(sensor.dtypes)} for {sensor.name} in {sensor.unit}{scale}"
        raise InputError(f"{path} has values of type {found}, expected {expected}; convert it")
    named = [_band_named(name or "", sensor) for name in stored.descriptions]
    if any(name not in (None, band) for name, band in zip(named, sensor.bands, strict=True)):
        order = " ".join(name or "?" for name in named)
        raise InputError(f"{path} has its bands in the order {order}, expected {' '.join(sensor.bands)}; reorder them")


def _band_named(description: str, sensor: Sensor) -> str | None:
    """Return the band that a description such as ``B4``, ``B_04`` or ``Sigma0_VV`` names, None where it names none."""
    known = {alias: band for band in sensor.bands for alias in (band, band.replace("B0", "B"))}
    words = re.split(r"[^0-9A-Z]+", description.upper())
    return next((known[word] for word in ("".join(words), *words) if word in known), None)


def to_physical(stored: StoredImage, sensor: Sensor) -> Float32[np.ndarray, "band y x"]:
    """Turn stored numbers into the sensor's unit, float32; NaN for no data by tag, by sensor, or not finite."""
    with np.errstate(over="ignore"):  # a float64 beyond float32 is nobody's backscatter
        values = stored.values.astype(np.float32)
    if sensor.stored_per_unit != 1.0:
        values /= np.float32(sensor.stored_per_unit)
    for number in (stored.nodata, *sensor.no_data):
        if number is not None and not math.isnan(number):
            values[stored.values == number] = np.nan
    if stored.values.dtype.kind == "f":
        values[np.isinf(values)] = np.nan
    return values


def to_stored(
    reflectance: Float32[np.ndarray, "band y x"], sensor: Sensor, dtype: Any = np.uint16
) -> Integer[np.ndarray, "band y x"]:
    """Turn reflectance into stored integers: times 10 000, rounded, 0 for no data, and at least 1 for a valid pixel.

    The largest integer of the type is left to saturation.
    """
    limit = np.iinfo(dtype).max - 1
    scaled = np.clip(np.rint(reflectance * np.float32(sensor.stored_per_unit)), 1, limit)
    return np.asarray(np.where(np.isfinite(reflectance), scaled, 0)).astype(dtype)


def check_range(path: Path, values: Float32[np.ndarray, "band y x"], sensor: Sensor) -> None:
    """Refuse values in another unit: linear power, dB x 100, or integers below what an offset of -1000 can leave.

    In dB nearly every pixel of a scene is negative, so more positive than negative values are linear power. A patch
    of nothing but 0.0 is neither: the published patches are clipped there.

    Raises:
        InputError: Names the unit that the values look like.
    """
    low, high = (float(extreme.reduce(values, axis=None)) for extreme in (np.fmin, np.fmax))  # both pass over NaN
    found = f"{path} has values from {low:.4g} to {high:.4g}"
    if sensor.unit == "dB":
        if low < -100.0 or high > 60.0:
            raise InputError(f"{found}, expected dB; dB x 100, or digital numbers? convert them first")
        if np.count_nonzero(values > _ROUNDING_DB) > np.count_nonzero(values < -_ROUNDING_DB):
            raise InputError(f"{found}, most of them positive, expected dB; linear power? take 10 log10 first")
    elif low < _LOWEST_REFLECTANCE:
        raise InputError(f"{found}, expected reflectance; does {low * sensor.stored_per_unit:.0f} mean no data? tag it")


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
    """
    count, height, width = values.shape
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": values.dtype.name,
        "crs": str(geobox.crs) if geobox.crs else None,
        "transform": geobox.affine,
        "nodata": nodata,
        "compress": "deflate",
        "predictor": 3 if values.dtype.kind == "f" else 2,
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
    }
    if min(height, width) >= 512:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with whole_file(path) as partial, rasterio.Env(**_GDAL), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(partial, "w", **profile) as target:
                target.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (count - 1)
                target.write(values)
                target.descriptions = bands
                if tags:
                    target.update_tags(**tags)
            whole = _holds(partial, values)
        except RasterioError as error:
            raise InputError(f"{path} cannot be written ({_reason(error)}); is the disk full?") from error
        if not whole:
            raise InputError(f"{path} cannot be written (it reads otherwise); is the disk full?")


def _holds(path: Path, values: NDArray[Any]) -> bool:
    """Read a file back: GDAL closes a file on a full disk without a word."""
    with rasterio.open(path, driver="GTiff") as source:
        pairs = ((source.read(band), stored) for band, stored in enumerate(values, start=1))
        return all(np.array_equal(found, stored, equal_nan=stored.dtype.kind == "f") for found, stored in pairs)
