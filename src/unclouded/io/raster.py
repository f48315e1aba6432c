"""A georeferenced image in physical units: values, band names and a grid; checked when it is read."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Integer
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.io.geotiff import ImageFile, StoredImage, read_stored
from unclouded.sensors import SENSORS, Sensor

_ROUNDING_DB = 1e-6
"""Published patches hold values such as 5e-15 where they were clipped at 0; linear power this low is -60 dB."""
_HIGHEST_POWER = 1e6
"""Linear power of 60 dB."""
_LOWEST_REFLECTANCE = -0.1001
"""What remains of 0 when RADIO_ADD_OFFSET, -1000, is applied."""


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
        """Return a raster of some of the bands, in the order given.

        Raises:
            InputError: A band is not there.
        """
        if absent := [band for band in bands if band not in self.bands]:
            raise InputError(f"no band {' '.join(absent)} here; there are {' '.join(self.bands)}")
        return Raster(self.values[[self.bands.index(band) for band in bands]], bands, self.geobox)


def describe_grid(geobox: GeoBox) -> str:
    """Return a grid in words, for messages: size, CRS, upper left corner and the steps to the right and down."""
    height, width = geobox.shape
    crs = f"EPSG:{geobox.crs.epsg}" if geobox.crs and geobox.crs.epsg else str(geobox.crs or "no CRS")[:80]
    affine = geobox.affine
    return f"{width}x{height} px in {crs}, corner {affine.c:.12g} {affine.f:.12g}, steps {affine.a:.6g} {affine.e:.6g}"


def same_grid(first: GeoBox, second: GeoBox, tolerance_px: float = 1e-6) -> bool:
    """Say whether two grids have the same size and CRS, and corners within ``tolerance_px`` pixels.

    Args:
        first: A grid, whose pixels the tolerance is counted in.
        second: Another one.
        tolerance_px: How far apart their corners may lie.
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
    """Read a local GeoTIFF of one sensor, or a rectangle of one, all bands, in physical units.

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


def check_stored(path: ImageFile, stored: StoredImage, sensor: Sensor) -> None:
    """Refuse an image whose bands or data type are not the sensor's.

    Args:
        path: Where it comes from, for messages.
        stored: The image as it is stored.
        sensor: What to expect.

    Raises:
        InputError: Says what was expected and what was found.
    """
    count, found = stored.values.shape[0], stored.values.dtype.name
    if count != len(sensor.bands):
        expected = f"the {len(sensor.bands)} of {sensor.name}: {' '.join(sensor.bands)}"
        raise InputError(f"{path} has {count} bands, expected {expected}; is it {_product(count)}?")
    if found not in sensor.dtypes:
        scale = "" if sensor.stored_per_unit == 1.0 else f" x {sensor.stored_per_unit:g}"
        expected = f"{' or '.join(sensor.dtypes)} for {sensor.name} in {sensor.unit}{scale}"
        raise InputError(f"{path} has values of type {found}, expected {expected}; convert it")
    named = [band_named(name or "", sensor) for name in stored.descriptions]
    if any(name not in (None, band) for name, band in zip(named, sensor.bands, strict=True)):
        order = " ".join(name or "?" for name in named)
        raise InputError(f"{path} has its bands in the order {order}, expected {' '.join(sensor.bands)}; reorder them")
    _check_scaling(path, stored, sensor)


def _check_scaling(path: ImageFile, stored: StoredImage, sensor: Sensor) -> None:
    """Take scale and offset tags that mean the sensor's steps and a whole offset, such as 0.0001 and -0.1, or none."""
    scales, offsets = set(stored.scales) or {1.0}, [offset * sensor.stored_per_unit for offset in stored.offsets]
    scaled = len(scales) == 1 and math.isclose(min(scales) * sensor.stored_per_unit, 1.0, rel_tol=1e-6)
    untagged = scales == {1.0} and not any(offsets)
    whole = all(abs(offset) <= sensor.stored_per_unit and abs(offset - round(offset)) < 1e-3 for offset in offsets)
    if not (untagged or (scaled and whole)):
        found = f"scale {min(scales):g} and offset {min(stored.offsets):g}"
        expected = f"{1 / sensor.stored_per_unit:g} and whole steps of it"
        raise InputError(f"{path} has tags of {found}, expected {expected}, or none; convert it")


