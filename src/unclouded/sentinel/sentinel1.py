"""Annotations of Sentinel-1 IW GRDH products: calibration, thermal noise, geolocation grid and orbit."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.files import is_file, named
from unclouded.sensors import SENTINEL1
from unclouded.sentinel.safe import ProductFolder, kind_of
from unclouded.sentinel.xml import XmlElement

MAX_SIDE = 60_000
"""Largest number of lines or samples of an image; those of IW GRDH have about 17,000 lines and 26,000 samples."""

LIGHT_M_S = 299_792_458.0

_NOISE_SCALED_SINCE = 2.5
"""First processor version whose thermal noise is in squared digital numbers; 2.36 writes zeros."""

_FINEST_SPACING_M, _COARSEST_SPACING_M = 5.0, 15.0
"""Range of the pixel spacing of high resolution, nominally 10 m; medium resolution has 40 m."""


@dataclass(frozen=True, eq=False)
class GroundControl:
    """Geolocation grid: ground coordinates of some lines and pixels.

    Attributes:
        lines: Image line of each grid row.
        pixels: Image pixel of each grid column.
        longitude: Longitude in degrees.
        latitude: Latitude in degrees.
        height_m: Height above the ellipsoid.
        slant_m: Distance to the satellite.
    """

    lines: Float64[np.ndarray, " n"]
    pixels: Float64[np.ndarray, " m"]
    longitude: Float64[np.ndarray, "n m"]
    latitude: Float64[np.ndarray, "n m"]
    height_m: Float64[np.ndarray, "n m"]
    slant_m: Float64[np.ndarray, "n m"]


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Imaging geometry: time and orbit.

    Attributes:
        first_line: Time of the first line, in UTC.
        line_s: Seconds from line to line.
        orbit_s: Times of the state vectors, in seconds after the first line.
        orbit_m: Positions of the satellite, earth-centred and earth-fixed.
    """

    first_line: datetime
    line_s: float
    orbit_s: Float64[np.ndarray, " orbits"]
    orbit_m: Float64[np.ndarray, "orbits 3"]


# Look-up tables: vectors along the range at some lines, interpolated between them.


@dataclass(frozen=True)
class Vector:
    """Values at some pixels of one line."""

    line: int
    pixels: Float64[np.ndarray, " n"]
    values: Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Table:
    """Vectors with increasing lines; linear between their pixels and between their lines, constant beyond."""

    vectors: tuple[Vector, ...]

    @classmethod
    def read(cls, markup: XmlElement, vector: str, values: str) -> "Table":
        """Read a table from an annotation.

        Args:
            markup: Annotation.
            vector: Element name of the vectors, each with ``line`` and ``pixel``.
            values: Element name of the values in a vector.

        Raises:
            InputError: There are no vectors, or their pixels or lines do not increase.
        """
        return cls(tuple(_vectors(markup, vector, values)))

    @property
    def is_zero(self) -> bool:
        """Whether all values are zero."""
        return not any(vector.values.any() for vector in self.vectors)

    def at(self, lines: slice, pixels: slice) -> Float32[np.ndarray, "lines pixels"]:
        """Return the values of a window of the image."""
        rows = np.arange(lines.start, lines.stop)
        stations = np.array([vector.line for vector in self.vectors])
        first = max(int(np.searchsorted(stations, lines.start, "right")) - 1, 0)
        last = min(int(np.searchsorted(stations, lines.stop - 1, "left")) + 1, len(stations))
        columns = np.arange(pixels.start, pixels.stop)
        used = self.vectors[first : max(last, first + 1)]
        known = np.stack([np.interp(columns, vector.pixels, vector.values) for vector in used]).astype(np.float32)
        return _between(rows, stations[first : first + len(used)], known)


# Thermal noise, in both formats of the annotation.


