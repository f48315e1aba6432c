"""How an invented satellite looks at the ground: an orbit, and where on Earth each line and pixel of its image lies."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from pyproj import Transformer

_AXES_M = np.array([6_378_137.0, 6_378_137.0, 6_356_752.314245])
_GRAVITY_M3_S2 = 3.986004418e14
_NEWTON_STEPS = 12

_TO_DEGREES = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)


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
