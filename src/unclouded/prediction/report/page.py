"""Report page of a predicted scene: the values that the template ``scene_report.html`` shows.

What a reader needs to decide about the image comes first: shares of the scene, expected error, remarks, and the images
before and after; maps, spectra, files, inputs and settings follow.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unclouded.html_page import render_page
from unclouded.prediction.products import PREDICTED, Provenance, causes, in_percent, percent_text, shares
from unclouded.prediction.report.data import Input, ReportData
from unclouded.prediction.report.figures import (
    CLOUD_COLOURS,
    CONFIDENCE_COLOURS,
    PROVENANCE_COLOURS,
    Colour,
    classified,
    coloured,
    hexadecimal,
    spectra_chart,
)
from unclouded.prediction.report.overview import CROP_PX, Overview
from unclouded.prediction.report.timeline import HEADINGS, reference_rows, timeline
from unclouded.stretch import Stretch, photograph

_ORIGINS = {
    Provenance.OBSERVED: "observed, m = 0",
    Provenance.BLENDED: "predicted under thin cloud or cloud edge, m < 0.5",
    Provenance.SYNTHESISED: "predicted under cloud, m ≥ 0.5",
    Provenance.SHADOW: "predicted under cloud shadow",
    Provenance.NEAR_GAP: "predicted next to a gap",
    Provenance.UNKNOWN_CLOUD: "predicted, cloud state unknown",
    Provenance.WITHOUT_RADAR: "predicted without radar",
    Provenance.REFERENCE: "predicted from other dates",
    Provenance.NO_DATA: "no data",
}
"""Label by provenance."""

_HEADINGS = ("MAE", "RMSE", "PSNR (dB)", "SAM (°)", "predicted")


def report_page(data: ReportData) -> str:
    """Return the report page of a scene as self-contained HTML."""
    stretch = data.overview.stretch
    return render_page(
        "scene_report.html",
        script="comparison.js",
        title=f"{data.title} without clouds",
        name=data.title,
        subtitle=_subtitle(data),
        tiles=_tiles(data),
        remarks=[f"{remark[:1].upper()}{remark[1:]}." for remark in data.remarks],
        comparison=_comparison(data.overview, stretch),
        crops=_crops(data, stretch),
        maps_title="Clouds and provenance" if data.overview.confidence is None else "Clouds, provenance and confidence",
        maps=_maps(data.overview),
        references=_references(data),
        expected=_expected(data),
        spectra=_spectra(data),
        files=[
            {"name": one.path.name, "link": quote(one.path.name), "title": one.title, "size": _size(one.path)}
            for one in data.files.values()
        ],
        properties_by_heading=_properties(data),
    )


def _subtitle(data: ReportData) -> str:
    """Return size, bands and acquisition dates."""
    height, width = data.overview.shape
    ground = f", {width * data.pixel_m / 1000:.3g} × {height * data.pixel_m / 1000:.3g} km" if data.pixel_m else ""
    dates = [
        f"{one.role} of {one.acquired:%Y-%m-%d}" if one.acquired else f"{one.role} of unknown date"
        for one in data.inputs
        if one.role.startswith("Sentinel")
    ] + ([] if data.radar_used else ["without radar"])
    bands = f"{len(data.bands)} band{'' if len(data.bands) == 1 else 's'}"
    return " · ".join([f"{width:,} × {height:,} px{ground}", bands, *dates])


def _tiles(data: ReportData) -> list[tuple[str, str]]:
    """Return key figures, each with what it measures."""
    overview, share = data.overview, shares(data.overview.counts)
    words = in_percent(share)
    figures = [
        (words["observed"], "of the scene is as observed, bit for bit"),
        (words["predicted"], f"of the scene was cloudy and is predicted by {data.remover}"),
    ]
    if share["unknown_cloud"]:
        figures.append(
            (words["unknown_cloud"], f"of the scene has no known cloud state and is predicted by {data.remover}")
        )
    if share["no_data"]:
        why = causes(data.losses, overview.shape[0] * overview.shape[1])
        figures.append((words["no_data"], "of the scene has no data" + (f": {why}" if why else "")))
    if data.expected is not None and (used := data.expected.rows.get(data.remover)):
        figures.append((f"± {used.mae:.3f}", "reflectance: expected mean error under the clouds of this scene"))
    changed = sum(overview.counts[name] for name in (*PREDICTED, "unknown_cloud"))
    if overview.confidence is not None and changed:
        figures.append(
            (percent_text(overview.guessed / changed), "of the predicted pixels are guessed: confidence below 0.5")
        )
    if data.alignment is not None and (days := data.alignment.days) is not None:
        when = "later" if days > 0 else "earlier"
        figures.append((f"{abs(days):.1f} days", f"the radar is {when} than the optical image"))
    if data.alignment is not None and data.alignment.is_known:
        figures.append((f"{data.alignment.distance_px:.1f} px", "shift of the radar against the optical image"))
    return figures


def _comparison(overview: Overview, stretch: Stretch) -> dict[str, str]:
    """Return the pictures of the whole scene before and after."""
    shown = overview.shown
    black, white = stretch.black, [low + stretch.span for low in stretch.black]
    ranges = [f"{band} from {low:.3f} to {high:.3f}" for band, low, high in zip(shown, black, white, strict=True)]
    bands = ", ".join(ranges) if len(set(shown)) > 1 else f"{ranges[0]}, in grey"
    coarse = (
        f" One pixel of the picture is {overview.step} × {overview.step} of the scene." if overview.step > 1 else ""
    )
    return {
        "before": photograph(overview.before, stretch),
        "after": photograph(overview.after, stretch),
        "caption": f"Reflectance of {bands}.{coarse}",
    }


def _crops(data: ReportData, stretch: Stretch) -> dict[str, Any] | None:
    """Return partly cloudy crops at full resolution; None if there are none."""
    if not data.overview.crops:
        return None
    side = f"{CROP_PX} px" + (f", {CROP_PX * data.pixel_m / 1000:.2g} km," if data.pixel_m else "")
    return {
        "intro": f"Partly cloudy places of {side} across: observed on the left, without clouds on the right.",
        "places": [
            {
                "before": photograph(crop.before, stretch),
                "after": photograph(crop.after, stretch),
                "caption": f"Row {crop.top:,}, column {crop.left:,}.",
            }
            for crop in data.overview.crops
        ],
    }


def _maps(overview: Overview) -> list[dict[str, Any]]:
    """Return cloud map, provenance and, if any, confidence, each with its legend."""
    coverage = _coverage(overview.mean_coverage)
    maps = [
        {
            **_scale("cloud", CLOUD_COLOURS),
            "title": "Cloud map m",
            "picture": coloured(overview.cloud_map, CLOUD_COLOURS),
            "ends": ("0 clear", "1 cloudy"),
            "caption": f"Its mean is {coverage}; pixels with m > 0 are predicted. Grey where m is unknown.",
        },
        {
            "title": "Provenance of the pixels",
            "picture": classified(overview.provenance),
            "stops": None,
            "classes": _origins(overview),
            "caption": "Shares of the whole scene.",
        },
    ]
    if overview.confidence is not None:
        maps.append(
            {
                **_scale("confidence", CONFIDENCE_COLOURS),
                "title": "Confidence",
                "picture": coloured(overview.confidence, CONFIDENCE_COLOURS),
                "ends": ("0 guessed", "0.5", "1 observed"),
                "caption": "Where scene-adapted provides it: 1 for an observed pixel, 0.5 for a predicted error of "
                "0.03 in reflectance, 0.25 for one of 0.06. Pixels below 0.5 are guessed.",
            }
        )
    return maps


def _scale(name: str, colours: Sequence[tuple[float, Colour]]) -> dict[str, Any]:
    return {"id": f"scale-{name}", "stops": [(at, hexadecimal(colour)) for at, colour in colours]}


def _origins(overview: Overview) -> list[tuple[str, str, str]]:
    """Return colour, label and share of each provenance that occurs."""
    total = max(1, sum(overview.counts.values()))
    share = {code: count / total for code in _ORIGINS if (count := overview.counts[code.name.lower()])}
    words = in_percent({code.name: value for code, value in share.items()})
    return [(hexadecimal(PROVENANCE_COLOURS[code]), _ORIGINS[code], words[code.name]) for code in share]


def _references(data: ReportData) -> dict[str, Any] | None:
    """Return line and table of the references; None if there are none."""
    if not data.references:
        return None
    total = sum(one.weight for one in data.references)
    one = len(data.references) == 1
    given = "One other date of this place was" if one else f"{len(data.references)} other dates of this place were"
    share = percent_text(min(total, 1.0))
    return {
        "intro": f"{given} given; {share} of the predicted pixels rest mainly on other dates, brought to the light and "
        "season of this scene.",
        "line": timeline(data.references),
        "headings": HEADINGS,
        "rows": reference_rows(data.references),
        "note": "Clear: share of the scene that the image shows without cloud or shadow; paler dots show less. Weight: "
        "share of the predicted pixels in which the image counts most; larger dots count more. Held-out error: mean "
        "absolute error in reflectance of a prediction from this image alone, on clear ground of the scene that was "
        "left out of the fit, beside that of a prediction without it.",
    }


def _expected(data: ReportData) -> dict[str, Any] | None:
    """Return the table of the expected errors of all candidates; None if they were not measured."""
    if (found := data.expected) is None:
        return None
    clouds = (
        "simulated clouds, because the scene has none," if found.simulated else "clouds from elsewhere in this scene,"
    )
    method = f"{found.pixels:,} clear pixels were covered with {clouds} predicted, and compared with the observation."
    rows = []
    for name, row in found.rows.items():
        numbers = (
            f"{row.mae:.4f}",
            f"{row.rmse:.4f}",
            "∞" if math.isinf(row.psnr) else f"{row.psnr:.2f}",
            f"{row.sam:.2f}",
            percent_text(found.answered_share(name)),
        )
        rows.append({"name": name, "used": name == data.remover, "numbers": numbers})
    reason = f" {data.choice[:1].upper()}{data.choice[1:]}." if data.choice else ""
    return {"method": method + reason, "headings": _HEADINGS, "rows": rows}


def _spectra(data: ReportData) -> dict[str, Any] | None:
    """Return chart and legend of the spectra of observed and predicted pixels; None if there are no such pixels."""
    spectra = data.overview.spectra
    labels = {"observed": "observed", "synthesised": f"predicted by {data.remover}"}
    if not spectra:
        return None
    return {"chart": spectra_chart(spectra, data.bands), "legend": [(kind, labels[kind]) for kind in spectra]}


def _properties(data: ReportData) -> list[tuple[str, list[tuple[str, Sequence[str]]]]]:
    """Return statistics, inputs and settings: lines of a name and one or several values, by heading."""
    overview = data.overview
    numbers = {
        "cloud cover, mean of m where it is known": _coverage(overview.mean_coverage),
        "share of pixels with m > 0": _coverage(overview.cloudy_share),
        "pixels without data": f"{overview.counts['no_data']:,}",
        **({"shift of the radar": data.alignment.in_words()} if data.alignment else {}),
        **data.measured,
    }
    settings = {"remover": data.remover, "bands": " ".join(data.bands), **data.settings}
    return [
        ("Numbers", [(name, [value]) for name, value in numbers.items()]),
        ("Inputs", [(f"{one.role}{_when(one)}", [one.name, f"SHA-256 {one.sha256}"]) for one in data.inputs]),
        ("Settings", [(name, [value]) for name, value in settings.items()]),
    ]


def _when(one: Input) -> str:
    if one.acquired:
        return f", {one.acquired:%Y-%m-%d %H:%M} UTC"
    return ", date unknown" if one.role.startswith("Sentinel") else ""


def _coverage(share: float) -> str:
    return "unknown" if math.isnan(share) else percent_text(share)


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"
