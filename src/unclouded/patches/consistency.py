"""Consistency of a manifest: clear and cloudy images of different overpasses, seasons, and parts without common ground.

:func:`without_leaks` rejects patches when a manifest is written, :func:`manifest_faults` lists the faults of one that
exists.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPoint, mapping, shape
from shapely.geometry.base import BaseGeometry

from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.io.geotiff import read_grid
from unclouded.patches.geographic_split import Circle, circle_around, gaps_km
from unclouded.patches.layouts import Inventory
from unclouded.patches.manifest import ManifestRow
from unclouded.patches.roi import LEAK
from unclouded.patches.sampling import months_of
from unclouded.patches.splits import PARTS, official_counts, parts_by_name
from unclouded.sentinel.footprints import footprint

APART_S = 86_400.0
"""Smallest time between the clear and the cloudy image, as in :data:`unclouded.catalogue.pairing.APART_DAYS`."""
LEAST_SHARE = 1e-3
"""Minimum common share of the smaller patch; less is rounding between patches that touch."""


def without_leaks(rows: Iterable[Mapping[str, Any]], apart_km: float) -> list[ManifestRow]:
    """Return the rows of a manifest, with kept patches rejected that are too close to another part.

    Of two regions of different parts, that of train is rejected, and that of val beside test. Distances are those of
    circles around the patches of a region.

    Args:
        rows: Rows of a manifest.
        apart_km: Minimum distance between regions of different parts.
    """
    listed: list[ManifestRow] = [dict(row) for row in rows]
    regions = _regions(listed)
    names = sorted(regions, key=lambda roi: (-PARTS.index(regions[roi][0]), roi))
    gaps = gaps_km([regions[roi][1] for roi in names])
    nearest: dict[str, tuple[str, float]] = {}
    for index, roi in enumerate(names):
        others = [at for at in range(index) if regions[names[at]][0] != regions[roi][0] and names[at] not in nearest]
        if others and (gap := float(gaps[index, others].min())) < apart_km:
            nearest[roi] = names[others[int(gaps[index, others].argmin())]], gap
    return [_rejected(row, nearest[row["roi"]], apart_km) if row.get("roi") in nearest else row for row in listed]


def _rejected(row: ManifestRow, nearest: tuple[str, float], apart_km: float) -> ManifestRow:
    other, gap = nearest
    if row["status"] != "kept":
        return row
    where = "overlaps" if gap < 0 else f"lies {gap:.0f} km from"
    reason = f"region {where} {other} of another part, expected {apart_km:g} km; put both in one part"
    return {**row, "status": "rejected", "reason": reason, "findings": [*(row.get("findings") or ()), LEAK + other]}


def _regions(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, Circle]]:
    """Return part and circle of each region with a part, a location and kept patches."""
    points, parts = defaultdict(list), {}
    for row in rows:
        place = place_of(row)
        if row["status"] == "kept" and row.get("roi") and row.get("split") in PARTS and place is not None:
            points[row["roi"]].append(shapely.get_coordinates(place))
            parts[row["roi"]] = row["split"]
    return {
        roi: (parts[roi], circle_around(mapping(MultiPoint(np.concatenate(found))))) for roi, found in points.items()
    }


def place_of(row: Mapping[str, Any]) -> BaseGeometry | None:
    """Return the footprint of a row, which is WKB in a file and GeoJSON before; None if it has none."""
    geometry = row.get("geometry")
    if not geometry:
        return None
    return shapely.from_wkb(geometry) if isinstance(geometry, bytes) else shape(geometry)


def manifest_faults(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the faults of the kept patches of a manifest, one line per region or pair of patches."""
    kept = [row for row in rows if row["status"] == "kept"]
    found = dict.fromkeys(fault for row in kept for fault in _faults_of(row))
    places = {row["patch"]: place for row in kept if (place := place_of(row)) is not None}
    parts = {row["patch"]: row["split"] for row in kept}
    return [*found, *leaks(places, parts)]


def _faults_of(row: Mapping[str, Any]) -> Iterator[str]:
    roi = row["roi"] or row["patch"]
    if row["s2_product"] and row["s2_product"] == row["s2_cloudy_product"]:
        yield f"{roi}: {row['s2_product']} is both clear and cloudy image"
    clear, cloudy = _time(row["s2_acquired"]), _time(row["s2_cloudy_acquired"])
    if clear and cloudy and abs((clear - cloudy).total_seconds()) < APART_S:
        yield f"{roi}: clear image of {clear:%Y-%m-%d %H:%M} and cloudy image of {cloudy:%H:%M} are one overpass"
    place = place_of(row)
    if place is None or not row["season"]:
        return
    for token in ("s1", "s2", "s2_cloudy"):
        when = _time(row[f"{token}_acquired"])
        if when and when.month not in months_of(row["season"], place.centroid.y):
            yield f"{roi}: {token} of {when:%Y-%m-%d} is of another season, expected {row['season']}"


def _time(given: Any) -> datetime | None:
    return given if given is None or isinstance(given, datetime) else parse_utc(given)


def leaks(places: Mapping[str, BaseGeometry], parts: Mapping[str, str | None]) -> list[str]:
    """Return the pairs of patches of different parts with common ground, one line each.

    Args:
        places: Footprints in degrees by patch.
        parts: Parts by patch; patches without one are ignored.
    """
    names = [name for name in places if parts.get(name) in PARTS]
    outlines = np.array([places[name] for name in names], object)
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    part = np.array([PARTS.index(str(parts[name])) for name in names], int)
    apart = part[first] < part[second]
    first, second = first[apart], second[apart]
    common = shapely.area(shapely.intersection(outlines[first], outlines[second]))
    share = common / np.minimum(shapely.area(outlines[first]), shapely.area(outlines[second]))
    return [
        f"{names[one]} ({parts[names[one]]}) and {names[other]} ({parts[names[other]]}) share {value:.0%} of the ground"
        for one, other, value in zip(first.tolist(), second.tolist(), share.tolist(), strict=True)
        if value > LEAST_SHARE
    ]


def leaks_of_files(inventory: Inventory) -> list[str]:
    """Return the pairs of :func:`leaks` of a data set without manifest, by the georeference of its files.

    Pairs of two published regions are left out, as their parts are those of the authors.
    """
    published = official_counts()
    files = {one.name: one for one in inventory.triplets}
    parts = parts_by_name(inventory) if inventory.triplets else {}
    if all(one.roi in published for one in files.values()):
        return []
    places = {}
    for name, one in files.items():
        with suppress(InputError):  # reported as damaged, or without georeference
            places[name] = shape(footprint(read_grid(one.sar)))
    return leaks(places, parts)
