"""Position of the sun: given by the user or by metadata, or computed from time and place."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from unclouded.errors import InputError

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Sun:
    """Position of the sun.

    Attributes:
        azimuth_deg: Azimuth, degrees clockwise from north.
        elevation_deg: Elevation above the horizon, degrees.

    Raises:
        InputError: The azimuth is outside 0 to 360, or the elevation is not above 0 and up to 90.
    """

    azimuth_deg: float
    elevation_deg: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.azimuth_deg <= 360.0 and 0.0 < self.elevation_deg <= 90.0):
            raise InputError(
                f"expected a sun azimuth of 0 to 360 and an elevation above 0 and up to 90 degrees, found "
                f"{self.azimuth_deg:g} and {self.elevation_deg:g}; give AZIMUTH,ELEVATION, such as 155,42"
            )

    @classmethod
    def parse(cls, text: str) -> "Sun":
        """Return the position that a text such as ``155,42`` gives as azimuth and elevation.

        Raises:
            InputError: The text is not two numbers in their ranges.
        """
        try:
            azimuth, elevation = (float(part) for part in text.split(","))
        except ValueError:
            raise InputError(
                f"expected azimuth and elevation of the sun in degrees, such as 155,42, found {text[:40]!r}"
            ) from None
        return cls(azimuth, elevation)

    def towards_m(self, height_m: float) -> tuple[float, float]:
        """Return the way (south, east) in metres from a shadow to the object at some height that casts it.

        A cloud that covers the sun for a point on the ground stands in the direction of the sun.
        """
        distance = height_m / np.tan(np.radians(self.elevation_deg))
        azimuth = np.radians(self.azimuth_deg)
        return float(-np.cos(azimuth) * distance), float(np.sin(azimuth) * distance)


def sun_position(time: datetime, longitude_deg: float, latitude_deg: float) -> Sun | None:
    """Return the position of the sun within a few hundredths of a degree; None if it is below the horizon.

    Low-precision formula of the Astronomical Almanac, valid from 1950 to 2050; without refraction, as the angles in the
    metadata of Sentinel-2.

    Args:
        time: Time with a time zone.
        longitude_deg: Longitude, east positive.
        latitude_deg: Latitude, north positive.
    """
    days = (time - _J2000).total_seconds() / 86_400
    anomaly = np.radians(357.528 + 0.9856003 * days)
    ecliptic = np.radians(280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    tilt = np.radians(23.439 - 4e-7 * days)
    ascension = np.arctan2(np.cos(tilt) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(tilt) * np.sin(ecliptic))
    sidereal = np.radians((18.697374558 + 24.06570982441908 * days) * 15 + longitude_deg)
    hour, latitude = sidereal - ascension, np.radians(latitude_deg)
    elevation = np.arcsin(
        np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
    )
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(hour)
    if elevation <= 0.0:
        return None
    return Sun(float(np.degrees(np.arctan2(east, north)) % 360), float(np.degrees(elevation)))
