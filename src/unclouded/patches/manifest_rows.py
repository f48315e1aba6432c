"""Rows of the manifest for patches on disk: hashes, findings of screening, coverage, footprint."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from unclouded.clouds.cache import ProbabilityCache
from unclouded.clouds.map import cloud_map, cloudy_share, mean_coverage
from unclouded.errors import InputError
from unclouded.files import sha256
from unclouded.io.geotiff import file_of, read_grid
from unclouded.io.raster import Raster, read
from unclouded.patches.layouts import CLEAR, CLOUDY, SAR
from unclouded.patches.manifest import FAILED, STATUSES, ManifestRow
from unclouded.patches.reading import PatchImages
from unclouded.patches.roi import SENSORS, THRESHOLD, PatchId
from unclouded.patches.screening import (
    Finding,
    Screening,
    ScreeningSettings,
    above_threshold,
    screen_files,
    threshold_of,
)
from unclouded.sensors import SENTINEL2
from unclouded.sentinel.footprints import footprint
from unclouded.sentinel.scene_alignment import date_gap_days


def describe_patch(
    root: Path,
    images: PatchImages,
    settings: ScreeningSettings,
    *,
    split: str | None = None,
    coverage: bool = True,
    cache: ProbabilityCache | None = None,
) -> ManifestRow:
    """Return the row of a patch of a data set; without dates and products, which the files do not contain.

    Args:
        root: Root of the data set; paths are relative to it.
        images: Images of the patch.
        settings: Thresholds of the checks.
        split: Part of the split, if known.
        coverage: Compute the cloud coverage, which takes most of the time.
        cache: Cache of cloud probabilities.
    """
    screening = screen_files(images, settings)
    row = {**identity_columns(images.name, images.patch), "split": split, **screening_columns(screening)}
    row |= status_columns(screening.rejecting(settings), images.lacks)
    for token, path in images.paths.items():
        row |= file_columns(token, file_of(path), file_of(path).relative_to(root).as_posix())
    readable = {token for token in images.paths if not _unreadable(screening, token)}
    if coverage and CLOUDY in readable:
        row |= coverage_columns(read(images.paths[CLOUDY], SENTINEL2), cache)
    for token in (CLOUDY, CLEAR, SAR):
        if token in readable:
            return row | place_columns(read_grid(images.paths[token]))
    return row


def identity_columns(name: str, patch: PatchId | None) -> ManifestRow:
    """Return name, region and season."""
    roi = patch.roi if patch else None
    return {"patch": name, "roi": str(roi) if roi else None, "season": roi.season if roi else None}


def status_columns(rejecting: Iterable[Finding], lacks: tuple[str, ...] = ()) -> ManifestRow:
    """Return status and reason of a patch, from the findings that reject it and its missing images."""
    findings = list(rejecting)
    reasons = [f"lacks {', '.join(lacks)}"] if lacks else []
    reasons += [str(finding) for finding in findings]
    unreadable = any(finding.check == "unreadable" for finding in findings)
    status = "unreadable" if unreadable else "incomplete" if lacks else "rejected" if findings else "kept"
    return {"status": status, "reason": "; ".join(reasons) or None}


def screening_columns(screening: Screening) -> ManifestRow:
    """Return the names of the checks that found something, and the shift."""
    row: dict[str, Any] = {"findings": [f"{finding.check}:{finding.image}" for finding in screening.findings]}
    if shift := screening.shift:
        row |= {"shift_right_px": shift.right_px, "shift_down_px": shift.down_px, "shift_gap": shift.gap}
    return row


ATTRIBUTION = "Contains modified Copernicus Sentinel data"
"""Notice that the licence of Sentinel data demands, to be followed by the years of the images."""
MEASURES = "measures"
"""Key of the measured values of the checks in the record of a curated patch; no column of the manifest."""


def measured_values(screening: Screening) -> ManifestRow:
    """Return the measured values of a patch for :func:`decided_by_thresholds`."""
    return {MEASURES: [[one.check, one.image, one.value, one.detail] for one in screening.measures]}


def decided_by_thresholds(row: Mapping[str, Any], settings: ScreeningSettings) -> ManifestRow:
    """Return the row of a curated patch with findings, status and reason by given thresholds.

    A patch that passes has the status ``kept`` even if its images were not written when it was cut; see
    :func:`lacks_images`.

    Args:
        row: Recorded row, with the values of :func:`measured_values`; others are returned as they are.
        settings: Thresholds.
    """
    decided = {key: value for key, value in row.items() if key != MEASURES}
    if MEASURES not in row:
        return decided
    measures = [
        Finding(check, image, value, threshold_of(check, image, settings), detail)
        for check, image, value, detail in row[MEASURES]
    ]
    screening = Screening(str(row["patch"]), above_threshold(measures))
    rejecting = screening.rejecting(settings)
    decided |= screening_columns(screening) | status_columns(rejecting)
    if rejecting and row.get(SAR):
        decided["findings"] += [f"{THRESHOLD}{one.check}" for one in rejecting]
    return decided


def lacks_images(row: Mapping[str, Any]) -> bool:
    """Return whether a kept patch has no images, as it was rejected by the thresholds when it was cut."""
    return row["status"] == "kept" and not all(row.get(token) for token in SENSORS)


def file_columns(token: str, path: Path, name: str) -> ManifestRow:
    """Return name, size and hash of a file."""
    return {token: name, f"{token}_bytes": path.stat().st_size, f"{token}_sha256": sha256(path)}


def coverage_columns(cloudy: Raster, cache: ProbabilityCache | None) -> ManifestRow:
    """Return the coverage by both definitions, over pixels whose m is known: mean of m, and share with m > 0."""
    m = cloud_map(cloudy.values, cloudy.bands, cache=cache)
    if np.isnan(m).all():
        return {"mean_coverage": None, "cloudy_share": None}
    return {"mean_coverage": mean_coverage(m), "cloudy_share": cloudy_share(m)}


def date_columns(acquired: Mapping[str, datetime | None]) -> ManifestRow:
    """Return the acquisition dates, and the signed gaps between them in days."""
    dates = {token: acquired.get(token) for token in (SAR, CLEAR, CLOUDY)}
    row: dict[str, Any] = {f"{token}_acquired": when.isoformat() if when else None for token, when in dates.items()}
    return row | {
        "radar_after_clear_days": date_gap_days(dates[SAR], dates[CLEAR]),
        "radar_after_cloudy_days": date_gap_days(dates[SAR], dates[CLOUDY]),
        "clear_after_cloudy_days": date_gap_days(dates[CLEAR], dates[CLOUDY]),
    }


def image_tags(row: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the tags of the GeoTIFFs of a patch by token: product, acquisition date, and the notice of Copernicus.

    Args:
        row: Row with products and dates.
    """
    found: dict[str, dict[str, str]] = {}
    for token in SENSORS:
        tags = {"UNCLOUDED_PRODUCT": str(row[f"{token}_product"])}
        if acquired := row[f"{token}_acquired"]:
            notice = f"{ATTRIBUTION} {acquired[:4]}"
            tags |= {"ACQUISITION_DATETIME": str(acquired), "TIFFTAG_COPYRIGHT": notice}
        found[token] = tags
    return found


