"""How far regions lie apart on the globe, by the circles around them: never nearer than these, whatever their shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64
from shapely.geometry import shape

EARTH_KM = 6371.0088
"""Mean radius; the flattening changes distances by up to 0.6 %."""


@dataclass(frozen=True)
class Circle:
    """A circle on the globe.

    Attributes:
        longitude: Of its centre, in degrees.
        latitude: Idem.
        radius_km: Along the ground.
    """

    longitude: float
    latitude: float
    radius_km: float

    def gap_km(self, other: "Circle") -> float:
        """Return the distance between two circles; negative where they overlap."""
        return float(gaps_km([self, other])[0, 1])


def gaps_km(circles: Sequence[Circle]) -> Float64[np.ndarray, "circle circle"]:
    """Return the distances between all circles; negative where they overlap."""
    return gaps_between(circles, circles)


def gaps_between(first: Sequence[Circle], second: Sequence[Circle]) -> Float64[np.ndarray, "first second"]:
    """Return the distances of some circles to others; negative where they overlap."""
    (places, radius), (others, other_radius) = _placed(first), _placed(second)
    chord = np.linalg.norm(places[:, None] - others[None], axis=-1)
    return np.asarray(2 * np.arcsin(np.clip(chord / 2, 0, 1)) * EARTH_KM - radius[:, None] - other_radius)


def _placed(circles: Sequence[Circle]) -> tuple[Float64[np.ndarray, "circle 3"], Float64[np.ndarray, " circle"]]:
    places = unit_vectors(np.array([[one.longitude, one.latitude] for one in circles], float).reshape(-1, 2))
    return places, np.array([one.radius_km for one in circles], float)


def circle_around(footprint: Mapping[str, Any]) -> Circle:
    """Return a circle around a footprint, also one that the antimeridian cuts in two.

    Args:
        footprint: GeoJSON geometry in degrees.
    """
    points = unit_vectors(shapely.get_coordinates(shape(footprint)))
    centre = points.min(axis=0) + points.max(axis=0)
    centre /= np.linalg.norm(centre)
    radius = 2 * np.arcsin(np.linalg.norm(points - centre, axis=1).max() / 2) * EARTH_KM
    longitude, latitude = np.degrees([np.arctan2(centre[1], centre[0]), np.arcsin(np.clip(centre[2], -1, 1))])
    return Circle(float(longitude), float(latitude), float(radius))


def groups_within(circles: Sequence[Circle], gap_km: float) -> list[list[int]]:
    """Group circles that lie nearer than a gap to each other, directly or by others in between."""
    near = gaps_km(circles) < gap_km
    group = list(range(len(circles)))
    for second, first in np.argwhere(np.tril(near, -1)).tolist():
        old, new = group[second], group[first]
        group = [new if one == old else one for one in group]
    return [[index for index, one in enumerate(group) if one == name] for name in dict.fromkeys(group)]


def unit_vectors(degrees: Float64[np.ndarray, "point 2"]) -> Float64[np.ndarray, "point 3"]:
    """Return places, given as longitude and latitude, as vectors of length 1."""
    longitude, latitude = np.radians(degrees.T)
    return np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], 1)
