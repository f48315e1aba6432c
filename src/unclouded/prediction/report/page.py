"""Report page of a predicted scene: images before and after, maps, spectra, expected error, inputs and settings.

The page is self-contained: images are data URLs, style and script are inline, and its content security policy allows
only these two, by their hashes. Text from files is always escaped. The sections appear in the order of ``_ORDER``.
"""

import base64
import hashlib
import math
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import numpy as np

from unclouded.files import write_text
from unclouded.prediction.products import MADE, causes, in_percent, percent_text, shares
from unclouded.prediction.report.facts import Facts, Input
from unclouded.prediction.report.figures import (
    CLOUD_COLOURS,
    CONFIDENCE_COLOURS,
    coloured,
    photograph,
    share_bar,
    spectra_chart,
    stretch_of,
)
from unclouded.prediction.report.html import Markup, joined, tag
from unclouded.prediction.report.views import CROP_PX, Overview


def comparison(facts: Facts, overview: Overview) -> Markup:
    """Comparison of the whole scene before and after, with a movable border."""
    stretch = _stretch(overview)
    before, after = (photograph(image, stretch) for image in (overview.before, overview.after))
    bands = ", ".join(overview.shown) if len(set(overview.shown)) > 1 else f"{overview.shown[0]} as grey"
    coarse = (
        f" One pixel of the picture is {overview.step} × {overview.step} of the scene." if overview.step > 1 else ""
    )
    caption = f"{bands}, reflectance {stretch[0]:.3f} to {stretch[1]:.3f}.{coarse}"
    slider = {"min": 0, "max": 100, "value": 50, "aria_label": "Border between observed and without clouds"}
    parts = (
        tag("img", src=after, alt="The scene without clouds"),
        tag("img", class_="over", src=before, alt="The scene as observed"),
        tag("span", "observed", class_="tag left"),
        tag("span", "without clouds", class_="tag right"),
        tag("input", type="range", **slider),
    )
    move = " Move the border with the mouse, a finger or the arrow keys."
    return tag("figure", tag("div", *parts, class_="frame compare"), tag("figcaption", caption, move))


def crops(facts: Facts, overview: Overview) -> Markup:
    """Partly cloudy crops at full resolution."""
    if not overview.crops:
        return NOTHING
    stretch, figures = _stretch(overview), []
    for crop in overview.crops:
        before, after = photograph(crop.before, stretch), photograph(crop.after, stretch)
        both = tag("img", src=before, alt="Observed"), tag("img", src=after, alt="Without clouds")
        place = tag("figcaption", f"Row {crop.top:,}, column {crop.left:,}.")
        figures.append(tag("figure", tag("div", *both, class_="frame duo"), place))
    side = f"{CROP_PX} px" + (f", {CROP_PX * facts.pixel_m / 1000:.2g} km," if facts.pixel_m else "")
    words = f"Partly cloudy places of {side} across: observed, and without clouds."
    return joined(tag("h2", "At full resolution"), tag("p", words, class_="soft"), tag("div", *figures, class_="pair"))


def expected(facts: Facts, overview: Overview) -> Markup:
    """Table of the expected errors of all candidates."""
    if (found := facts.expected) is None:
        return NOTHING
    clouds = (
        "simulated clouds, because the scene has none," if found.simulated else "clouds from elsewhere in this scene,"
    )
    method = f"{found.pixels:,} clear pixels were covered with {clouds} predicted, and compared with the observation. "
    rows = [tag("tr", tag("th", "remover"), *(tag("th", word, class_="number") for word in _HEADINGS))]
    for name, row in found.rows.items():
        used = name == facts.remover
        numbers = (
            f"{row.mae:.4f}",
            f"{row.rmse:.4f}",
            "∞" if math.isinf(row.psnr) else f"{row.psnr:.2f}",
            f"{row.sam:.2f}",
            percent_text(found.answered_share(name)),
        )
        cells = (tag("td", number, class_="number") for number in numbers)
        rows.append(tag("tr", tag("td", name, " (used)" if used else ""), *cells, class_="used" if used else None))
    note = (
        "Reflectance, over all bands of the product. The ground beside clouds represents the ground under them; where "
        "these differ, the error differs, too."
    )
    return joined(
        tag("h2", "Expected error"),
        tag("p", method, f"{facts.choice[:1].upper()}{facts.choice[1:]}." if facts.choice else ""),
        tag("div", tag("table", *rows), class_="card"),
        tag("p", note, class_="soft"),
    )


