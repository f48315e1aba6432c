"""STAC items as scenes, and the catalogues they come from.

:func:`record_of` validates an item of a public catalogue and returns its :class:`SceneRecord`. :func:`open_catalogue`
opens a STAC API or a catalogue on disk, and :class:`ResponseCache` stores responses until a search is complete.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from unclouded.catalogue.triplets import SceneRecord, zone_of
from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.files import named, resolved, write_text
from unclouded.io.geojson import parse_polygon
from unclouded.strict_json import read_json, read_json_object

MAX_POINTS = 10_000
"""Largest number of vertices of a footprint; those of Sentinel have 5 to 50."""

_NAME = re.compile(r"S[12][A-Z]_[A-Z0-9][\w.-]{8,140}")

_FETCHED = ("product", "safe_manifest", "safe-manifest", "metadata", "product_metadata", "product-metadata")
"""Assets that refer to a whole product, in order of preference."""


def records_of(items: Iterable[Any]) -> tuple[list[SceneRecord], dict[str, str]]:
    """Return the records of valid items, and the reason why each other item was skipped, by its id."""
    records, skipped = [], {}
    for item in items:
        try:
            records.append(record_of(item))
        except InputError as error:
            skipped[_shown(item.get("id") if isinstance(item, Mapping) else item)] = str(error)
    return records, skipped


def record_of(item: Any, *, level: Literal["L1C", "L2A"] = "L1C") -> SceneRecord:
    """Read an untrusted item of a Sentinel-2 or Sentinel-1 IW GRDH product.

    Args:
        item: STAC item.
        level: Processing level of optical products.

    Raises:
        InputError: The item is another product, or lacks required metadata.
    """
    properties = item.get("properties") if isinstance(item, Mapping) else None
    if not isinstance(properties, Mapping):
        raise InputError("no item with properties")
    name = _name(item, properties)
    if name.startswith("S1"):
        _require_grd(name, properties)
    else:
        _require_level(name, properties, level)
    mgrs = _mgrs(name, properties)
    return SceneRecord(
        name=name,
        kind="radar" if name.startswith("S1") else "optical",
        acquired=_acquired(properties),
        footprint=_footprint(item.get("geometry")),
        cloud_percent=_cloud_percent(properties) if name.startswith("S2") else None,
        place=_address(item),
        zone=zone_of(mgrs),
        mgrs=mgrs,
        baseline=_baseline(name, properties),
        item=item,
    )


def _mgrs(name: str, properties: Mapping[str, Any]) -> str:
    """Return the MGRS tile, such as T32TQM, from the product name or else from the properties; empty if unknown."""
    given = (*name.split("_"), properties.get("s2:mgrs_tile"), properties.get("grid:code"))
    tiles = (f"T{one.removeprefix('MGRS-').removeprefix('T')}" for one in given if isinstance(one, str))
    return next((tile for tile in tiles if zone_of(tile)), "")


def _baseline(name: str, properties: Mapping[str, Any]) -> str:
    """Return the processing baseline, such as 05.00, from the product name or else the properties; empty if unknown."""
    if found := re.search(r"_N(\d\d)(\d\d)_", name):
        return f"{found[1]}.{found[2]}"
    given = properties.get("s2:processing_baseline", properties.get("processing:version"))
    return given if isinstance(given, str) and re.fullmatch(r"\d\d\.\d\d", given) else ""


def _name(item: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Return the product name; item ids often contain only parts of it."""
    given = (properties.get("s2:product_uri"), properties.get("s1:product_identifier"), item.get("id"))
    names = [one.removesuffix(".zip").removesuffix(".SAFE") for one in given if isinstance(one, str)]
    for name in names:
        if _NAME.fullmatch(name):
            return name
    raise InputError("no name of a Sentinel-1 or Sentinel-2 product")


def _require_level(name: str, properties: Mapping[str, Any], level: str) -> None:
    kind, expected = properties.get("s2:product_type", properties.get("product:type")), f"S2MSI{level[1:]}"
    if kind != expected and (kind is not None or f"MSI{level}" not in name):
        raise InputError(f"of type {_shown(kind or name)}, expected {expected} (Level-{level[1:]})")


def _require_grd(name: str, properties: Mapping[str, Any]) -> None:
    """Refuse other modes, by the properties of the item or else by the product name."""
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
        parse_polygon(geometry, MAX_POINTS)
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
    """Return the URL of the product, or else of the item; empty if there is no valid one."""
    assets, links = item.get("assets"), item.get("links")
    by_name = {str(key).lower(): one for key, one in assets.items()} if isinstance(assets, Mapping) else {}
    linked = links if isinstance(links, list) else []
    own = [one for one in linked if isinstance(one, Mapping) and one.get("rel") == "self"]
    found = [by_name[name] for name in _FETCHED if name in by_name] + own
    hrefs = (one.get("href") for one in found if isinstance(one, Mapping))
    return next((address for href in hrefs if (address := _plain(href))), "")