def offset_steps(stored: StoredImage, sensor: Sensor) -> tuple[int, ...]:
    """Return what is added to the stored numbers of each band before they are divided: RADIO_ADD_OFFSET, by its tag."""
    return tuple(round(offset * sensor.stored_per_unit) for offset in stored.offsets) or (0,) * len(stored.values)


def _product(bands: int) -> str:
    """Return the product that has so many bands, in words."""
    return next((f"a file of {sensor.name}" for sensor in SENSORS if len(sensor.bands) == bands), "another product")


def band_named(description: str, sensor: Sensor) -> str | None:
    """Return the band that a description or file name such as ``B4``, ``B_04`` or ``Sigma0_VV`` names, if any."""
    known = {alias: band for band in sensor.bands for alias in (band, band.replace("B0", "B"))}
    words = re.split(r"[^0-9A-Z]+", description.upper())
    return next((known[word] for word in ("".join(words), *words) if word in known), None)


def to_physical(stored: StoredImage, sensor: Sensor) -> Float32[np.ndarray, "band y x"]:
    """Turn stored numbers into the sensor's unit, float32; NaN for no data by tag, mask or sensor, or not finite.

    Args:
        stored: Numbers with their tags: nodata, and the offset that products carry since baseline 04.00.
        sensor: Whose unit, and whose numbers for no data.
    """
    with np.errstate(over="ignore"):  # a float64 beyond float32 is nobody's backscatter
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
    """Turn reflectance into stored integers: times 10 000, rounded, 0 for no data, and at least 1 for a valid pixel.

    The largest integer of the type is left to saturation.

    Args:
        reflectance: TOA reflectance; NaN where there is no data.
        sensor: Whose steps, 10 000 to 1 for Sentinel-2.
        dtype: An integer type.
    """
    limit = np.iinfo(dtype).max - 1
    scaled = np.clip(np.rint(reflectance * np.float32(sensor.stored_per_unit)), 1, limit)
    return np.asarray(np.where(np.isfinite(reflectance), scaled, 0)).astype(dtype)


def check_range(path: ImageFile, values: Float32[np.ndarray, "band y x"], sensor: Sensor) -> None:
    """Refuse values in another unit: linear power, dB x 100, or integers below what an offset of -1000 can leave.

    In dB nearly every pixel of a scene is negative, so more positive than negative values are linear power. A patch
    of nothing but 0.0 is neither: the published patches are clipped there.

    Args:
        path: Where they come from, for messages.
        values: In the unit that is to be checked; NaN where there is no data.
        sensor: Whose unit is expected.

    Raises:
        InputError: Names the unit that the values look like.
    """
    check_limits(path, values, sensor)
    if sensor.unit == "dB" and np.count_nonzero(values > _ROUNDING_DB) > np.count_nonzero(values < -_ROUNDING_DB):
        found = _found(path, *_extremes(values))
        raise InputError(
            f"{found}, most of them positive, expected dB; linear power? take 10 log10 first, or set the units "
            "(--units linear)"
        )


def check_limits(path: ImageFile, values: Float32[np.ndarray, "band y x"], sensor: Sensor) -> None:
    """Refuse values that no pixel can have in the sensor's unit; unlike :func:`check_range`, for parts of a scene.

    Args:
        path: Where they come from, for messages.
        values: Of any part of a scene; NaN where there is no data.
        sensor: Whose unit is expected.

    Raises:
        InputError: Names the unit that the values look like.
    """
    low, high = _extremes(values)
    found = _found(path, low, high)
    if sensor.unit == "dB":
        if low < -100.0 or high > 60.0:
            raise InputError(
                f"{found}, expected dB; dB x 100, or digital numbers? convert them first, or set the units "
                "(--units 'dB x 100')"
            )
    elif sensor.unit == "linear power":
        if low < 0.0 or high > _HIGHEST_POWER:
            raise InputError(f"{found}, expected linear power; dB, or digital numbers? set the right units (--units)")
    elif low < _LOWEST_REFLECTANCE:
        raise InputError(f"{found}, expected reflectance; does {low * sensor.stored_per_unit:.0f} mean no data? tag it")


def _extremes(values: Float32[np.ndarray, "band y x"]) -> tuple[float, float]:
    low, high = (float(extreme.reduce(values, axis=None)) for extreme in (np.fmin, np.fmax))  # both pass over NaN
    return low, high


def _found(path: ImageFile, low: float, high: float) -> str:
    return f"{path} has values from {low:.4g} to {high:.4g}"