def head(facts: Facts, overview: Overview) -> Markup:
    """Title, size, bands and acquisition dates."""
    height, width = overview.shape
    ground = f", {width * facts.pixel_m / 1000:.3g} × {height * facts.pixel_m / 1000:.3g} km" if facts.pixel_m else ""
    dates = [
        f"{one.role} of {one.acquired:%Y-%m-%d}" if one.acquired else f"{one.role} of unknown date"
        for one in facts.inputs
        if one.role.startswith("Sentinel")
    ]
    bands = f"{len(facts.bands)} band{'' if len(facts.bands) == 1 else 's'}"
    line = " · ".join([f"{width:,} × {height:,} px{ground}", bands, *dates])
    return tag(
        "header",
        tag("p", "Sentinel-2 without clouds", class_="brow"),
        tag("h1", facts.title),
        tag("p", line, class_="soft"),
    )


def maps(facts: Facts, overview: Overview) -> Markup:
    """Cloud map, confidence, and shares by provenance."""
    words: str = f"Cloud map m. Its mean is {_coverage(overview.mean_coverage)}."
    drawn = [_map(coloured(overview.cloud_map, CLOUD_COLOURS), "cloud", ("0 clear", "1 cloudy"), words)]
    title: str = "Clouds"
    if overview.confidence is not None:
        title += " and confidence"
        words = (
            "Confidence: weight of the evidence from clear ground, radar and thin haze of this scene against general "
            "knowledge of land and water. Pixels below 0.5 are guessed."
        )
        drawn.append(
            _map(coloured(overview.confidence, CONFIDENCE_COLOURS), "sure", ("0 guessed", "0.5", "1 observed"), words)
        )
    return joined(tag("h2", title), tag("div", *drawn, class_="pair"), _origin(overview))


def remarks(facts: Facts, overview: Overview) -> Markup:
    """Warnings about the images."""
    return joined(*(tag("p", f"{remark[:1].upper()}{remark[1:]}.", class_="note") for remark in facts.remarks))


def spectra(facts: Facts, overview: Overview) -> Markup:
    """Chart of the spectra of observed and predicted pixels."""
    if not overview.spectra:
        return NOTHING
    labels = {"observed": "observed", "synthesised": f"predicted by {facts.remover}"}
    keys = (tag("li", tag("i", class_=kind), labels[kind]) for kind in overview.spectra)
    chart = spectra_chart(overview.spectra, facts.bands)
    note = (
        "Reflectance by band, with its central wavelength in nm: the median of an even sample of pixels, and the range "
        "of the middle 80 %. Land cover under the clouds may differ from that beside them."
    )
    card = tag("div", chart, tag("ul", *keys, class_="key"), class_="card")
    return joined(tag("h2", "Spectra"), card, tag("p", note, class_="soft"))


def tables(facts: Facts, overview: Overview) -> Markup:
    """Tables of statistics, inputs and settings."""
    numbers = {
        "cloud cover, mean of m where it is known": _coverage(overview.mean_coverage),
        "share of pixels with m > 0": _coverage(overview.cloudy_share),
        "pixels without data": f"{overview.counts['no_data']:,}",
        **({"shift of the radar": facts.alignment.in_words()} if facts.alignment else {}),
        **facts.measured,
    }
    inputs = (
        (
            f"{one.role}{_when(one)}",
            one.name,
            f"SHA-256 {one.sha256}",
        )
        for one in facts.inputs
    )
    settings = {"remover": facts.remover, "bands": " ".join(facts.bands), **facts.settings}
    return joined(
        *(tag("h2", "Numbers"), _table(numbers.items())),
        *(tag("h2", "Inputs"), _table(inputs)),
        *(tag("h2", "Settings"), _table(settings.items())),
    )