@dataclass(frozen=True, eq=False)
class AzimuthBlock:
    """Part of a sub-swath whose noise varies from line to line, because TOPSAR sweeps the antenna beam in azimuth.

    Attributes:
        lines: First line and line after the last.
        pixels: First pixel and pixel after the last.
        stations: Lines with a known factor.
        factors: Factors of the range noise at these lines.
    """

    lines: tuple[int, int]
    pixels: tuple[int, int]
    stations: Float64[np.ndarray, " n"]
    factors: Float64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class ThermalNoise:
    """Noise power in units of squared digital numbers: along the range, times a factor along the azimuth.

    Products before March 2018 have no factor.
    """

    range_table: Table
    blocks: tuple[AzimuthBlock, ...] = ()

    @classmethod
    def read(cls, markup: XmlElement) -> "ThermalNoise":
        """Read the noise from its annotation.

        Raises:
            InputError: The annotation has neither of the two formats, or is damaged.
        """
        if markup.first("noiseRangeVector"):
            table = Table.read(markup, "noiseRangeVector", "noiseRangeLut")
            return cls(table, tuple(_block(element) for element in markup.all("noiseAzimuthVector")))
        return cls(Table.read(markup, "noiseVector", "noiseLut"))

    @property
    def is_zero(self) -> bool:
        """Whether the product has no thermal noise."""
        return self.range_table.is_zero

    def at(self, lines: slice, pixels: slice) -> Float32[np.ndarray, "lines pixels"]:
        """Return the noise of a window of the image."""
        noise = self.range_table.at(lines, pixels)
        for block in self.blocks:
            rows = _overlap(block.lines, lines)
            columns = _overlap(block.pixels, pixels)
            if rows and columns:
                factor = np.interp(np.arange(*rows), block.stations, block.factors).astype(np.float32)
                there = np.s_[
                    rows[0] - lines.start : rows[1] - lines.start, columns[0] - pixels.start : columns[1] - pixels.start
                ]
                noise[there] *= factor[:, None]
        return noise


@dataclass(frozen=True, eq=False)
class Channel:
    """Image of one polarisation with its tables.

    Attributes:
        polarisation: VV or VH.
        measurement: Path of the image in the product's folder.
        shape: Number of lines and samples.
        sigma: Calibration table A: sigma0 = power / A squared.
        noise: Thermal noise power; zero if the product has none, or has it in an unknown scale.
    """

    polarisation: str
    measurement: str
    shape: tuple[int, int]
    sigma: Table
    noise: ThermalNoise


@dataclass(frozen=True, eq=False)
class Sentinel1Product:
    """Annotations of a product.

    Attributes:
        identity: Name of the product, without ``.SAFE``.
        acquired: Time of the first line, in UTC.
        processor: Version of the processor, such as 3.31.
        channels: VV and VH, or VV alone.
        ground: Geolocation grid.
        acquisition: Time and orbit.
        orbit: Direction of the pass, ``ascending`` or ``descending``; None if the annotation does not state it.
    """

    identity: str
    acquired: datetime
    processor: float
    channels: tuple[Channel, ...]
    ground: GroundControl
    acquisition: Acquisition
    orbit: str | None = None


def describe_radar_product(product: ProductFolder, *, allow_single: bool = False) -> Sentinel1Product:
    """Read the annotations of an IW GRDH product with VV and VH.

    Args:
        product: Folder of the product.
        allow_single: Whether to accept a product of VV alone, too.

    Raises:
        InputError: The product is another one, which the message names, or an annotation is damaged or impossible.
    """
    images = _annotation_names(product, allow_single)
    annotations = {band: XmlElement.read(product.checked(name)) for band, name in images.items()}
    for annotation in annotations.values():
        _refuse_other_modes(product, annotation)
    processor = _processor(product)
    channels = tuple(_channel(product, band, images[band], annotations[band], processor) for band in images)
    if channels[0].shape != channels[-1].shape:
        raise InputError(f"{named(product.path)} has VV and VH of different sizes; fetch the product again")
    acquisition = _acquisition(annotations["VV"])
    return Sentinel1Product(
        identity=_identity(product),
        acquired=acquisition.first_line,
        processor=processor,
        channels=channels,
        ground=_ground(annotations["VV"]),
        acquisition=acquisition,
        orbit=_orbit_direction(annotations["VV"]),
    )


def _orbit_direction(annotation: XmlElement) -> str | None:
    direction = annotation.first("pass")
    found = direction.text.strip().lower() if direction else ""
    return found if found in ("ascending", "descending") else None


