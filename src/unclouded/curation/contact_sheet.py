"""Contact sheet of a data set: an HTML page with a few triplets of every region, and the failed regions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unclouded.errors import InputError
from unclouded.html_page import render_page
from unclouded.io.raster import read
from unclouded.patches.layouts import Inventory, TripletFiles
from unclouded.patches.manifest import FAILED
from unclouded.patches.manifest_rows import summary_lines
from unclouded.patches.mosaic import reduced
from unclouded.patches.screening import ScreeningSettings
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sensors import RGB, SENTINEL1, SENTINEL2
from unclouded.stretch import Stretch, photograph, stretch_of

STEP = 2
"""Patch pixels along a side of a picture's pixel."""
RADAR_DB = (-25.0, 0.0)
"""VV backscatter shown black and white, dB."""

RowOfPatch = Mapping[str, Mapping[str, Any]]
"""Row of the manifest by name of the patch."""


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
    regions_shown = []
    for number, (roi, group) in enumerate(regions.items(), start=1):
        regions_shown.append(_region(roi, group, rows_of[roi], described, patches))
        on_progress("drawing regions", number, len(regions))
    return render_page(
        "contact_sheet.html",
        title=inventory.root.name,
        summary=inventory.summary(),
        counts=summary_lines(rows, ScreeningSettings()),
        radar_db=RADAR_DB,
        regions=regions_shown,
        failed=[f"{row['roi']}: {row['reason']}" for row in rows if row["status"] == FAILED],
    )


def _region(
    roi: str, files: Sequence[TripletFiles], rows: Sequence[Mapping[str, Any]], described: RowOfPatch, patches: int
) -> dict[str, Any]:
    """Return name, counts and evenly spaced triplets of a region for the page."""
    rejected = sum(row["status"] not in ("kept", FAILED) for row in rows)
    part = next((f", {row['split']}" for row in rows if row["split"]), "")
    counted = f"triplets: {len(files):,}{part}" + (f"; rejected: {rejected:,}" if rejected else "")
    chosen = np.unique(np.linspace(0, len(files) - 1, min(patches, len(files))).round().astype(int))
    shown = [_triplet(files[index], described.get(files[index].name, {})) for index in chosen]
    return {"name": roi or "without region", "counted": counted, "triplets": shown}


def _triplet(files: TripletFiles, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return pictures and caption of a triplet; a damaged one has a caption only."""
    try:
        return {"pictures": list(_pictures(files)), "caption": _caption(files, row)}
    except InputError as error:
        return {"pictures": [], "caption": f"{files.name}: {error}"}


def _pictures(files: TripletFiles) -> Iterator[tuple[str, str]]:
    assert files.clear
    radar = reduced(read(files.sar, SENTINEL1).select(("VV",)).values, STEP)
    cloudy, clear = (reduced(read(path, SENTINEL2).select(RGB).values, STEP) for path in (files.cloudy, files.clear))
    stretch = stretch_of(clear[:, np.isfinite(clear).all(axis=0)])
    yield "radar", photograph(np.repeat(radar, 3, axis=0), Stretch((RADAR_DB[0],) * 3, RADAR_DB[1] - RADAR_DB[0]))
    yield "cloudy", photograph(cloudy, stretch)
    yield "clear", photograph(clear, stretch)


def _caption(files: TripletFiles, row: Mapping[str, Any]) -> str:
    """Return number or name, cloud coverage, dates and findings, as far as the manifest has them."""
    facts = [f"p{files.patch.number}" if files.patch else files.name]
    if row.get("mean_coverage") is not None:
        facts.append(f"{row['mean_coverage']:.0%} cloud")
    dates = {
        name: row.get(f"{token}_acquired")
        for name, token in (("radar", "s1"), ("cloudy", "s2_cloudy"), ("clear", "s2"))
    }
    facts += [f"{name} {str(when)[:10]}" for name, when in dates.items() if when is not None]
    return " · ".join([*facts, *(row.get("findings") or ())])
