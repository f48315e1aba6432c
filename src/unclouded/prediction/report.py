"""One page about a cleared scene: what it was, what it is, how far to trust it. Self-contained, for any browser.

The page asks nobody for anything: pictures are data addresses, style and script stand in it, and its content security
policy allows these two by their hashes and nothing else. Names from files are shown as text, never read as markup.
"""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from unclouded.files import write_text
from unclouded.prediction import report_sections as sections
from unclouded.prediction.report_facts import Facts
from unclouded.prediction.report_markup import Markup, tag
from unclouded.prediction.views import Gathered

_ORDER = (
    sections.head,
    sections.tiles,
    sections.remarks,
    sections.comparison,
    sections.maps,
    sections.crops,
    sections.spectra,
    sections.expected,
    sections.tables,
)


def write_report(path: Path, facts: Facts, seen: Gathered) -> None:
    """Write the page, whole or not at all.

    Args:
        path: HTML file.
        facts: What is known beside the pixels.
        seen: What :func:`~unclouded.prediction.views.gather` found.
    """
    write_text(path, page(facts, seen))


def page(facts: Facts, seen: Gathered) -> str:
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
    return Markup(files("unclouded.prediction").joinpath(name).read_text("utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
