"""Open Sentinel-2 image, read by rows as reflectance or as stored integers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer, UInt8
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from unclouded.errors import InputError
from unclouded.files import named
from unclouded.io.raster import check_limits
from unclouded.io.rows import require_rows
from unclouded.io.strips import RowReader
from unclouded.sensors import Level, Sensor, optical_level
from unclouded.sentinel.footprints import centre_deg
from unclouded.sentinel.radiometry import Radiometry
from unclouded.sun import Sun, sun_position

NO_CLASSES = "use another cloud map, such as --clouds product --detector csmask-l2a"
"""Remedy for an image without scene classification."""
_PASS_HOUR, _INCLINATION_DEG, _SWATH_HOURS = 10.5, 98.57, 0.75
"""Local solar time at which the orbit of Sentinel-2 crosses the equator, its inclination, and the tolerance in time."""


@dataclass(frozen=True, eq=False)
class OpticalScene:
    """Open Sentinel-2 image, read by rows.

    Attributes:
        path: Path given by the user.
        sensor: Sentinel-2, Level-1C or Level-2A.
        geobox: 10 m grid; the CRS of a GeoTIFF may be None.
        radiometry: Scale, offset and nodata value of the stored integers.
        identity: Name of the product; None for a GeoTIFF.
        acquired: Acquisition time in UTC; None if unknown, which happens for GeoTIFFs only.
        baseline: Processing baseline; None for a GeoTIFF.
        remarks: Warnings for the user about this input.
        sun: Position of the sun, from the metadata of a product, or from time and place of a GeoTIFF; None if unknown.
        offset_known: Whether a STAC item states the offset.
        names_bands: Whether the order of the bands is certain: of a product, of named files or of named bands.
        factor: Pixels of the image along a side of a pixel of the grid; see :mod:`unclouded.sentinel.target_grid`.
    """

    path: Path
    sensor: Sensor
    geobox: GeoBox
    radiometry: Radiometry
    _read_stored: RowReader[NDArray[np.integer]] = field(repr=False)
    identity: str | None = None
    acquired: datetime | None = None
    baseline: str | None = None
    remarks: tuple[str, ...] = ()
    names_bands: bool = True
    sun: Sun | None = None
    offset_known: bool = False
    factor: int = 1
    _read_classes: RowReader[NDArray[np.uint8]] | None = field(default=None, repr=False)

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names: 13 of Level-1C, 12 of Level-2A."""
        return self.sensor.bands

    @property
    def level(self) -> Level:
        """``L1C`` or ``L2A``."""
        return optical_level(self.sensor)

    @property
    def has_classes(self) -> bool:
        """Whether the image has a scene classification."""
        return self._read_classes is not None

    def classes(self, top: int, bottom: int) -> UInt8[np.ndarray, "rows x"]:
        """Read the scene classification (SCL) of the rows from ``top`` to before ``bottom``; 0 for no data.

        Raises:
            InputError: The image has none, which only L2A products have.
            ValueError: The rows exceed the image.
        """
        if self._read_classes is None:
            raise InputError(
                f"{named(self.path)} has no scene classification (SCL), as L2A products have; {NO_CLASSES}"
            )
        require_rows(self.path, self.geobox, top, bottom)
        return self._read_classes(top, bottom)

    def stored(self, top: int, bottom: int) -> Integer[np.ndarray, "band rows x"]:
        """Read the stored integers of the rows from ``top`` to before ``bottom``; outputs keep them in clear pixels.

        Raises:
            InputError: The rows are damaged.
            ValueError: The rows exceed the image.
        """
        require_rows(self.path, self.geobox, top, bottom)
        return self._read_stored(top, bottom)

    def read(self, top: int, bottom: int, bands: tuple[str, ...] | None = None) -> Float32[np.ndarray, "band rows x"]:
        """Read the rows from ``top`` to before ``bottom`` as reflectance; NaN for no data.

        Args:
            top: First row.
            bottom: Row after the last.
            bands: Bands in the order of the result; all if omitted.

        Raises:
            InputError: The rows are damaged, or hold impossible values.
            ValueError: The rows exceed the image.
        """
        selected = [self.bands.index(band) for band in bands or self.bands]
        reflectance = self.radiometry.picked(selected).decode(self.stored(top, bottom)[selected])
        check_limits(self.path, reflectance, self.sensor)
        return reflectance

    def metadata(self) -> dict[str, str]:
        """Return product, level, time, baseline and radiometry as text, for the tags of files."""
        known = {
            "product": self.identity or self.path.name,
            "level": self.level,
            "acquired": self.acquired.isoformat() if self.acquired else None,
            "baseline": self.baseline,
            "radiometry": str(self.radiometry),
        }
        return {key: value for key, value in known.items() if value is not None}


def sun_of(acquired: datetime | None, geobox: GeoBox) -> Sun | None:
    """Return the position of the sun in the middle of a scene; None without time or CRS.

    A time of day at which Sentinel-2 does not pass stands for an unknown one, such as noon for a date alone.
    """
    place = centre_deg(geobox)
    if acquired is None or place is None:
        return None
    midnight = datetime.combine(acquired.date(), time(), UTC) - timedelta(hours=place[0] / 15)
    along = np.tan(np.radians(place[1])) / abs(np.tan(np.radians(_INCLINATION_DEG)))
    expected = _PASS_HOUR + float(np.degrees(np.arcsin(np.clip(along, -1, 1)))) / 15
    hour = (acquired - midnight) % timedelta(days=1) / timedelta(hours=1)
    return sun_position(
        acquired if abs(hour - expected) <= _SWATH_HOURS else midnight + timedelta(hours=expected), *place
    )
