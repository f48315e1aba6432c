"""What a season changes: the sun, the wetness of the soil, and how far each crop has grown."""

from dataclasses import dataclass
from enum import IntEnum


class Crop(IntEnum):
    """What a field bears."""

    CEREAL = 0
    MAIZE = 1
    RAPE = 2
    LEY = 3


CROP_SHARES = (0.38, 0.26, 0.14, 0.22)
"""How many of the fields bear each :class:`Crop`."""


@dataclass(frozen=True)
class Season:
    """A season of the temperate north; the numbers are plausible, not measured.

    Attributes:
        sun_elevation_deg: Height of the sun at half past ten.
        sun_azimuth_deg: Direction to the sun, clockwise from north.
        moisture: Wetness of the top soil, 0 dry to 1 saturated.
        leaves: Share of the ground under green leaves, for each :class:`Crop`.
        straw: Share of the ground under ripe or dead plants, for each :class:`Crop`.
        blossom: Share of the ground under yellow flowers, for each :class:`Crop`.
        foliage: Share of green leaves in the crowns of broad-leaved trees; the rest is brown or bare.
    """

    sun_elevation_deg: float
    sun_azimuth_deg: float
    moisture: float
    leaves: tuple[float, float, float, float]
    straw: tuple[float, float, float, float]
    blossom: tuple[float, float, float, float]
    foliage: float


SEASONS = {
    "spring": Season(52, 152, 0.50, (0.78, 0.06, 0.50, 0.72), (0.02, 0.10, 0.00, 0.08), (0, 0, 0.40, 0.02), 0.75),
    "summer": Season(60, 146, 0.25, (0.24, 0.88, 0.34, 0.70), (0.56, 0.02, 0.40, 0.12), (0, 0, 0.00, 0.00), 1.00),
    "fall": Season(37, 164, 0.50, (0.22, 0.34, 0.48, 0.60), (0.18, 0.42, 0.02, 0.18), (0, 0, 0.00, 0.00), 0.55),
    "winter": Season(24, 166, 0.75, (0.34, 0.03, 0.44, 0.48), (0.03, 0.22, 0.05, 0.26), (0, 0, 0.00, 0.00), 0.15),
}
"""The four seasons of SEN12MS-CR, by the names in its paths."""
