"""One page about a cleared scene: what it was, what it is, how far to trust it. Self-contained, for any browser.

The page asks nobody for anything: pictures are data addresses, style and script stand in it, and its content security
policy allows these two by their hashes and nothing else. Names from files are shown as text, never read as markup.
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


def comparison(facts: Facts, seen: Overview) -> Markup:
    """The whole scene, observed and without clouds, with a border to move."""
    stretch = _stretch(seen)
    before, after = (photograph(image, stretch) for image in (seen.before, seen.after))
    bands = ", ".join(seen.shown) if len(set(seen.shown)) > 1 else f"{seen.shown[0]} as grey"
    coarse = f" One pixel of the picture is {seen.step} × {seen.step} of the scene." if seen.step > 1 else ""
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


def crops(facts: Facts, seen: Overview) -> Markup:
    """Partly cloudy places, pixel by pixel."""
    if not seen.crops:
        return NOTHING
    stretch, figures = _stretch(seen), []
    for crop in seen.crops:
        before, after = photograph(crop.before, stretch), photograph(crop.after, stretch)
        both = tag("img", src=before, alt="Observed"), tag("img", src=after, alt="Without clouds")
        place = tag("figcaption", f"Row {crop.top:,}, column {crop.left:,}.")
        figures.append(tag("figure", tag("div", *both, class_="frame duo"), place))
    side = f"{CROP_PX} px" + (f", {CROP_PX * facts.pixel_m / 1000:.2g} km," if facts.pixel_m else "")
    words = f"Partly cloudy places of {side} across: observed, and without clouds."
    return joined(tag("h2", "At full resolution"), tag("p", words, class_="soft"), tag("div", *figures, class_="pair"))


def expected(facts: Facts, seen: Overview) -> Markup:
    """What error to expect, of what was used and of what was not."""
    if (found := facts.expected) is None:
        return NOTHING
    clouds = "painted clouds, for the scene has none," if found.simulated else "clouds from elsewhere in this scene,"
    told = f"{found.pixels:,} clear pixels were covered with {clouds} cleared again, and compared with what they are. "
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
        "Reflectance, over all bands of the product. The ground beside clouds stands for the ground under them; where "
        "that differs, so does the error."
    )
    return joined(
        tag("h2", "What error to expect here"),
        tag("p", told, f"{facts.choice[:1].upper()}{facts.choice[1:]}." if facts.choice else ""),
        tag("div", tag("table", *rows), class_="card"),
        tag("p", note, class_="soft"),
    )


def head(facts: Facts, seen: Overview) -> Markup:
    """What it is, how large, and of when."""
    height, width = seen.shape
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


def maps(facts: Facts, seen: Overview) -> Markup:
    """Clouds, confidence, and where the pixels come from."""
    words: str = f"Cloud map m. Its mean is {_coverage(seen.mean_coverage)}."
    drawn = [_map(coloured(seen.cloud_map, CLOUD_COLOURS), "cloud", ("0 clear", "1 cloudy"), words)]
    title: str = "Where it was cloudy"
    if seen.confidence is not None:
        title += ", and how sure the answer is"
        words = (
            "Confidence: how much the clear ground of this scene, its radar and thin haze say about a pixel, against "
            "what is known of land and water in general. Below 0.5 the answer is a guess."
        )
        drawn.append(
            _map(coloured(seen.confidence, CONFIDENCE_COLOURS), "sure", ("0 guessed", "0.5", "1 observed"), words)
        )
    return joined(tag("h2", title), tag("div", *drawn, class_="pair"), _origin(seen))


def remarks(facts: Facts, seen: Overview) -> Markup:
    """What a reader has to know before he looks."""
    return joined(*(tag("p", f"{remark[:1].upper()}{remark[1:]}.", class_="note") for remark in facts.remarks))


def spectra(facts: Facts, seen: Overview) -> Markup:
    """What clear and made pixels look like in every band."""
    if not seen.spectra:
        return NOTHING
    said = {"observed": "as observed", "synthesised": f"made by {facts.remover}"}
    keys = (tag("li", tag("i", class_=kind), said[kind]) for kind in seen.spectra)
    chart = spectra_chart(seen.spectra, facts.bands)
    note = (
        "Reflectance by band, with its central wavelength in nm: the median of an even sample of pixels, and the range "
        "of the middle 80 %. The land under the clouds may be other land than that beside them."
    )
    card = tag("div", chart, tag("ul", *keys, class_="key"), class_="card")
    return joined(tag("h2", "Spectra"), card, tag("p", note, class_="soft"))


def tables(facts: Facts, seen: Overview) -> Markup:
    """Numbers, inputs and settings."""
    numbers = {
        "cloud coverage, mean of m where it is known": _coverage(seen.mean_coverage),
        "pixels with m > 0 among those": _coverage(seen.cloudy_share),
        "pixels without data": f"{seen.counts['no_data']:,}",
        **({"radar lies off by": facts.fit.in_words()} if facts.fit else {}),
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


def tiles(facts: Facts, seen: Overview) -> Markup:
    """The numbers that a reader wants first."""
    share = shares(seen.counts)
    words = in_percent(share)
    told = [
        (words["observed"], "of the scene is as observed, to the last bit"),
        (words["made"], f"of the scene was cloudy and is made by {facts.remover}"),
    ]
    if share["unjudged"]:
        told.append((words["unjudged"], f"of the scene could not be judged and is made by {facts.remover}"))
    if share["no_data"]:
        why = causes(facts.losses, seen.shape[0] * seen.shape[1])
        told.append((words["no_data"], "of the scene has no data" + (f": {why}" if why else "")))
    changed = sum(seen.counts[name] for name in (*MADE, "unjudged"))
    if seen.confidence is not None and changed:
        told.append(
            (percent_text(seen.guessed / changed), "of what is made is a guess: the prior weighs more than this scene")
        )
    if facts.expected is not None and (used := facts.expected.rows.get(facts.remover)):
        told.append((f"± {used.mae:.3f}", "reflectance: mean error to expect under the clouds of this scene"))
    if facts.fit is not None and (days := facts.fit.days) is not None:
        told.append(
            (f"{abs(days):.1f} days", f"the radar is {'later' if days > 0 else 'earlier'} than the optical image")
        )
    if facts.fit is not None and facts.fit.is_known:
        told.append((f"{facts.fit.distance_px:.1f} px", "the radar lies off the optical image"))
    return tag(
        "div", *(tag("div", tag("b", value), tag("span", said), class_="tile") for value, said in told), class_="tiles"
    )


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


def write_report(path: Path, facts: Facts, seen: Overview) -> None:
    """Write the page, whole or not at all.

    Args:
        path: HTML file.
        facts: What is known beside the pixels.
        seen: What :func:`~unclouded.prediction.report.views.read_overview` found.
    """
    write_text(path, page(facts, seen))


def page(facts: Facts, seen: Overview) -> str:
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
    told = (Markup(f"\n{section(facts, seen)}") for section in _ORDER)
    foot = tag("footer", f"unclouded {facts.version}. Contains modified Copernicus Sentinel data.")
    body = tag("body", *told, foot, tag("script", script))
    return f"<!doctype html>\n{tag('html', tag('head', *heads), body, lang='en')}\n"


def _shipped(name: str) -> Markup:
    return Markup(files("unclouded.prediction.report").joinpath(name).read_text("utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# The sections of a report, from top to bottom.


NOTHING = Markup("")


def _stretch(seen: Overview) -> tuple[float, float]:
    ground = seen.before[:, (seen.cloud_map == 0) & np.isfinite(seen.before).all(axis=0)]
    shown = ground if ground.shape[1] >= 100 else seen.after[:, np.isfinite(seen.after).all(axis=0)]
    return stretch_of(shown)


def _map(picture: str, ramp: str, ends: tuple[str, ...], words: str) -> Markup:
    scale = tag("div", *(tag("span", end) for end in ends), class_="ends")
    image = tag("div", tag("img", src=picture, alt=words), class_="frame")
    return tag("figure", image, tag("div", class_=f"ramp {ramp}"), scale, tag("figcaption", words))


def _origin(seen: Overview) -> Markup:
    total = max(1, sum(seen.counts.values()))
    found = {kind: seen.counts[kind] / total for kind in _ORIGINS if seen.counts[kind]}
    keys = (tag("li", tag("i", class_=kind), _ORIGINS[kind], " ", said) for kind, said in in_percent(found).items())
    bar = share_bar(found)
    return joined(tag("h2", "Where the pixels come from"), bar, tag("ul", *keys, class_="key"))


_ORIGINS = {
    "observed": "observed (m = 0)",
    "blended": "at the rim or in thin cloud (m < 0.5)",
    "synthesised": "synthesised",
    "near_gap": "made beside a gap",
    "unjudged": "made, for it could not be judged",
    "no_data": "no data",
}
"""Provenance to its words."""


def _coverage(share: float) -> str:
    return "unknown" if math.isnan(share) else percent_text(share)


_HEADINGS = ("MAE", "RMSE", "PSNR (dB)", "SAM (°)", "answered")


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
