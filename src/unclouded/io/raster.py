"""Georeferenced images in physical units, and the checks and conversions between stored numbers and units."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Integer
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import ImageFile, StoredImage, read_stored
from unclouded.sensors import ALIASES, SENSORS, SENTINEL2, Sensor

_ROUNDING_DB = 1e-6
"""Tolerance around 0 dB: published patches hold values such as 5e-15 where they were clipped at 0."""
_HIGHEST_POWER = 1e6
"""Linear power of 60 dB."""
_LOWEST_REFLECTANCE = -0.1001
"""Reflectance of a stored 0 with RADIO_ADD_OFFSET = -1000, minus a rounding margin."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Georeferenced image in physical units.

    Attributes:
        values: Values (band, row, column) in the unit of the sensor (dB or TOA reflectance); NaN for no data.
        bands: Band names.
        geobox: Grid; its CRS is None if the file has none.
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
        """Return a raster of the given bands, in the given order.

        Raises:
            InputError: A band is missing.
        """
        if absent := [band for band in bands if band not in self.bands]:
            raise InputError(f"no band {' '.join(absent)}; choose from {' '.join(self.bands)}")
        return Raster(self.values[[self.bands.index(band) for band in bands]], bands, self.geobox)


def describe_grid(geobox: GeoBox) -> str:
    """Return a description of a grid for messages: size, CRS, upper left corner and pixel steps."""
    height, width = geobox.shape
    crs = f"EPSG:{geobox.crs.epsg}" if geobox.crs and geobox.crs.epsg else str(geobox.crs or "no CRS")[:80]
    affine = geobox.affine
    return f"{width}x{height} px in {crs}, corner {affine.c:.12g} {affine.f:.12g}, steps {affine.a:.6g} {affine.e:.6g}"


def same_grid(first: GeoBox, second: GeoBox, tolerance_px: float = 1e-6) -> bool:
    """Return whether two grids have the same size and CRS, and corners within ``tolerance_px`` pixels.

    Args:
        first: First grid; the tolerance is in its pixels.
        second: Second grid.
        tolerance_px: Largest distance between corresponding corners.
    """
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


def read(path: ImageFile, sensor: Sensor) -> Raster:
    """Read all bands of a local GeoTIFF, or of a window of one, in physical units.

    Args:
        path: GeoTIFF with the bands of the sensor in their order; band names are checked if the file has them.
        sensor: Expected sensor.

    Raises:
        InputError: The file is not a readable GeoTIFF, has another number, order or type of bands, or holds values in
            another unit.
    """
    stored = read_stored(path)
    check_stored(path, stored, sensor)
    values = to_physical(stored, sensor)
    check_range(path, values, sensor)
    return Raster(values, sensor.bands, stored.geobox)


def check_stored(path: ImageFile, stored: StoredImage, sensor: Sensor) -> None:
    """Refuse an image whose bands, data type or scale tags are not those of a sensor.

    Args:
        path: Image, for messages.
        stored: Stored numbers and tags.
        sensor: Expected sensor.

    Raises:
        InputError: Bands, data type or tags differ.
    """
    count, found = stored.values.shape[0], stored.values.dtype.name
    if count != len(sensor.bands):
        expected = f"the {len(sensor.bands)} of {sensor.name}: {' '.join(sensor.bands)}"
        raise InputError(f"{path} has {count} bands, expected {expected}; is it {_product(count)}?")
    if found not in sensor.dtypes:
        scale = "" if sensor.stored_per_unit == 1.0 else f" x {sensor.stored_per_unit:g}"
        expected = f"{' or '.join(sensor.dtypes)} for {sensor.name} in {sensor.unit}{scale}"
        raise InputError(f"{path} has values of type {found}, expected {expected}; convert it")
    bands = [band_named(name or "", sensor) for name in stored.descriptions]
    if any(name not in (None, band) for name, band in zip(bands, sensor.bands, strict=True)):
        order = " ".join(name or "?" for name in bands)
        raise InputError(f"{path} has its bands in the order {order}, expected {' '.join(sensor.bands)}; reorder them")
    _check_scaling(path, stored, sensor)


def _check_scaling(path: ImageFile, stored: StoredImage, sensor: Sensor) -> None:
    """Accept scale and offset tags such as 0.0001 and -0.1 (steps of the sensor, a whole offset in steps), or none."""
    scales, offsets = set(stored.scales) or {1.0}, [offset * sensor.stored_per_unit for offset in stored.offsets]
    scaled = len(scales) == 1 and math.isclose(min(scales) * sensor.stored_per_unit, 1.0, rel_tol=1e-6)
    untagged = scales == {1.0} and not any(offsets)
    whole = all(abs(offset) <= sensor.stored_per_unit and abs(offset - round(offset)) < 1e-3 for offset in offsets)
    if not (untagged or (scaled and whole)):
        found = f"scale {min(scales):g} and offset {min(stored.offsets):g}"
        expected = f"{1 / sensor.stored_per_unit:g} and whole steps of it"
        raise InputError(f"{path} has tags of {found}, expected {expected}, or none; convert it")


def offset_steps(stored: StoredImage, sensor: Sensor) -> tuple[int, ...]:
    """Return the offset of each band in stored steps, RADIO_ADD_OFFSET, from the offset tags of a file."""
    return tuple(round(offset * sensor.stored_per_unit) for offset in stored.offsets) or (0,) * len(stored.values)