@dataclass(frozen=True)
class RadarOutline:
    """Time and place of a product, which a choice of products needs.

    Attributes:
        identity: Name of the product.
        acquired: Time of the first line, UTC.
        ground: Geolocation grid.
    """

    identity: str
    acquired: datetime
    ground: GroundControl


def describe_radar_outline(product: ProductFolder, *, allow_single: bool = False) -> RadarOutline:
    """Read time and place of an IW GRDH product from the annotation of VV, a quarter of the whole work.

    Args:
        product: Folder of the product.
        allow_single: Whether to accept a product of VV alone, too.

    Raises:
        InputError: The product is another one, which the message names, or the annotation is damaged or impossible.
    """
    images = _annotation_names(product, allow_single)
    for name in (table for image in images.values() for table in _tables(image)):
        if not is_file(product.folder / name):
            raise InputError(f"{named(product.path)} lacks {name}; fetch the product again")
    annotation = XmlElement.read(product.checked(images["VV"]))
    _refuse_other_modes(product, annotation)
    first_line = annotation.one("imageInformation").one("productFirstLineUtcTime").time
    return RadarOutline(_identity(product), first_line, _ground(annotation))


def _identity(product: ProductFolder) -> str:
    return (product.folder if product.folder.suffix == ".SAFE" else product.path).stem


def _annotation_names(product: ProductFolder, allow_single: bool) -> dict[str, str]:
    """Return the annotation of each band."""
    single = allow_single and not product.names("annotation/s1*-iw-grd-vh-*.xml")
    return {band: _annotation_name(product, band) for band in (("VV",) if single else SENTINEL1.bands)}


def _annotation_name(product: ProductFolder, band: str) -> str:
    names = product.names(f"annotation/s1*-iw-grd-{band.lower()}-*.xml")
    if len(names) != 1:
        expected = "expected a Sentinel-1 IW GRDH product with one image each of VV and VH"
        raise InputError(f"{named(product.path)} is {kind_of(product)} with {len(names)} images of {band}, {expected}")
    return names[0]


def _refuse_other_modes(product: ProductFolder, annotation: XmlElement) -> None:
    mode, kind = annotation.one("mode").text, annotation.one("productType").text
    spacing = annotation.one("imageInformation").one("rangePixelSpacing").number
    if (mode, kind) != ("IW", "GRD") or not _FINEST_SPACING_M <= spacing <= _COARSEST_SPACING_M:
        found = f"Sentinel-1 {mode[:4]} {kind[:4]} of {spacing:g} m"
        raise InputError(f"{named(product.path)} is {found}, expected IW GRD of high resolution (10 m)")


def _channel(product: ProductFolder, band: str, name: str, annotation: XmlElement, processor: float) -> Channel:
    stem = Path(name).stem
    measurement = f"measurement/{stem}.tiff"
    calibration, noise = (XmlElement.read(product.checked(table)) for table in _tables(name))
    information = annotation.one("imageInformation")
    shape = information.one("numberOfLines").whole, information.one("numberOfSamples").whole
    if not all(0 < side <= MAX_SIDE for side in shape):
        raise InputError(
            f"{named(annotation.path)} declares {shape[0]} x {shape[1]} pixels, expected at most {MAX_SIDE}"
        )
    sigma = Table.read(calibration, "calibrationVector", "sigmaNought")
    if min(vector.values.min() for vector in sigma.vectors) <= 0:
        raise InputError(f"{named(calibration.path)} has calibration values that are not positive; fetch it again")
    scaled = noise.first("noiseRangeVector") is not None or processor >= _NOISE_SCALED_SINCE
    return Channel(band, measurement, shape, sigma, ThermalNoise.read(noise) if scaled else ThermalNoise(Table(())))


def _tables(name: str) -> list[str]:
    """Return the names of the calibration and the noise table of an annotation."""
    return [f"annotation/calibration/{kind}-{Path(name).name}" for kind in ("calibration", "noise")]


def _processor(product: ProductFolder) -> float:
    """Return the processor version of a product, 0 if it has no manifest."""
    if product.listed is None:
        return 0.0
    versions = {
        software.attribute("version")
        for software in XmlElement.read(product.folder / "manifest.safe").all("software")
        if software.attribute("name") == "Sentinel-1 IPF"
    }
    numbers = [float(version) for version in versions if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})?", version)]
    return max(numbers, default=0.0)


