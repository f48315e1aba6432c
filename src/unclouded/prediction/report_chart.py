"""Drawings in a report: spectra, and a bar of shares, in SVG that the page's style colours."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from unclouded.prediction.report_markup import Markup, tag
from unclouded.prediction.views import Spectra

WAVELENGTH_NM = {
    "B01": 443, "B02": 490, "B03": 560, "B04": 665, "B05": 705, "B06": 740, "B07": 783,
    "B08": 842, "B8A": 865, "B09": 945, "B10": 1375, "B11": 1610, "B12": 2190,
}  # fmt: skip
"""Central wavelengths by band (Sentinel-2 User Handbook of ESA)."""

_WIDTH, _LEFT, _RIGHT, _TOP, _BASE = 720, 52, 704, 14, 246
_TOPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def spectra_chart(spectra: Mapping[str, Spectra], bands: tuple[str, ...]) -> Markup:
    """Return median spectra, by band in the order of wavelength, with the range of the middle 80 %.

    Args:
        spectra: Kind of pixel to its spectra; the kind is the class that the page's style colours.
        bands: Their bands.
    """
    order = sorted(range(len(bands)), key=lambda index: WAVELENGTH_NM[bands[index]])
    highest = max((float(kind.high.max()) for kind in spectra.values()), default=0.1)
    top = next((step for step in _TOPS if highest <= step), 1.5)
    x = np.linspace(_LEFT + 12, _RIGHT - 12, len(bands))

    def height(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return _BASE - (_BASE - _TOP) * values[order].astype(float) / top

    parts = [*_axes(top), *_names([bands[index] for index in order], x)]
    for kind, found in spectra.items():
        around = f"{_points(x, height(found.high))} {_points(x[::-1], height(found.low)[::-1])}"
        parts.append(tag("polygon", class_=f"range {kind}", points=around))
    for kind, found in spectra.items():
        parts.append(tag("polyline", class_=f"line {kind}", points=_points(x, height(found.median))))
        for a, b in zip(x, height(found.median), strict=True):
            parts.append(tag("circle", class_=f"dot {kind}", cx=f"{a:.1f}", cy=f"{b:.1f}", r=3))
    label = f"Median spectra of pixels: {', '.join(spectra)}"
    return tag("svg", *parts, viewBox=f"0 0 {_WIDTH} 296", role="img", aria_label=label)


def share_bar(shares: Mapping[str, float]) -> Markup:
    """Return one bar of several colours; the names are the classes that the page's style colours."""
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