def place_columns(geobox: GeoBox) -> ManifestRow:
    """Return CRS and footprint; nothing for a file without georeference."""
    if geobox.crs is None:
        return {}
    crs = f"EPSG:{geobox.crs.epsg}" if geobox.crs.epsg else str(geobox.crs)
    try:
        return {"crs": crs, "geometry": footprint(geobox)}
    except InputError:  # beyond UTM: not a grid of a Sentinel-2 tile
        return {"crs": crs}


def _unreadable(screening: Screening, token: str) -> bool:
    return any(finding.check == "unreadable" and finding.image == token for finding in screening.findings)


# Summary of a manifest.


def summary_lines(rows: Sequence[Mapping[str, Any]], settings: ScreeningSettings) -> list[str]:
    """Return counts of regions, statuses, rejecting checks, and seasons and parts of kept patches, one line each.

    The counts of a line add up: a patch that two checks reject counts once, under both names.

    Args:
        rows: Rows of a manifest.
        settings: Settings that list the checks that reject nothing.
    """
    patches = [row for row in rows if row["status"] != FAILED]
    kept = [row for row in patches if row["status"] == "kept"]
    with_patches = {row["roi"] for row in kept}
    regions = {
        row["roi"]: "failed" if row["status"] == FAILED else "without kept patches" for row in rows if row["roi"]
    }
    regions |= {roi: "with kept patches" for roi in with_patches if roi}
    counts = {
        "regions": _counted(regions.values(), ("with kept patches", "without kept patches", "failed")),
        "candidates": _counted((row["status"] for row in patches), STATUSES),
        "rejected by": _counted(
            _rejecting(row, settings) for row in patches if row["status"] in ("rejected", "unreadable")
        ),
        "kept by season": _counted(row["season"] for row in kept),
    }
    if any(row["split"] for row in kept):
        parts = ("train", "val", "test", "no part")
        counts["kept by part"] = _counted((row["split"] or "no part" for row in kept), parts)
    return [f"  {name:<15} {text}" for name, text in counts.items() if text]


def _rejecting(row: Mapping[str, Any], settings: ScreeningSettings) -> str:
    """Return the checks that reject a patch, in words."""
    checks = {finding.partition(":")[0] for finding in row["findings"] or ()} - {*settings.remarks}
    return " and ".join(sorted(checks - {THRESHOLD[:-1]})) or "not written"


def _counted(words: Iterable[str | None], order: Sequence[str] = ()) -> str:
    """Return the count of each word, in a given order or the most frequent first."""
    counts = Counter(word for word in words if word)
    ordered = [word for word in order if word in counts] or sorted(counts, key=lambda word: (-counts[word], word))
    return ", ".join(f"{word} {counts[word]:,}" for word in ordered)
