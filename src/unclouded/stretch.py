"""Display of reflectance and radar: a stretch with contrast on clear ground, and images as data URLs."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.0
"""Percentiles of the clear pixels of a band between which they have contrast."""

MIN_CLEAR_PX = 100
"""Clear pixels of a reduced scene from which they determine the contrast."""

MIN_RANGE = 0.1
"""Smallest displayed range of reflectance, so that ground without contrast is not stretched."""

DEFAULT_RANGE = 0.3
"""Displayed range of reflectance without any pixel to determine it."""

GAMMA = 1 / 1.5
"""Exponent of the displayed brightness; brightens land, which is dark."""

NO_DATA_GREY = 0.55
"""Brightness of pixels without data."""

RADAR_DB = ((-22.0, 22.0), (-28.0, 22.0), (2.0, 12.0))
"""Value in dB that is shown black, and range, of VV, VH and VV - VH in red, green and blue."""

JPEG_QUALITY = 86
"""Quality of the pictures, 0 to 100; with colours at full resolution, so that field edges stay sharp."""


@dataclass(frozen=True)
class Stretch:
    """Values that are shown black and white.

    Attributes:
        black: Value of each band that is shown black.
        span: Difference to the value that is shown white, the same for all bands.
    """

    black: tuple[float, ...]
    span: float

    def brightness(self, image: Float32[np.ndarray, "band y x"]) -> UInt8[np.ndarray, "band y x"]:
        """Return the brightness of reflectance on a screen, 0 to 255; pixels without data are grey."""
        black = np.array(self.black, np.float32)[:, None, None]
        shown = np.clip((image - black) / np.float32(self.span), 0, 1) ** GAMMA
        return np.asarray((np.nan_to_num(shown, nan=NO_DATA_GREY) * 255).round().astype(np.uint8))


def contrast(clear: Float32[np.ndarray, "band pixel"]) -> Float[np.ndarray, "2 band"]:
    """Return the lower and the upper end of the contrast of each band."""
    return np.asarray(np.percentile(clear, (LOW_PERCENT, HIGH_PERCENT), axis=1))


def stretch_of(clear: Float32[np.ndarray, "band pixel"]) -> Stretch:
    """Return the stretch for reflectance with contrast on clear ground; clouds are white.

    The atmosphere scatters most in blue. A black level for each band removes this tint, and a common span keeps hues.
    """
    if not clear.size:
        return Stretch((0.0,) * len(clear), DEFAULT_RANGE)
    low, high = contrast(clear)
    return Stretch(tuple(low.tolist()), max(float((high - low).max()), MIN_RANGE))


def photograph(image: Float32[np.ndarray, "3 y x"], stretch: Stretch) -> str:
    """Return an image in red, green and blue as the data URL of a JPEG; pixels without data are grey."""
    pixels = stretch.brightness(image)
    return data_url(Image.fromarray(pixels.transpose(1, 2, 0)), "jpeg", quality=JPEG_QUALITY, subsampling=0)


def data_url(picture: Image.Image, kind: str, **options: object) -> str:
    """Return a picture as a data URL."""
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"
