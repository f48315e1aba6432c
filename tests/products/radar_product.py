"""A simulated Sentinel-1 GRD product, complete and of any size: annotations as Copernicus writes them, and images."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from jaxtyping import Float64, UInt16
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from products.manifest import Checksum, write_manifest

LIGHT_M_S = 299_792_458.0

GRID_STEPS = 5
"""Rows and columns of the geolocation grid, less one."""

_VECTOR_STEP = 40

_BETA = 474.0


@dataclass(frozen=True)
class RadarGeometry:
    """A circular orbit that passes north over a place, and a radar that looks east.

    Attributes:
        longitude: Of the place below the satellite at the first line, in degrees.
        latitude: Idem.
        altitude_m: Of the orbit.
        near_m: Slant range of the first pixel.
        line_s: Time from line to line: 10 m on the ground.
        slant_step_m: Slant range from pixel to pixel: 10 m on the ground at 35 degrees.
    """

    longitude: float = 8.0
    latitude: float = 44.0
    altitude_m: float = 700_000.0
    near_m: float = 850_000.0
    line_s: float = 0.0015
    slant_step_m: float = 5.9

    def satellite(self, seconds: Float64[np.ndarray, " n"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return position and velocity, earth-centred and earth-fixed, of shape (n, 3)."""
        east, north = np.radians(self.longitude), np.radians(self.latitude)
        up = np.array([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
        ahead = np.array([-np.sin(north) * np.cos(east), -np.sin(north) * np.sin(east), np.cos(north)])
        radius = _AXES_M[0] + self.altitude_m
        rate = np.sqrt(_GRAVITY_M3_S2 / radius**3)
        cosine, sine = np.cos(rate * seconds)[:, None], np.sin(rate * seconds)[:, None]
        return radius * (cosine * up + sine * ahead), radius * rate * (cosine * ahead - sine * up)

    def place(
        self, line: Float64[np.ndarray, " n"], pixel: Float64[np.ndarray, " n"], height_m: float = 0.0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return longitude and latitude of pixels at a height above the ellipsoid.

        Newton's method on three equations: distance to the satellite, no Doppler shift, height.
        """
        position, velocity = self.satellite(line * self.line_s)
        slant = self.near_m + pixel * self.slant_step_m
        axes = _AXES_M + height_m
        down = -position / np.linalg.norm(position, axis=1, keepdims=True)
        right = np.cross(velocity, -down)
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        ground = position + slant[:, None] * (0.8 * down + 0.6 * right)
        for _ in range(_NEWTON_STEPS):
            away = ground - position
            equations = np.stack(
                [(away**2).sum(1) - slant**2, (away * velocity).sum(1), ((ground / axes) ** 2).sum(1) - 1], axis=1
            )
            slopes = np.stack([2 * away, velocity, 2 * ground / axes**2], axis=1)
            ground = ground - np.linalg.solve(slopes, equations[..., None])[..., 0]
        longitude, latitude, _ = _TO_DEGREES.transform(*ground.T)
        return np.asarray(longitude), np.asarray(latitude)


@dataclass(frozen=True)
class RadarProduct:
    """Annotations of a simulated product.

    Attributes:
        mode: Acquisition mode.
        kind: Product type.
        processor: Version of the processor.
        noise: Format of the noise: along range and azimuth (since March 2018), along the range, or zeros (until 2015).
        noise_power: Level of the noise at the first pixel, in squared digital numbers.
        sigma_slopes: By how much the calibration table rises from line to line and from pixel to pixel, from 660.
        noise_slopes: Idem of the noise, as a share of its level.
        acquired: Time of the first line, in UTC.
        geometry: From where it is seen.
        pixel_m: Pixel spacing.
        checksum: Algorithm of the manifest.
        mission: Satellite, S1A to S1D.
        orbit: Direction of the pass.
        cog: Whether it is of the kind COG_SAFE of the Copernicus Data Space, with tiled images.
    """

    mode: str = "IW"
    kind: str = "GRD"
    processor: str = "003.31"
    noise: Literal["range and azimuth", "range", "zeros"] = "range and azimuth"
    noise_power: float = 400.0
    sigma_slopes: tuple[float, float] = (0.2, -0.5)
    noise_slopes: tuple[float, float] = (0.001, -0.002)
    acquired: datetime = datetime(2021, 9, 7, 17, 6, 50, 54_569, tzinfo=UTC)
    geometry: RadarGeometry = field(default_factory=RadarGeometry)
    pixel_m: float = 10.0
    checksum: Checksum = "MD5"
    mission: str = "S1A"
    orbit: str = "Ascending"
    cog: bool = False

    @property
    def identity(self) -> str:
        """Name of the product's folder, without ``.SAFE``."""
        start = self.acquired.strftime("%Y%m%dT%H%M%S")
        end = "_COG" if self.cog else ""
        return f"{self.mission}_{self.mode}_{self.kind}H_1SDV_{start}_{start}_039571_04AC9A_3768{end}"

    def stem(self, band: str) -> str:
        """Return the common part of the names of a band's files."""
        start = self.acquired.strftime("%Y%m%dt%H%M%S")
        number = {"VV": "001", "VH": "002"}[band]
        end = "-cog" if self.cog else ""
        return f"{self.mission}-{self.mode}-{self.kind}-{band}-{start}-{start}-039571-04ac9a-{number}{end}".lower()

    def sigma(self, line: float, pixel: float) -> float:
        """Return the calibration table's value A at a node."""
        return 660.0 + self.sigma_slopes[0] * line + self.sigma_slopes[1] * pixel

    def noise_along_range(self, line: float, pixel: float) -> float:
        """Return the noise table's value at a node."""
        down, right = self.noise_slopes
        return 0.0 if self.noise == "zeros" else self.noise_power * (1 + down * line + right * pixel)

    def noise_along_azimuth(self, line: float) -> float:
        """Return the factor of the noise at a node."""
        return 1.0 + 2 * self.noise_slopes[0] * line if self.noise == "range and azimuth" else 1.0


def write_radar_product(
    root: Path, numbers: Mapping[str, UInt16[np.ndarray, "lines samples"]], product: RadarProduct
) -> Path:
    """Write a product; return its folder.

    Args:
        root: Folder that will hold the product's folder.
        numbers: Digital numbers of VV and VH, or of VV alone.
        product: Annotations.
    """
    folder = root / f"{product.identity}.SAFE"
    for band, values in numbers.items():
        lines, samples = values.shape
        _write(folder / f"annotation/{product.stem(band)}.xml", _annotation(product, band, lines, samples))
        for kind, text in (("calibration", _calibration), ("noise", _noise)):
            _write(
                folder / f"annotation/calibration/{kind}-{product.stem(band)}.xml", text(product, band, lines, samples)
            )
        _write_image(folder / f"measurement/{product.stem(band)}.tiff", values, product)
    software = f'        <safe:software name="Sentinel-1 IPF" version="{product.processor}"/>\n'
    write_manifest(folder, f"Sentinel-1 {product.mode} Level-1 {product.kind} Product", product.checksum, software)
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}')


def _write_image(path: Path, values: UInt16[np.ndarray, "lines samples"], product: RadarProduct) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [
        GroundControlPoint(row=line, col=pixel, x=longitude, y=latitude, z=0)
        for line, pixel, longitude, latitude in _grid(product, *values.shape)
    ]
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": "uint16"}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64} if product.cog else {"blockysize": 1}
        with rasterio.open(path, "w", gcps=points, crs="EPSG:4326", **blocks, **profile) as file:
            file.write(values, 1)


def _grid(product: RadarProduct, lines: int, samples: int) -> list[tuple[float, float, float, float]]:
    """Return line, pixel, longitude and latitude of the geolocation grid."""
    line, pixel = (np.unique(np.linspace(0, side - 1, GRID_STEPS + 1).round()) for side in (lines, samples))
    line, pixel = (axis.ravel() for axis in np.meshgrid(line, pixel, indexing="ij"))
    longitude, latitude = product.geometry.place(line, pixel)
    return list(zip(line.tolist(), pixel.tolist(), longitude.tolist(), latitude.tolist(), strict=True))


def _time(product: RadarProduct, seconds: float) -> str:
    return (product.acquired + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _header(product: RadarProduct, band: str) -> str:
    return f"""\
  <adsHeader>
    <missionId>{product.mission}</missionId>
    <productType>{product.kind}</productType>
    <polarisation>{band}</polarisation>
    <mode>{product.mode}</mode>
    <swath>{product.mode}</swath>
    <startTime>{_time(product, 0)}</startTime>
  </adsHeader>
"""


def _annotation(product: RadarProduct, band: str, lines: int, samples: int) -> str:
    orbit_s = np.arange(-80.0, 81.0, 10.0)
    orbits = zip(orbit_s, product.geometry.satellite(orbit_s)[0], strict=True)
    states = "".join(_orbit(product, seconds, position) for seconds, position in orbits)
    points = "".join(_point(product, *point) for point in _grid(product, lines, samples))
    return f"""\
<product>
{_header(product, band)}  <generalAnnotation>
    <productInformation><pass>{product.orbit}</pass></productInformation>
    <orbitList>
{states}    </orbitList>
  </generalAnnotation>
  <imageAnnotation>
    <imageInformation>
      <productFirstLineUtcTime>{_time(product, 0)}</productFirstLineUtcTime>
      <slantRangeTime>{2 * product.geometry.near_m / LIGHT_M_S:.15e}</slantRangeTime>
      <rangePixelSpacing>{product.pixel_m:.6e}</rangePixelSpacing>
      <azimuthPixelSpacing>{product.pixel_m:.6e}</azimuthPixelSpacing>
      <azimuthTimeInterval>{product.geometry.line_s:.15e}</azimuthTimeInterval>
      <numberOfSamples>{samples}</numberOfSamples>
      <numberOfLines>{lines}</numberOfLines>
    </imageInformation>
  </imageAnnotation>
  <geolocationGrid>
    <geolocationGridPointList>
{points}    </geolocationGridPointList>
  </geolocationGrid>
</product>
"""


def _orbit(product: RadarProduct, seconds: float, position: np.ndarray) -> str:
    x, y, z = position
    return f"""\
      <orbit>
        <time>{_time(product, seconds)}</time>
        <frame>Earth Fixed</frame>
        <position><x>{x:.15e}</x><y>{y:.15e}</y><z>{z:.15e}</z></position>
      </orbit>
"""


def _point(product: RadarProduct, line: float, pixel: float, longitude: float, latitude: float) -> str:
    slant_m = product.geometry.near_m + pixel * product.geometry.slant_step_m
    return f"""\
      <geolocationGridPoint>
        <azimuthTime>{_time(product, line * product.geometry.line_s)}</azimuthTime>
        <slantRangeTime>{2 * slant_m / LIGHT_M_S:.15e}</slantRangeTime>
        <line>{line:.0f}</line>
        <pixel>{pixel:.0f}</pixel>
        <latitude>{latitude:.15e}</latitude>
        <longitude>{longitude:.15e}</longitude>
        <height>0.000000000000000e+00</height>
        <incidenceAngle>3.500000000000000e+01</incidenceAngle>
        <elevationAngle>3.100000000000000e+01</elevationAngle>
      </geolocationGridPoint>
"""


def _nodes(side: int, step: int = _VECTOR_STEP) -> list[int]:
    return [*range(0, side - 1, step), side - 1]


def _numbers(name: str, values: list[float]) -> str:
    text = " ".join(f"{value:.6e}" if isinstance(value, float) else str(value) for value in values)
    return f'      <{name} count="{len(values)}">{text}</{name}>\n'


def _calibration(product: RadarProduct, band: str, lines: int, samples: int) -> str:
    vectors = "".join(_calibration_vector(product, line, _nodes(samples)) for line in _vector_lines(lines))
    constant = "<absoluteCalibrationConstant>1.000000e+00</absoluteCalibrationConstant>"
    table = f"  <calibrationInformation>{constant}</calibrationInformation>\n"
    table += f"  <calibrationVectorList>\n{vectors}  </calibrationVectorList>\n"
    return f"<calibration>\n{_header(product, band)}{table}</calibration>\n"


def _calibration_vector(product: RadarProduct, line: int, pixels: list[int]) -> str:
    sigma = [product.sigma(line, pixel) for pixel in pixels]
    tables = {"sigmaNought": sigma, "betaNought": [_BETA] * len(sigma), "gamma": [0.93 * value for value in sigma]}
    tables["dn"] = tables["betaNought"]
    return (
        f"    <calibrationVector>\n      <azimuthTime>{_time(product, line * product.geometry.line_s)}</azimuthTime>\n"
        f"      <line>{line}</line>\n{_numbers('pixel', list(pixels))}"
        f"{''.join(_numbers(name, values) for name, values in tables.items())}    </calibrationVector>\n"
    )


def _vector_lines(lines: int) -> list[int]:
    """Return the lines of the vectors: every second, in products of real size."""
    return _nodes(lines, _VECTOR_STEP if lines < 1_000 else 667)


def _noise(product: RadarProduct, band: str, lines: int, samples: int) -> str:
    name, values = ("noiseRangeVector", "noiseRangeLut") if "azimuth" in product.noise else ("noiseVector", "noiseLut")
    pixels = _nodes(samples)
    vectors = "".join(
        f"    <{name}>\n      <line>{line}</line>\n{_numbers('pixel', list(pixels))}"
        f"{_numbers(values, [product.noise_along_range(line, pixel) for pixel in pixels])}    </{name}>\n"
        for line in _vector_lines(lines)
    )
    blocks = _azimuth(product, lines, samples) if "azimuth" in product.noise else ""
    return f"<noise>\n{_header(product, band)}  <{name}List>\n{vectors}  </{name}List>\n{blocks}</noise>\n"


def _azimuth(product: RadarProduct, lines: int, samples: int) -> str:
    stations = _nodes(lines, 10)
    factors = [product.noise_along_azimuth(line) for line in stations]
    return f"""\
  <noiseAzimuthVectorList count="1">
    <noiseAzimuthVector>
      <swath>IW1</swath>
      <firstAzimuthLine>0</firstAzimuthLine>
      <firstRangeSample>0</firstRangeSample>
      <lastAzimuthLine>{lines - 1}</lastAzimuthLine>
      <lastRangeSample>{samples - 1}</lastRangeSample>
{_numbers("line", list(stations))}{_numbers("noiseAzimuthLut", factors)}\
    </noiseAzimuthVector>
  </noiseAzimuthVectorList>
"""


# How a simulated satellite looks at the ground: an orbit, and where on Earth each line and pixel of its image lies.


_AXES_M = np.array([6_378_137.0, 6_378_137.0, 6_356_752.314245])

_GRAVITY_M3_S2 = 3.986004418e14

_NEWTON_STEPS = 12

_TO_DEGREES = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
