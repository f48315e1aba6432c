"""Radar images as common processors deliver them: unit and radiometry by name, incidence angle, one polarisation.

Networks and priors are for sigma0 of VV and VH. Terrain-corrected products (RTC) hold gamma0, which is sigma0 divided
by the cosine of the incidence angle; :class:`IncidenceAngle` converts it. :func:`with_estimated_vh` completes an image
of VV alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import is_file, named
from unclouded.io.geotiff import image_bands, open_geotiff, read_stored
from unclouded.io.raster import band_named, describe_grid, same_grid
from unclouded.io.strips import RowReader
from unclouded.sensors import SENTINEL1
from unclouded.sentinel.identify import SUFFIXES, BandStack, GeoTiff
from unclouded.sentinel.radar_units import RadarUnits
from unclouded.sentinel.regridding import warp_bilinear

RadarRadiometry = Literal["sigma0", "gamma0"]
"""Backscatter per ground area, or per area perpendicular to the line of sight."""


@dataclass(frozen=True)
class Delivery:
    """Unit and radiometry of the images of a processor.

    Attributes:
        processor: Name for messages.
        units: Units of the numbers.
        radiometry: Radiometry.
    """

    processor: str
    units: RadarUnits
    radiometry: RadarRadiometry


_OPERA = re.compile(r"OPERA_L2_RTC-S1_")
_HYP3 = re.compile(r"S1[A-D]_IW_\d{8}T\d{6}_[A-Z]{3}_RTC\d\d_G_([gs])([pda])")
_PLANETARY_COMPUTER = re.compile(r"iw-v[vh]\.rtc", re.IGNORECASE)


def delivery_of(name: str) -> Delivery | None:
    """Return unit and radiometry that the name of a file states; None for names of other processors.

    Raises:
        InputError: The name states amplitude.
    """
    if _OPERA.match(name):
        return Delivery("OPERA RTC-S1", "linear", "gamma0")
    if _PLANETARY_COMPUTER.match(name):
        return Delivery("Planetary Computer RTC", "linear", "gamma0")
    if not (match := _HYP3.match(name)):
        return None
    if match[2] == "a":
        raise InputError(f"{name[:100]} is amplitude by its name (HyP3), expected power or dB; order it as power")
    radiometry: RadarRadiometry = "gamma0" if match[1] == "g" else "sigma0"
    return Delivery("HyP3 RTC", "linear" if match[2] == "p" else "dB", radiometry)


def files_of(source: BandStack | GeoTiff) -> tuple[Path, ...]:
    """Return the files of an image."""
    if isinstance(source, GeoTiff):
        return (source.path,)
    return tuple(path for places in source.files.values() for path in places)


def bursts_of(source: BandStack) -> list[BandStack]:
    """Return the images of a folder with several, such as the bursts of OPERA: files that differ in the band only."""
    groups: dict[str, dict[str, tuple[Path, ...]]] = defaultdict(dict)
    for band, places in source.files.items():
        for path in places:
            key = re.sub(rf"(?i)(?<![A-Z]){band}(?![A-Z])", "*", path.stem)
            groups[key][band] = (*groups[key].get(band, ()), path)
    complete = [files for files in groups.values() if set(files) == set(source.files)]
    if len(complete) < len(groups) or len(groups) == 1:
        return [source]
    return [BandStack(source.path, files) for files in complete]


def polarisations(source: BandStack | GeoTiff) -> tuple[str, ...]:
    """Return the polarisations of an image: VV and VH, or VV alone.

    Raises:
        InputError: A single band is not VV.
    """
    if isinstance(source, BandStack):
        return SENTINEL1.bands if "VH" in source.files else ("VV",)
    with open_geotiff(source.path) as file:
        if len(image_bands(file)) != 1:
            return SENTINEL1.bands
        described = str(file.descriptions[0] or "")
    found = band_named(described, SENTINEL1) or band_named(source.path.stem, SENTINEL1)
    if found != "VV":
        raise InputError(
            f"{named(source.path)} has one band, {found or 'of unknown polarisation'}, expected VV and VH, or VV alone "
            "with that name; give the folder of both files"
        )
    return ("VV",)


# One polarisation.

VH_BELOW_VV_DB = 6.5
"""Median of VV - VH of land in real pixels of many places and months (``proofs/single_polarisation.py``)."""

SINGLE = (
    f"the radar has VV alone: VH is taken as VV - {VH_BELOW_VV_DB:g} dB, the median over land, so that the prediction "
    "rests on one polarisation"
)


def with_estimated_vh(read: RowReader[NDArray[np.float32]]) -> RowReader[NDArray[np.float32]]:
    """Return a reader of VV and VH for a reader of VV in dB."""

    def read_both(top: int, bottom: int) -> Float32[np.ndarray, "2 rows x"]:
        vv = read(top, bottom)
        return np.concatenate([vv, vv - np.float32(VH_BELOW_VV_DB)])

    return read_both


# Gamma0 and the incidence angle.

MIDDLE_DEG = 38.8
"""Incidence angle whose cosine is in the middle of those of IW, 29.1 to 46.0 degrees, in dB: -1.08 dB +- 0.5 dB."""

NO_ANGLE = (
    f"gamma0 was converted to sigma0 with an incidence angle of {MIDDLE_DEG:g} degrees, wrong by at most 0.5 dB at the "
    "edges of the swath; give the incidence angle (--incidence) for an exact conversion"
)
_MOST_RADIANS, _LEAST_DEG, _MOST_DEG = 1.6, 10.0, 80.0
"""Largest angle in radians, and range of the median angle in degrees: IW has 29 to 46."""
_ANGLE_FILE = re.compile(r"(?:inc_map_ell|(?<!local_)incidence_angle)$")
"""Names of the angle above the ellipsoid beside the images of HyP3 and OPERA."""


@dataclass(frozen=True, eq=False)
class IncidenceAngle:
    """Incidence angle above the ellipsoid.

    Attributes:
        path: Source file.
        cosine: Cosine of the angle; NaN for no data.
        geobox: Grid.
    """

    path: Path
    cosine: Float32[np.ndarray, "y x"]
    geobox: GeoBox

    @classmethod
    def read(cls, path: Path) -> "IncidenceAngle":
        """Read a GeoTIFF with one band of angles, in degrees or radians.

        Raises:
            InputError: The file is not a readable GeoTIFF, has several bands, or holds impossible angles.
        """
        stored = read_stored(path)
        if len(stored.values) != 1:
            raise InputError(f"{named(path)} has {len(stored.values)} bands, expected one of incidence angles")
        angle = stored.values[0].astype(np.float32)
        angle[stored.is_gap[0]] = np.nan
        known = angle[np.isfinite(angle) & (angle > 0)]
        middle = float(np.median(known)) if known.size else 0.0
        degrees = np.degrees(angle) if 0 < middle <= _MOST_RADIANS else angle
        middle = float(np.degrees(middle)) if 0 < middle <= _MOST_RADIANS else middle
        if not _LEAST_DEG <= middle <= _MOST_DEG:
            raise InputError(
                f"{named(path)} has a median of {middle:.3g} degrees, expected incidence angles of 29 to 46 degrees, "
                "in degrees or radians; give the incidence angle above the ellipsoid"
            )
        cosine = np.cos(np.radians(degrees)).astype(np.float32)
        cosine[~((degrees > 0) & (degrees < 90))] = np.nan
        return cls(path, cosine, stored.geobox)

    def require_over(self, geobox: GeoBox) -> None:
        """Refuse an angle without CRS on another grid.

        Raises:
            InputError: The grids cannot be compared.
        """
        if not same_grid(self.geobox, geobox) and (self.geobox.crs is None or geobox.crs is None):
            grids = f"({describe_grid(self.geobox)}, not {describe_grid(geobox)})"
            raise InputError(f"{named(self.path)} lies on another grid than the scene {grids}; warp it first")

    def on(self, geobox: GeoBox) -> Float32[np.ndarray, "y x"]:
        """Return the cosine on a part of a map, interpolated bilinearly; NaN for no data."""
        if self.geobox.crs is None:
            top = round((~self.geobox.affine * (geobox.affine.c, geobox.affine.f))[1])
            return self.cosine[top : top + geobox.shape[0]]
        found = np.full(geobox.shape, np.nan, np.float32)
        warp_bilinear(self.cosine, self.geobox, found, geobox)
        return found


def angle_beside(source: BandStack | GeoTiff) -> Path | None:
    """Return the incidence angle that a processor delivers beside its images; None if there is none."""
    if isinstance(source, GeoTiff):
        return None
    return next(iter(sorted(_angle_files(source.path))), None)


def _angle_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and _ANGLE_FILE.search(path.stem) and is_file(path):
            yield path


def to_sigma0(
    read: RowReader[NDArray[np.float32]], geobox: GeoBox, angle: IncidenceAngle | None
) -> RowReader[NDArray[np.float32]]:
    """Return a reader of sigma0 in dB for a reader of gamma0 in dB.

    Args:
        read: Reader of rows of a grid.
        geobox: The grid.
        angle: Incidence angle; :data:`MIDDLE_DEG` everywhere if omitted.
    """
    middle_db = np.float32(10 * np.log10(np.cos(np.radians(MIDDLE_DEG))))

    def read_sigma0(top: int, bottom: int) -> Float32[np.ndarray, "band rows x"]:
        gamma0 = read(top, bottom)
        if angle is None:
            return gamma0 + middle_db
        cosine = angle.on(geobox[top:bottom, :])
        return gamma0 + np.where(np.isfinite(cosine), 10 * np.log10(cosine), middle_db).astype(np.float32)

    return read_sigma0


def stated_by(files: Sequence[Path]) -> Delivery | None:
    """Return the unit and radiometry that the names of all files state; None if they state none, or different ones."""
    found = {delivery_of(path.name) for path in files}
    return next(iter(found)) if len(found) == 1 else None