def _product(bands: int) -> str:
    """Return the name of the product with this number of bands, for messages."""
    return next((f"a file of {sensor.name}" for sensor in SENSORS if len(sensor.bands) == bands), "another product")


def band_named(description: str, sensor: Sensor) -> str | None:
    """Return the band named by a description or file name such as ``B4``, ``Sigma0_VV`` or ``blue``; None if none."""
    known = {alias: band for band in sensor.bands for alias in (band, band.replace("B0", "B"))}
    if sensor.unit == SENTINEL2.unit:
        known |= {alias: band for alias, band in ALIASES.items() if band in sensor.bands}
    words = re.split(r"[^0-9A-Z]+", description.upper())
    return next((known[word] for word in ("".join(words), *words) if word in known), None)


def to_physical(stored: StoredImage, sensor: Sensor) -> Float32[np.ndarray, "band y x"]:
    """Convert stored numbers to the unit of a sensor, float32; NaN for no data (tag, mask, sensor) and infinities.

    Args:
        stored: Stored numbers with their nodata and offset tags.
        sensor: Sensor with unit, steps per unit and no-data values.
    """
    with np.errstate(over="ignore"):  # float64 values beyond float32 become infinite, hence NaN below
        values = stored.values.astype(np.float32)
    if any(steps := offset_steps(stored, sensor)):
        values += np.array(steps, np.float32)[:, None, None]  # exact: below 2**24
    if sensor.stored_per_unit != 1.0:
        values /= np.float32(sensor.stored_per_unit)
    for number in (stored.nodata, *sensor.no_data):
        if number is not None and not math.isnan(number):
            values[stored.values == number] = np.nan
    if stored.values.dtype.kind == "f":
        values[np.isinf(values)] = np.nan
    if stored.valid is not None:
        values[~stored.valid] = np.nan
    return values


def to_stored(
    reflectance: Float32[np.ndarray, "band y x"], sensor: Sensor, dtype: Any = np.uint16
) -> Integer[np.ndarray, "band y x"]:
    """Convert reflectance to stored integers: times 10 000, rounded, 0 for no data, at least 1 for valid pixels.

    The largest integer of the type is reserved for saturation.

    Args:
        reflectance: TOA reflectance; NaN for no data.
        sensor: Sensor with steps per unit, 10 000 for Sentinel-2.
        dtype: Integer type.
    """
    limit = np.iinfo(dtype).max - 1
    scaled = np.clip(np.rint(reflectance * np.float32(sensor.stored_per_unit)), 1, limit)
    return np.asarray(np.where(np.isfinite(reflectance), scaled, 0)).astype(dtype)


def check_range(path: ImageFile, values: Float32[np.ndarray, "band y x"], sensor: Sensor) -> None:
    """Refuse values in another unit than that of a sensor, such as linear power or dB x 100 instead of dB.

    In dB nearly every pixel of a scene is negative, so more positive than negative values indicate linear power. A
    patch of zeros alone passes: published patches are clipped at 0 dB.

    Args:
        path: Image, for messages.
        values: Values of a whole scene; NaN for no data.
        sensor: Sensor with the expected unit.

    Raises:
        InputError: The values are in another unit, which the message names.
    """
    check_limits(path, values, sensor)
    if sensor.unit == "dB" and np.count_nonzero(values > _ROUNDING_DB) > np.count_nonzero(values < -_ROUNDING_DB):
        found = _found(path, *_extremes(values))
        raise InputError(
            f"{found}, most of them positive, expected dB; if this is linear power, convert it by 10 log10 or set "
            "--units linear"
        )


def check_limits(path: ImageFile, values: Float32[np.ndarray, "band y x"], sensor: Sensor) -> None:
    """Refuse values that no pixel can have in the unit of a sensor; unlike :func:`check_range`, for parts of a scene.

    Args:
        path: Image, for messages.
        values: Values of any part of a scene; NaN for no data.
        sensor: Sensor with the expected unit.

    Raises:
        InputError: The values are in another unit, which the message names.
    """
    low, high = _extremes(values)
    found = _found(path, low, high)
    if sensor.unit == "dB":
        if low < -100.0 or high > 60.0:
            raise InputError(
                f"{found}, expected dB; if this is dB x 100, set --units 'dB x 100'; if these are digital numbers, "
                "calibrate them first"
            )
    elif sensor.unit == "linear power":
        if low < 0.0 or high > _HIGHEST_POWER:
            raise InputError(
                f"{found}, expected linear power; if this is dB, set --units dB; if not, calibrate it first"
            )
    elif low < _LOWEST_REFLECTANCE:
        raise InputError(
            f"{found}, expected reflectance; if {low * sensor.stored_per_unit:.0f} means no data, set it as nodata tag"
        )


def _extremes(values: Float32[np.ndarray, "band y x"]) -> tuple[float, float]:
    low, high = (float(extreme.reduce(values, axis=None)) for extreme in (np.fmin, np.fmax))  # both ignore NaN
    return low, high


def _found(path: ImageFile, low: float, high: float) -> str:
    return f"{path} has values from {low:.4g} to {high:.4g}"
