"""Figures of a report: images as data URLs, and spectra and share bars as inline SVG.

Everything is embedded, so that the page needs no other file and no network access.
"""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from PIL import Image

from unclouded.prediction.report.html import Markup, tag
from unclouded.prediction.report.views import Spectra
from unclouded.sensors import WAVELENGTH_NM

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.0
"""Percentiles of the clear pixels that are shown black and white."""

MIN_RANGE = 0.1
"""Smallest displayed range of reflectance, so that ground without contrast is not stretched."""

GAMMA = 1 / 1.5
"""Exponent of the displayed brightness; brightens land, which is dark."""

NO_DATA_GREY = 0.55

JPEG_QUALITY = 86

CONFIDENCE_COLOURS = ((0.0, (126, 34, 72)), (0.5, (226, 138, 76)), (0.75, (244, 222, 160)), (1.0, (222, 232, 236)))
"""Colour scale of the confidence: dark red for guessed, pale for observed pixels."""

CLOUD_COLOURS = ((0.0, (24, 40, 56)), (1.0, (250, 250, 248)))
"""Colour scale of the map m."""


def stretch_of(clear: Float32[np.ndarray, "band pixel"]) -> tuple[float, float]:
    """Return the reflectances to show black and white, chosen for contrast on clear ground; clouds are white."""
    if not clear.size:
        return 0.0, 0.3
    low, high = np.percentile(clear, (LOW_PERCENT, HIGH_PERCENT))
    return float(low), float(max(high, low + MIN_RANGE))


def photograph(image: Float32[np.ndarray, "3 y x"], stretch: tuple[float, float]) -> str:
    """Return reflectance in red, green and blue as the data URL of a JPEG."""
    low, high = stretch
    shown = np.clip((image - low) / (high - low), 0, 1) ** GAMMA
    pixels = (np.nan_to_num(shown, nan=NO_DATA_GREY) * 255).round().astype(np.uint8)
    return _data_url(pixels.transpose(1, 2, 0), "jpeg", quality=JPEG_QUALITY, subsampling=0)


def coloured(values: Float32[np.ndarray, "y x"], scale: Sequence[tuple[float, tuple[int, int, int]]]) -> str:
    """Return values from 0 to 1 as the data URL of a PNG; pixels without data are grey."""
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


def _data_url(pixels: UInt8[np.ndarray, "y x 3"], kind: str, **options: object) -> str:
    return _encoded(Image.fromarray(np.ascontiguousarray(pixels)), kind, **options)


def _encoded(picture: Image.Image, kind: str, **options: object) -> str:
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"


# SVG figures, coloured by the style sheet of the page.


_WIDTH, _LEFT, _RIGHT, _TOP, _BASE = 720, 52, 704, 14, 246

_TOPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def spectra_chart(spectra: Mapping[str, Spectra], bands: tuple[str, ...]) -> Markup:
    """Return a chart of median spectra in the order of wavelength, with the range of the middle 80 %.

    Args:
        spectra: Spectra by kind of pixel; the kind is the CSS class.
        bands: Bands of the spectra.
    """
    order = sorted(range(len(bands)), key=lambda index: WAVELENGTH_NM[bands[index]])
    highest = max((float(kind.high.max()) for kind in spectra.values()), default=0.1)
    top = next((step for step in _TOPS if highest <= step), 1.5)
    x = np.linspace(_LEFT + 12, _RIGHT - 12, len(bands))

    def height(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return _BASE - (_BASE - _TOP) * values[order].astype(float) / top

    parts = [*_axes(top), *_names([bands[index] for index in order], x)]
    for kind, spectrum in spectra.items():
        around = f"{_points(x, height(spectrum.high))} {_points(x[::-1], height(spectrum.low)[::-1])}"
        parts.append(tag("polygon", class_=f"range {kind}", points=around))
    for kind, spectrum in spectra.items():
        parts.append(tag("polyline", class_=f"line {kind}", points=_points(x, height(spectrum.median))))
        for a, b in zip(x, height(spectrum.median), strict=True):
            parts.append(tag("circle", class_=f"dot {kind}", cx=f"{a:.1f}", cy=f"{b:.1f}", r=3))
    label = f"Median spectra of pixels: {', '.join(spectra)}"
    return tag("svg", *parts, viewBox=f"0 0 {_WIDTH} 296", role="img", aria_label=label)


def share_bar(shares: Mapping[str, float]) -> Markup:
    """Return a stacked bar; the names of the shares are CSS classes."""
    at, parts = 0.0, []
    for kind, share in shares.items():
        parts.append(
            tag("rect", class_=f"bar {kind}", x=f"{1000 * at:.2f}", y=0, width=f"{1000 * share:.2f}", height=12)
        )
        at += share
    return tag("svg", *parts, class_="shares", viewBox="0 0 1000 12", preserveAspectRatio="none", aria_hidden="true")


def _axes(top: float) -> Iterator[Markup]:
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = _BASE - (_BASE - _TOP) * share
        yield tag("line", class_="grid", x1=_LEFT, x2=_RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}")
        yield tag("text", f"{top * share:.3g}", class_="tick end", x=_LEFT - 8, y=f"{y + 4:.1f}")


def _names(bands: list[str], x: NDArray[np.float64]) -> Iterator[Markup]:
    for band, at in zip(bands, x, strict=True):
        yield tag("text", band, class_="middle", x=f"{at:.1f}", y=_BASE + 20)
        yield tag("text", WAVELENGTH_NM[band], class_="tick middle", x=f"{at:.1f}", y=_BASE + 36)


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