def _plain(href: Any) -> str:
    """Return a URL without credentials and query, which may be secret; empty unless it is http, https or s3."""
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


# Catalogues: a STAC API, or files on disk.

MAX_FILES = 50_000
"""Largest number of files of a catalogue on disk."""

MAX_BYTES = 128 << 20
"""Largest file of a catalogue on disk."""


@runtime_checkable
class Catalogue(Protocol):
    """Source of STAC items."""

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        """Return the items of a collection that may intersect a GeoJSON geometry between a first and a last day."""
        ...


def open_catalogue(address: str) -> Catalogue:
    """Open a STAC API by its URL, or a catalogue on disk by its path.

    Raises:
        InputError: The address is neither, or pystac-client is not installed.
    """
    if not re.match("https?:", address, re.IGNORECASE):
        return StoredCatalogue(Path(address))
    try:
        from unclouded.catalogue.stac_api import StacApi
    except ImportError as error:
        raise InputError("pystac-client is not installed; install 'unclouded[stac]'") from error
    return StacApi(address)


class StoredCatalogue:
    """Items on disk: an item collection, an item, or a catalogue with links to its items.

    Args:
        path: JSON file; only links within its folder are followed.

    Attributes:
        every_item: All items, unvalidated.

    Raises:
        InputError: The file is not STAC, or links point outside its folder.
    """

    def __init__(self, path: Path) -> None:
        self.every_item = list(_items(resolved(path), resolved(path).parent, set()))

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        """Return all items, unfiltered; the choice of scenes checks place, time and product."""
        return self.every_item


def _items(path: Path, folder: Path, seen: set[Path]) -> Iterator[Any]:
    """Yield the items of a file and of the files it links to, each file once."""
    waiting = [path]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if len(seen) > MAX_FILES:
            raise InputError(f"{named(folder)} has more than {MAX_FILES:,} files of items; give a part of it")
        content = read_json_object(path, MAX_BYTES, "expected STAC items or a catalogue")
        match content.get("type"):
            case "FeatureCollection" if isinstance(content.get("features"), list):
                yield from content["features"]
            case "Feature":
                yield content
            case "Catalog" | "Collection":
                waiting += reversed([_inside(path, folder, href) for href in _hrefs(content)])
            case other:
                raise InputError(f"{named(path)} is of type {str(other)[:40]!r}, expected STAC items or a catalogue")


def _hrefs(content: Mapping[str, Any]) -> Iterator[str]:
    links = content.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping) and link.get("rel") in ("child", "item", "items"):
            yield str(link.get("href"))


def _inside(path: Path, folder: Path, href: str) -> Path:
    try:
        place = resolved(path.parent / unquote(href))
        fits = not urlsplit(href).scheme and place.is_relative_to(folder)
    except ValueError:  # includes InputError: a null byte, or a loop of links
        fits = False
    if not fits:
        raise InputError(f"{named(path)} leads to {href[:80]!r}, outside its folder; do not trust it")
    return place


class ResponseCache:
    """Catalogue with a response cache on disk, so that an interrupted search resumes without repeating requests.

    Args:
        catalogue: Catalogue to query.
        address: URL or path of the catalogue, part of the cache key.
        folder: Folder with one file per response.

    Attributes:
        is_complete: Whether all queries succeeded.
    """

    def __init__(self, catalogue: Catalogue, address: str, folder: Path) -> None:
        self.is_complete = True
        self._catalogue, self._address, self._folder = catalogue, address, folder

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        """Return the items of the catalogue, from the cache if possible; see :class:`Catalogue`.

        Raises:
            InputError: The catalogue does not respond.
        """
        query = json.dumps([self._address, outline, *map(str, days), collection], sort_keys=True)
        path = self._folder / f"{hashlib.sha256(query.encode()).hexdigest()}.json"
        with suppress(InputError, TypeError):  # not cached yet, or larger than MAX_BYTES
            return list(read_json(path, MAX_BYTES))
        try:
            found = self._catalogue.items(outline, days, collection)
        except InputError:
            self.is_complete = False
            raise
        with suppress(RecursionError):  # items are untrusted and may be nested too deeply
            write_text(path, json.dumps(found))
        return found

    def clear(self) -> None:
        """Remove the folder, so that later searches query the catalogue again."""
        shutil.rmtree(self._folder, ignore_errors=True)
