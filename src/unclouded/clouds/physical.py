"""What the paper's white clouds lack: the colours of thick cloud and of ice, and shadows on the ground."""

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from unclouded.clouds.resolution import PIXEL_M
from unclouded.sensors import SENTINEL2
from unclouded.settings import Settings

# Hundredths; tests/real/test_synthetic.py measures them on real samples and says how.
# fmt: off
#          B01  B02  B03  B04  B05  B06  B07  B08  B8A  B09  B10  B11  B12
_THICK  = ( 86,  91,  91, 100, 100, 107, 113, 108, 118,  36,   1,  96,  76)
_ICE    = ( 96, 100,  94, 100, 100,  94,  92,  96,  90,  86,  38,  39,  41)
_DIRECT = ( 18,  18,  37,  44,  50,  55,  61,  67,  68,  68,   0,  73,  72)
# fmt: on


class ShadowSettings(Settings):
    """Where the sun stands and how high the clouds that cast shadows are.

    Attributes:
        sun_azimuth_deg: Direction to the sun, clockwise from north (up in the image).
        sun_elevation_deg: Height of the sun above the horizon.
        cloud_height_m: Height of the clouds above the ground.
    """

    sun_azimuth_deg: float = Field(default=150.0, ge=0.0, le=360.0)
    sun_elevation_deg: float = Field(default=45.0, ge=5.0, le=90.0)
    cloud_height_m: float = Field(default=1500.0, ge=0.0, le=20_000.0)

    @property
    def towards_sun_px(self) -> tuple[float, float]:
        """Rows and columns from a shadow to the ground right below the cloud that casts it."""
        distance_px = self.cloud_height_m / np.tan(np.radians(self.sun_elevation_deg)) / PIXEL_M
        azimuth = np.radians(self.sun_azimuth_deg)
        return float(-np.cos(azimuth) * distance_px), float(np.sin(azimuth) * distance_px)


def cloud_colour(band: str, ice: Float32[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
    """Return the reflectance of opaque cloud in a band, divided by that in B04.

    Thick cloud is nearly flat but for the bands of water vapour, B09 and B10. Ice lies above the vapour and absorbs in
    B11 and B12: a veil of it that adds a tenth to a visible band makes B10 many times what clear ground shows.

    Args:
        band: Name of the band.
        ice: Share of ice in the cloud, 0 to 1.

    Raises:
        InputError: The name is no band of Sentinel-2.
    """
    thick, frozen = _of(_THICK, band), _of(_ICE, band)
    return np.asarray(thick + (frozen - thick) * ice)


def shaded(
    clear: Float32[np.ndarray, "y x"], band: str, shadow: Float32[np.ndarray, "y x"]
) -> Float32[np.ndarray, "y x"]:
    """Return a band of a clear image whose ground misses a share of the direct sunlight.

    In full shadow remains what the sky lights and what the air itself sends up, a share of the clear reflectance that
    is measured for each band. B10 sees no ground and keeps all.

    Args:
        clear: TOA reflectance.
        band: Name of the band.
        shadow: Share of the direct sunlight that is missing, 0 to 1.

    Raises:
        InputError: The name is no band of Sentinel-2.
    """
    return np.asarray(clear * (1 - _of(_DIRECT, band) * shadow))


def _of(hundredths: tuple[int, ...], band: str) -> np.float32:
    return np.float32(hundredths[SENTINEL2.indices(band)[0]] / 100)
