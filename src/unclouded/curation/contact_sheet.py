"""Contact sheet of a data set: an HTML page with a few triplets of every region, and the failed regions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unclouded.errors import InputError
from unclouded.io.raster import read
from unclouded.patches.layouts import Inventory, TripletFiles
from unclouded.patches.manifest import FAILED
from unclouded.patches.manifest_rows import summary_lines
from unclouded.patches.mosaic import reduced
from unclouded.patches.screening import ScreeningSettings
from unclouded.prediction.report.figures import photograph, stretch_of
from unclouded.prediction.report.html import Markup, joined, tag
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2

STEP = 2
"""Pixels of a patch along a pixel of the page."""
RADAR_DB = (-25.0, 0.0)
"""VV backscatter shown as black and as white."""
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2733; background: #f6f7f8; margin: 2rem auto; max-width: 1320px;
  padding: 0 1.2rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2rem 0 .2rem }
p { margin: .2rem 0; color: #52606d }
.triplets { display: flex; flex-wrap: wrap; gap: 14px 22px; margin-top: .5rem }
figure { margin: 0; max-width: 392px }
figure img { width: 128px; height: 128px; margin-right: 2px; background: #d5dade }
figcaption { font-size: 12px; color: #52606d }
"""

RowOfPatch = Mapping[str, Mapping[str, Any]]


def contact_sheet(
    inventory: Inventory,
    rows: Sequence[Mapping[str, Any]],
    patches: int,
    on_progress: ProgressCallback = no_progress,
) -> str:
    """Return the page as self-contained HTML: images are embedded, and the page makes no network request.

    Args:
        inventory: Triplets of the data set.
        rows: Rows of the manifest; empty if the data set has none.
        patches: Number of triplets per region, evenly spaced from the first to the last.
        on_progress: Called with (stage, completed, total) after every region.
    """
    regions: dict[str, list[TripletFiles]] = defaultdict(list)
    for files in inventory.require_triplets():
        regions[str(files.roi or "")].append(files)
    described = {str(row["patch"]): row for row in rows}
    rows_of = defaultdict[str, list[Mapping[str, Any]]](list)
    for row in rows:
        rows_of[row["roi"] or ""].append(row)
    sections = []
    for number, (roi, group) in enumerate(regions.items(), start=1):
        sections.append(_region(roi, group, rows_of[roi], described, patches))
        on_progress("drawing regions", number, len(regions))
    failed = [tag("p", f"{row['roi']}: {row['reason']}") for row in rows if row["status"] == FAILED]
    head = [tag("meta", charset="utf-8"), tag("title", inventory.root.name), tag("style", Markup(_STYLE))]
    body = [
        tag("h1", inventory.root.name),
        tag("p", "Radar (VV, -25 to 0 dB), cloudy image and clear image of some triplets of every region"),
        tag("p", inventory.summary()),
        *(tag("p", line) for line in summary_lines(rows, ScreeningSettings())),
        *sections,
        joined(tag("h2", "Failed regions"), *failed) if failed else "",
    ]
    return f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', *body), lang='en')}\n"


def _region(
    roi: str, files: Sequence[TripletFiles], rows: Sequence[Mapping[str, Any]], described: RowOfPatch, patches: int
) -> Markup:
    rejected = sum(row["status"] not in ("kept", FAILED) for row in rows)
    part = next((f", {row['split']}" for row in rows if row["split"]), "")
    counted = f"triplets: {len(files):,}{part}" + (f"; rejected: {rejected:,}" if rejected else "")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(patches, len(files))).round().astype(int))
    shown = [_triplet(files[index], described.get(files[index].name, {})) for index in chosen]
    return joined(tag("h2", roi or "without region"), tag("p", counted), tag("div", *shown, class_="triplets"))


def _triplet(files: TripletFiles, row: Mapping[str, Any]) -> Markup:
    try:
        pictures = [tag("img", src=address, alt=name, title=name) for name, address in _pictures(files)]
    except InputError as error:
        return tag("figure", tag("figcaption", f"{files.name}: {error}"))
    return tag("figure", *pictures, tag("figcaption", *_caption(files, row)))


def _pictures(files: TripletFiles) -> Iterator[tuple[str, str]]:
    assert files.clear
    radar = reduced(read(files.sar, SENTINEL1).select(("VV",)).values, STEP)
    cloudy, clear = (reduced(read(path, SENTINEL2).select(RGB).values, STEP) for path in (files.cloudy, files.clear))
    stretch = stretch_of(clear[:, np.isfinite(clear).all(axis=0)])
    yield "radar", photograph(np.repeat(radar, 3, axis=0), RADAR_DB)
    yield "cloudy", photograph(cloudy, stretch)
    yield "clear", photograph(clear, stretch)


def _caption(files: TripletFiles, row: Mapping[str, Any]) -> Iterator[Markup]:
    """Yield the caption: number or name, cloud coverage, dates and findings, as far as the manifest has them."""
    facts = [f"p{files.patch.number}" if files.patch else files.name]
    if row.get("mean_coverage") is not None:
        facts.append(f"{row['mean_coverage']:.0%} cloud")
    dates = {
        name: row.get(f"{token}_acquired")
        for name, token in (("radar", "s1"), ("cloudy", "s2_cloudy"), ("clear", "s2"))
    }
    facts += [f"{name} {str(when)[:10]}" for name, when in dates.items() if when is not None]
    yield joined(" · ".join([*facts, *(row.get("findings") or ())]))
