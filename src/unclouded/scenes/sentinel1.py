"""What the annotations of a Sentinel-1 IW GRDH product say; other products by their name."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.scenes.kinds import kind_of
from unclouded.scenes.lookup import Table, increases
from unclouded.scenes.markup import Markup
from unclouded.scenes.noise import ThermalNoise
from unclouded.scenes.safe import ProductFolder
from unclouded.sensors import SENTINEL1

MAX_SIDE = 60_000
"""Most lines or samples of an image; those of IW GRDH have about 17,000 lines and 26,000 samples."""
LIGHT_M_S = 299_792_458.0
_NOISE_SCALED_SINCE = 2.5
"""Version of the processor that first gives thermal noise in squared digital numbers; 2.36 gives zeros."""
_FINEST_SPACING_M, _COARSEST_SPACING_M = 5.0, 15.0
"""Pixel spacing of high resolution is 10 m; of medium resolution 40 m."""


@dataclass(frozen=True, eq=False)
class GroundControl:
    """The geolocation grid: where some lines and pixels lie on the ground.

    Attributes:
        lines: Of the rows of the grid.
        pixels: Of its columns.
        longitude: In degrees.
        latitude: In degrees.
        height_m: Above the ellipsoid.
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
    """When the image was taken, and from where.

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


@dataclass(frozen=True, eq=False)
class Channel:
    """One polarisation.

    Attributes:
        polarisation: VV or VH.
        measurement: Name of its image in the product's folder.
        shape: Lines and samples.
        sigma: The calibration table A: sigma0 = power / A squared.
        noise: What the instrument adds to the power; zero where the product does not tell, or by an unknown scale.
    """

    polarisation: str
    measurement: str
    shape: tuple[int, int]
    sigma: Table
    noise: ThermalNoise


@dataclass(frozen=True, eq=False)
class Sentinel1Product:
    """What is known of a product before a pixel is read.

    Attributes:
        identity: Name of the product, without ``.SAFE``.
        acquired: Time of the first line, in UTC.
        processor: Version of the processor, such as 3.31.
        channels: VV and VH.
        ground: Where the image lies.
        acquisition: How it was taken.
    """

    identity: str
    acquired: datetime
    processor: float
    channels: tuple[Channel, ...]
    ground: GroundControl
    acquisition: Acquisition


def describe_radar_product(product: ProductFolder) -> Sentinel1Product:
    """Read the annotations of an IW GRDH product with VV and VH.

    Raises:
        InputError: Another product, which is named; annotations that are damaged, or that no product can have.
    """
    images = {band: _annotation_name(product, band) for band in SENTINEL1.bands}
    annotations = {band: Markup.read(product.checked(name)) for band, name in images.items()}
    for annotation in annotations.values():
        _refuse_other_modes(product, annotation)
    processor = _processor(product)
    channels = tuple(_channel(product, band, images[band], annotations[band], processor) for band in SENTINEL1.bands)
    if channels[0].shape != channels[1].shape:
        raise InputError(f"{named(product.path)} has VV and VH of different sizes; fetch the product again")
    acquisition = _acquisition(annotations["VV"])
    return Sentinel1Product(
        identity=(product.folder if product.folder.suffix == ".SAFE" else product.path).stem,
        acquired=acquisition.first_line,
        processor=processor,
        channels=channels,
        ground=_ground(annotations["VV"]),
        acquisition=acquisition,
    )


def _annotation_name(product: ProductFolder, band: str) -> str:
    names = product.names(f"annotation/s1*-iw-grd-{band.lower()}-*.xml")
    if len(names) != 1:
        wanted = "expected a Sentinel-1 IW GRDH product with one image each of VV and VH"
        raise InputError(f"{named(product.path)} is {kind_of(product)} with {len(names)} images of {band}, {wanted}")
    return names[0]


def _refuse_other_modes(product: ProductFolder, annotation: Markup) -> None:
    mode, kind = annotation.one("mode").text, annotation.one("productType").text
    spacing = annotation.one("imageInformation").one("rangePixelSpacing").number
    if (mode, kind) != ("IW", "GRD") or not _FINEST_SPACING_M <= spacing <= _COARSEST_SPACING_M:
        found = f"Sentinel-1 {mode[:4]} {kind[:4]} of {spacing:g} m"
        raise InputError(f"{named(product.path)} is {found}, expected IW GRD of high resolution (10 m)")


def _channel(product: ProductFolder, band: str, name: str, annotation: Markup, processor: float) -> Channel:
    stem = Path(name).stem
    measurement = f"measurement/{stem}.tiff"
    tables = [f"annotation/calibration/{kind}-{stem}.xml" for kind in ("calibration", "noise")]
    calibration, noise = (Markup.read(product.checked(table)) for table in tables)
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


def _processor(product: ProductFolder) -> float:
    """Return the version of the processor that made the product, 0 where there is no manifest to tell."""
    if product.listed is None:
        return 0.0
    versions = {
        software.attribute("version")
        for software in Markup.read(product.folder / "manifest.safe").all("software")
        if software.attribute("name") == "Sentinel-1 IPF"
    }
    numbers = [float(version) for version in versions if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})?", version)]
    return max(numbers, default=0.0)


def _ground(annotation: Markup) -> GroundControl:
    points = list(annotation.all("geolocationGridPoint"))
    names = ("line", "pixel", "longitude", "latitude", "height", "slantRangeTime")
    table = np.array([[point.one(name).number for name in names] for point in points]).reshape(-1, len(names))
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


def _acquisition(annotation: Markup) -> Acquisition:
    information = annotation.one("imageInformation")
    first_line = information.one("productFirstLineUtcTime").time
    orbits = list(annotation.one("orbitList").all("orbit"))
    seconds = np.array([(orbit.one("time").time - first_line).total_seconds() for orbit in orbits])
    if len(orbits) < 6 or not increases(seconds):
        raise InputError(f"{named(annotation.path)} has no six state vectors in order; fetch the product again")
    positions = np.array([[orbit.one("position").one(axis).number for axis in "xyz"] for orbit in orbits])
    return Acquisition(first_line, information.one("azimuthTimeInterval").number, seconds, positions)