def tiles(facts: Facts, overview: Overview) -> Markup:
    """Key figures."""
    share = shares(overview.counts)
    words = in_percent(share)
    figures = [
        (words["observed"], "of the scene is as observed, bit for bit"),
        (words["made"], f"of the scene was cloudy and is predicted by {facts.remover}"),
    ]
    if share["unjudged"]:
        figures.append(
            (words["unjudged"], f"of the scene has no known cloud state and is predicted by {facts.remover}")
        )
    if share["no_data"]:
        why = causes(facts.losses, overview.shape[0] * overview.shape[1])
        figures.append((words["no_data"], "of the scene has no data" + (f": {why}" if why else "")))
    changed = sum(overview.counts[name] for name in (*MADE, "unjudged"))
    if overview.confidence is not None and changed:
        figures.append(
            (percent_text(overview.guessed / changed), "of the predicted pixels are guessed: confidence below 0.5")
        )
    if facts.expected is not None and (used := facts.expected.rows.get(facts.remover)):
        figures.append((f"± {used.mae:.3f}", "reflectance: expected mean error under the clouds of this scene"))
    if facts.alignment is not None and (days := facts.alignment.days) is not None:
        when = "later" if days > 0 else "earlier"
        figures.append((f"{abs(days):.1f} days", f"the radar is {when} than the optical image"))
    if facts.alignment is not None and facts.alignment.is_known:
        figures.append((f"{facts.alignment.distance_px:.1f} px", "shift of the radar against the optical image"))
    boxes = (tag("div", tag("b", value), tag("span", label), class_="tile") for value, label in figures)
    return tag("div", *boxes, class_="tiles")


_ORDER = (
    head,
    tiles,
    remarks,
    comparison,
    maps,
    crops,
    spectra,
    expected,
    tables,
)


def write_report(path: Path, facts: Facts, overview: Overview) -> None:
    """Write the page atomically.

    Args:
        path: HTML file.
        facts: Facts about the scene that are not pixel values.
        overview: Images and statistics from :func:`~unclouded.prediction.report.views.read_overview`.
    """
    write_text(path, page(facts, overview))


def page(facts: Facts, overview: Overview) -> str:
    """Return the page as HTML."""
    style, script = (_shipped(f"report.{kind}") for kind in ("css", "js"))
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    heads = (
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(map(" ".join, policy.items()))}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{facts.title} without clouds"),
        tag("style", style),
    )
    sections = (Markup(f"\n{section(facts, overview)}") for section in _ORDER)
    foot = tag("footer", f"unclouded {facts.version}. Contains modified Copernicus Sentinel data.")
    body = tag("body", *sections, foot, tag("script", script))
    return f"<!doctype html>\n{tag('html', tag('head', *heads), body, lang='en')}\n"


def _shipped(name: str) -> Markup:
    return Markup(files("unclouded.prediction.report").joinpath(name).read_text("utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Parts of sections.


NOTHING = Markup("")


def _stretch(overview: Overview) -> tuple[float, float]:
    ground = overview.before[:, (overview.cloud_map == 0) & np.isfinite(overview.before).all(axis=0)]
    shown = ground if ground.shape[1] >= 100 else overview.after[:, np.isfinite(overview.after).all(axis=0)]
    return stretch_of(shown)


def _map(picture: str, ramp: str, ends: tuple[str, ...], words: str) -> Markup:
    scale = tag("div", *(tag("span", end) for end in ends), class_="ends")
    image = tag("div", tag("img", src=picture, alt=words), class_="frame")
    return tag("figure", image, tag("div", class_=f"ramp {ramp}"), scale, tag("figcaption", words))


def _origin(overview: Overview) -> Markup:
    total = max(1, sum(overview.counts.values()))
    found = {kind: overview.counts[kind] / total for kind in _ORIGINS if overview.counts[kind]}
    keys = (tag("li", tag("i", class_=kind), _ORIGINS[kind], " ", share) for kind, share in in_percent(found).items())
    bar = share_bar(found)
    return joined(tag("h2", "Provenance of the pixels"), bar, tag("ul", *keys, class_="key"))


_ORIGINS = {
    "observed": "observed (m = 0)",
    "blended": "blended: thin cloud or cloud edge (m < 0.5)",
    "synthesised": "synthesised",
    "near_gap": "predicted next to a gap",
    "unjudged": "predicted, cloud state unknown",
    "no_data": "no data",
}
"""Label by provenance."""


def _coverage(share: float) -> str:
    return "unknown" if math.isnan(share) else percent_text(share)


_HEADINGS = ("MAE", "RMSE", "PSNR (dB)", "SAM (°)", "predicted")


def _when(one: Input) -> str:
    if one.acquired:
        return f", {one.acquired:%Y-%m-%d %H:%M} UTC"
    return ", date unknown" if one.role.startswith("Sentinel") else ""


def _table(rows: Iterable[tuple[str, ...]]) -> Markup:
    lines = []
    for name, *values in rows:
        cells = [part for value in values for part in (tag("code", value), tag("br"))][:-1]
        lines.append(tag("tr", tag("th", name), tag("td", *cells)))
    return tag("div", tag("table", *lines), class_="card")
