"""Pictures of a report as data addresses: no file beside the page, no request to anybody."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.0
"""Share of the clear pixels that is shown black, and white."""
NARROWEST = 0.1
"""Least range of reflectance that is shown; ground without contrast shall look it."""
GAMMA = 1 / 1.5
"""Exponent of shown brightness; land is dark."""
NO_DATA_GREY = 0.55
JPEG_QUALITY = 86

SURE = ((0.0, (126, 34, 72)), (0.5, (226, 138, 76)), (0.75, (244, 222, 160)), (1.0, (222, 232, 236)))
"""Confidence to colour: what is guessed is dark red, what was observed is pale."""
CLOUD = ((0.0, (24, 40, 56)), (1.0, (250, 250, 248)))
"""The map m to colour."""


def stretch_of(clear: Float32[np.ndarray, "band pixel"]) -> tuple[float, float]:
    """Return the reflectances that are shown black and white: so that clear ground has contrast; clouds are white."""
    if not clear.size:
        return 0.0, 0.3
    low, high = np.percentile(clear, (LOW_PERCENT, HIGH_PERCENT))
    return float(low), float(max(high, low + NARROWEST))


def photograph(image: Float32[np.ndarray, "3 y x"], stretch: tuple[float, float]) -> str:
    """Return reflectance in red, green and blue as the data address of a JPEG."""
    low, high = stretch
    shown = np.clip((image - low) / (high - low), 0, 1) ** GAMMA
    pixels = (np.nan_to_num(shown, nan=NO_DATA_GREY) * 255).round().astype(np.uint8)
    return _address(pixels.transpose(1, 2, 0), "jpeg", quality=JPEG_QUALITY, subsampling=0)


def coloured(values: Float32[np.ndarray, "y x"], scale: Sequence[tuple[float, tuple[int, int, int]]]) -> str:
    """Return values from 0 to 1 as the data address of a PNG; what is no data is grey."""
    stops = [stop for stop, _ in scale]
    steps = np.linspace(0, 1, 65)
    table = np.stack([np.interp(steps, stops, [colour[i] for _, colour in scale]) for i in range(3)], axis=1)
    palette = np.vstack([table, [NO_DATA_GREY * 255] * 3]).round().astype(np.uint8)
    index = np.where(np.isfinite(values), np.rint(np.nan_to_num(values).clip(0, 1) * 64), 65).astype(np.uint8)
    return _indexed(index, palette)


def _indexed(index: UInt8[np.ndarray, "y x"], palette: UInt8[np.ndarray, "colour 3"]) -> str:
    picture = Image.fromarray(index, mode=None).convert("P")
    picture.putpalette(palette.tobytes())
    return _encoded(picture, "png", optimize=True)


def _address(pixels: UInt8[np.ndarray, "y x 3"], kind: str, **options: object) -> str:
    return _encoded(Image.fromarray(np.ascontiguousarray(pixels)), kind, **options)


def _encoded(picture: Image.Image, kind: str, **options: object) -> str:
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"
