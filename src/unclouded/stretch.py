"""Pictures of reflectance for people: a stretch with contrast on clear ground, and images as data URLs."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.0
"""Percentiles of the clear pixels of a band between which they have contrast."""

MIN_RANGE = 0.1
"""Smallest displayed range of reflectance, so that ground without contrast is not stretched."""

GAMMA = 1 / 1.5
"""Exponent of the displayed brightness; brightens land, which is dark."""

NO_DATA_GREY = 0.55
"""Brightness of pixels without data."""

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


def stretch_of(clear: Float32[np.ndarray, "band pixel"]) -> Stretch:
    """Return the stretch for reflectance with contrast on clear ground; clouds are white.

    The atmosphere scatters most in blue. A black level for each band removes this tint, and a common span keeps hues.
    """
    if not clear.size:
        return Stretch((0.0,) * len(clear), 0.3)
    low, high = np.percentile(clear, (LOW_PERCENT, HIGH_PERCENT), axis=1)
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