def _ground(annotation: XmlElement) -> GroundControl:
    points = list(annotation.all("geolocationGridPoint"))
    names = ("line", "pixel", "longitude", "latitude", "height", "slantRangeTime")
    table = np.array([[one.number for one in point.children(names)] for point in points]).reshape(-1, len(names))
    lines, pixels = np.unique(table[:, 0]), np.unique(table[:, 1])
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    regular = len(table) == len(lines) * len(pixels) and min(len(lines), len(pixels)) >= 4
    if not regular or not (np.diff(table[:, 1].reshape(len(lines), -1), axis=0) == 0).all():
        raise InputError(f"{named(annotation.path)} has no regular geolocation grid of 4 x 4 points or more")
    longitude, latitude, height, two_way_s = table[:, 2:].T.reshape(4, len(lines), len(pixels))
    if np.ptp(longitude) > 180:  # over the antimeridian
        longitude = longitude % 360
    if not (np.diff(two_way_s) > 0).all():
        raise InputError(f"{named(annotation.path)} has distances that do not increase; fetch the product again")
    return GroundControl(lines, pixels, longitude, latitude, height, two_way_s * LIGHT_M_S / 2)


def _acquisition(annotation: XmlElement) -> Acquisition:
    information = annotation.one("imageInformation")
    first_line = information.one("productFirstLineUtcTime").time
    orbits = list(annotation.one("orbitList").all("orbit"))
    seconds = np.array([(orbit.one("time").time - first_line).total_seconds() for orbit in orbits])
    if len(orbits) < 6 or not increases(seconds):
        raise InputError(f"{named(annotation.path)} has no six state vectors in order; fetch the product again")
    positions = np.array([[orbit.one("position").one(axis).number for axis in "xyz"] for orbit in orbits])
    return Acquisition(first_line, information.one("azimuthTimeInterval").number, seconds, positions)


def _vectors(markup: XmlElement, vector: str, values: str) -> Iterator[Vector]:
    elements = list(markup.all(vector))
    if not elements or not increases(element.one("line").whole for element in elements):
        raise InputError(f"{named(markup.path)} has no {vector} with increasing lines; fetch the product again")
    for element in elements:
        pixels, found = element.one("pixel").numbers, element.one(values).numbers
        if not pixels.size or pixels.size != found.size or not increases(pixels):
            raise InputError(f"{named(markup.path)} has pixels and values that do not match; fetch the product again")
        yield Vector(element.one("line").whole, pixels, found)


def increases(numbers: Iterable[float]) -> bool:
    """Return whether numbers are strictly increasing."""
    return bool((np.diff(np.fromiter(numbers, np.float64)) > 0).all())


def _between(lines: NDArray[np.int64], stations: NDArray[np.int64], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate known lines linearly."""
    place = np.interp(lines, stations, np.arange(len(stations)))
    before = np.minimum(place.astype(int), len(stations) - 1)
    after = np.minimum(before + 1, len(stations) - 1)
    weight = (place - before).astype(np.float32)[:, None]
    return np.asarray(known[before] * (1 - weight) + known[after] * weight)


def _block(element: XmlElement) -> AzimuthBlock:
    bounds = {
        name: element.one(name).whole
        for name in ("firstAzimuthLine", "lastAzimuthLine", "firstRangeSample", "lastRangeSample")
    }
    stations, factors = element.one("line").numbers, element.one("noiseAzimuthLut").numbers
    if not stations.size or stations.size != factors.size or not increases(stations):
        raise InputError(f"{named(element.path)} has lines and factors that do not match; fetch the product again")
    return AzimuthBlock(
        (bounds["firstAzimuthLine"], bounds["lastAzimuthLine"] + 1),
        (bounds["firstRangeSample"], bounds["lastRangeSample"] + 1),
        stations,
        factors,
    )


def _overlap(block: tuple[int, int], window: slice) -> tuple[int, int] | None:
    first, last = max(block[0], window.start), min(block[1], window.stop)
    return (first, last) if first < last else None
