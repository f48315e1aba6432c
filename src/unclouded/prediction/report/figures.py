"""Figures of a report: images as data URLs, and the coordinates of the chart of spectra, which a template draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from PIL import Image

from unclouded.prediction.products import Provenance
from unclouded.prediction.report.overview import Spectra
from unclouded.sensors import WAVELENGTH_NM
from unclouded.stretch import NO_DATA_GREY, data_url

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

CONFIDENCE_COLOURS = ((0.0, (126, 34, 72)), (0.5, (226, 138, 76)), (0.75, (244, 222, 160)), (1.0, (222, 232, 236)))
"""Colour scale of the confidence: dark red for guessed, pale for observed pixels."""

CLOUD_COLOURS = ((0.0, (24, 40, 56)), (1.0, (250, 250, 248)))
"""Colour scale of the map m."""

PROVENANCE_COLOURS: Mapping[Provenance, Colour] = {
    Provenance.OBSERVED: (47, 125, 109),
    Provenance.BLENDED: (226, 178, 80),
    Provenance.SYNTHESISED: (192, 98, 47),
    Provenance.SHADOW: (52, 78, 120),
    Provenance.NEAR_GAP: (118, 98, 168),
    Provenance.REFERENCE: (74, 124, 184),
    Provenance.UNKNOWN_CLOUD: (126, 34, 72),
    Provenance.WITHOUT_RADAR: (214, 108, 132),
    Provenance.NO_DATA: (140, 140, 140),
}
"""Colour of each provenance, in the order of the legend."""


def coloured(values: Float32[np.ndarray, "y x"], scale: Sequence[tuple[float, Colour]]) -> str:
    """Return values from 0 to 1 as the data URL of a PNG; pixels without data are grey."""
    stops = [stop for stop, _ in scale]
    steps = np.linspace(0, 1, 65)
    table = np.stack([np.interp(steps, stops, [colour[i] for _, colour in scale]) for i in range(3)], axis=1)
    palette = np.vstack([table, [NO_DATA_GREY * 255] * 3]).round().astype(np.uint8)
    index = np.where(np.isfinite(values), np.rint(np.nan_to_num(values).clip(0, 1) * 64), 65).astype(np.uint8)
    return _indexed(index, palette)


def classified(codes: UInt8[np.ndarray, "y x"]) -> str:
    """Return codes of :class:`~unclouded.prediction.products.Provenance` as the data URL of a PNG."""
    palette = np.zeros((max(Provenance) + 1, 3), np.uint8)
    for code, colour in PROVENANCE_COLOURS.items():
        palette[code] = colour
    return _indexed(codes, palette)


def hexadecimal(colour: Colour) -> str:
    """Return a colour in the notation of SVG."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _indexed(index: UInt8[np.ndarray, "y x"], palette: UInt8[np.ndarray, "colour 3"]) -> str:
    picture = Image.fromarray(np.ascontiguousarray(index), mode=None).convert("P")
    picture.putpalette(palette.tobytes())
    return data_url(picture, "png", optimize=True)


# Chart of the spectra: coordinates of an SVG figure.


@dataclass(frozen=True)
class Series:
    """Curve of a chart.

    Attributes:
        kind: Kind of pixel; also the CSS class.
        line: Points of the curve, in the notation of SVG.
        range: Outline of the range around it, in the notation of SVG.
        dots: Points of the curve.
    """

    kind: str
    line: str
    range: str
    dots: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Chart of reflectance by band, in coordinates of its SVG figure.

    Attributes:
        ticks: Height and label of the horizontal lines.
        bands: Horizontal position, name and wavelength in nm of each band, in the order of wavelength.
        series: Curves.
        width: Width of the figure.
        height: Height of the figure.
        left: Left end of the horizontal lines.
        right: Right end of the horizontal lines.
        base: Height of the lowest line, which is 0.
    """

    ticks: Sequence[tuple[float, str]]
    bands: Sequence[tuple[float, str, int]]
    series: Sequence[Series]
    width: int = 720
    height: int = 296
    left: int = 52
    right: int = 704
    base: int = 246


_TOP = 14

_TOPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Reflectances at which a chart may end."""


def spectra_chart(spectra: Mapping[str, Spectra], bands: tuple[str, ...]) -> Chart:
    """Return a chart of median spectra in the order of wavelength, with the range of the middle 80 %.

    Args:
        spectra: Spectra by kind of pixel.
        bands: Bands of the spectra.
    """
    order = sorted(range(len(bands)), key=lambda index: WAVELENGTH_NM[bands[index]])
    highest = max((float(kind.high.max()) for kind in spectra.values()), default=0.1)
    top = next((step for step in _TOPS if highest <= step), 1.5)
    x = np.linspace(Chart.left + 12, Chart.right - 12, len(bands)).round(1).tolist()

    def height(reflectance: NDArray[np.float32]) -> NDArray[np.float64]:
        return (Chart.base - (Chart.base - _TOP) * reflectance.astype(float) / top).round(1)

    series = []
    for kind, spectrum in spectra.items():
        low, median, high = (height(one[order]).tolist() for one in (spectrum.low, spectrum.median, spectrum.high))
        around = [*zip(x, high, strict=True), *zip(x[::-1], low[::-1], strict=True)]
        dots = list(zip(x, median, strict=True))
        series.append(Series(kind, _points(dots), _points(around), dots))
    levels = np.linspace(0, top, 5, dtype=np.float32)
    ticks = [(y, f"{level:.3g}") for y, level in zip(height(levels).tolist(), levels, strict=True)]
    names = [bands[index] for index in order]
    return Chart(ticks, [(at, band, WAVELENGTH_NM[band]) for at, band in zip(x, names, strict=True)], series)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
