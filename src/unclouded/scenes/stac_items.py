"""A STAC item as public catalogues write it, taken for a scene only where it says all that a choice needs."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.scenes.candidates import SceneRecord, zone_of
from unclouded.scenes.geojson import polygon_of

MAX_POINTS = 10_000
"""Most corners of a footprint; those of Sentinel have 5 to 50."""
_NAME = re.compile(r"S[12][A-Z]_[A-Z0-9][\w.-]{8,140}")
_FETCHED = ("product", "safe_manifest", "safe-manifest", "metadata", "product_metadata", "product-metadata")
"""Assets that lead to a whole product, in the order they are asked for."""


def records_of(items: Iterable[Any]) -> tuple[list[SceneRecord], dict[str, str]]:
    """Return the scenes among items, and why each of the others is none, by its id."""
    records, skipped = [], {}
    for item in items:
        try:
            records.append(record_of(item))
        except InputError as error:
            skipped[_shown(item.get("id") if isinstance(item, Mapping) else item)] = str(error)
    return records, skipped


def record_of(item: Any) -> SceneRecord:
    """Read an item of a Sentinel-2 Level-1C or a Sentinel-1 IW GRDH product, whatever somebody wrote into it.

    Raises:
        InputError: It is another product, or lacks what a choice needs; says what.
    """
    properties = item.get("properties") if isinstance(item, Mapping) else None
    if not isinstance(properties, Mapping):
        raise InputError("no item with properties")
    name = _name(item, properties)
    if name.startswith("S1"):
        _require_grd(name, properties)
    else:
        _require_level_1c(name, properties)
    return SceneRecord(
        name=name,
        kind="radar" if name.startswith("S1") else "optical",
        acquired=_acquired(properties),
        footprint=_footprint(item.get("geometry")),
        cloud_percent=_cloud_percent(properties) if name.startswith("S2") else None,
        place=_address(item),
        zone=next(filter(None, map(zone_of, name.split("_"))), None),
    )


def _name(item: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Return the name of the product; ids of items are often made from parts of it."""
    given = (properties.get("s2:product_uri"), properties.get("s1:product_identifier"), item.get("id"))
    names = [one.removesuffix(".zip").removesuffix(".SAFE") for one in given if isinstance(one, str)]
    for name in names:
        if _NAME.fullmatch(name):
            return name
    raise InputError("no name of a Sentinel-1 or Sentinel-2 product")


def _require_level_1c(name: str, properties: Mapping[str, Any]) -> None:
    kind = properties.get("s2:product_type", properties.get("product:type"))
    if kind != "S2MSI1C" and (kind is not None or "MSIL1C" not in name):
        raise InputError(f"of type {_shown(kind or name)}, expected S2MSI1C (Level-1C)")


def _require_grd(name: str, properties: Mapping[str, Any]) -> None:
    """Refuse other modes; where an item is silent, the name of the product speaks."""
    parts = [*name.split("_"), "", "", ""]
    mode = properties.get("sar:instrument_mode", parts[1])
    kind = properties.get("sar:product_type", properties.get("product:type", parts[2]))
    if mode != "IW" or "GRD" not in str(kind) or properties.get("s1:resolution", "high") != "high":
        found = " ".join(_shown(one) for one in (mode, kind, properties.get("s1:resolution", "")))
        raise InputError(f"of type {found.strip()}, expected IW GRD of high resolution")
    polarizations = properties.get("sar:polarizations", ["VV", "VH"] if parts[3].endswith("DV") else [])
    if not isinstance(polarizations, list) or not {"VV", "VH"} <= {str(one) for one in polarizations}:
        found = " ".join(map(_shown, polarizations)) if isinstance(polarizations, list) else _shown(polarizations)
        raise InputError(f"with polarizations {found[:80] or 'unknown'}, expected VV and VH")


def _acquired(properties: Mapping[str, Any]) -> datetime:
    try:
        return parse_utc(properties.get("datetime") or properties.get("start_datetime"))
    except InputError as error:
        raise InputError(f"without a valid date, {error}") from error


def _footprint(geometry: Any) -> Mapping[str, Any]:
    try:
        polygon_of(geometry, MAX_POINTS)
    except InputError as error:
        raise InputError(f"with a footprint that is none: {error}") from error
    return dict(geometry)


def _cloud_percent(properties: Mapping[str, Any]) -> float | None:
    percent = properties.get("eo:cloud_cover")
    if percent is None:
        return None
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise InputError(f"with a cloud cover of {_shown(percent)}, expected 0 to 100")
    return float(percent)


def _address(item: Mapping[str, Any]) -> str:
    """Return where the product can be fetched, or the item read; nothing where no address is one."""
    assets, links = item.get("assets"), item.get("links")
    by_name = {str(key).lower(): one for key, one in assets.items()} if isinstance(assets, Mapping) else {}
    linked = links if isinstance(links, list) else []
    own = [one for one in linked if isinstance(one, Mapping) and one.get("rel") == "self"]
    found = [by_name[name] for name in _FETCHED if name in by_name] + own
    hrefs = (one.get("href") for one in found if isinstance(one, Mapping))
    return next((address for href in hrefs if (address := _plain(href))), "")


def _plain(href: Any) -> str:
    """Return an address without what may be secret in it; nothing where it is none of the web or of a store."""
    if not isinstance(href, str) or len(href) > 1000 or not href.isascii() or not href.isprintable() or " " in href:
        return ""
    try:
        parts = urlsplit(href)
        host = parts.hostname
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https", "s3") or not host:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, str | int | float) else type(value).__name__
    return (text if text.isprintable() else ascii(text))[:80]
