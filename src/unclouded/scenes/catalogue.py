"""Where items of scenes come from: a STAC API, or a file or a catalogue of files on disk."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from unclouded.errors import InputError
from unclouded.files import named, resolved
from unclouded.strict_json import read_json_object

MAX_FILES = 50_000
"""Most files of a catalogue on disk."""
MAX_BYTES = 128 << 20
"""Largest of them."""


@runtime_checkable
class Catalogue(Protocol):
    """Whoever has items."""

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        """Return what a collection may have of a place (a GeoJSON geometry) and of some days, first and last."""
        ...


def open_catalogue(address: str) -> Catalogue:
    """Open a STAC API by its address, or a catalogue on disk by its path.

    Raises:
        InputError: It is neither, or pystac-client is not installed.
    """
    if not re.match("https?:", address, re.IGNORECASE):
        return StoredCatalogue(Path(address))
    try:
        from unclouded.scenes.stac_api import StacApi
    except ImportError as error:
        raise InputError("pystac-client is not installed; install 'unclouded[stac]'") from error
    return StacApi(address)


class StoredCatalogue:
    """Items on disk: an item collection, an item, or a catalogue with links to its items. All are asked, always.

    Args:
        path: JSON file; links are followed within its folder, and nowhere else.

    Raises:
        InputError: It is no such file, or links lead out of its folder.
    """

    def __init__(self, path: Path) -> None:
        self._items = list(_items(resolved(path), resolved(path).parent, set()))

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        """Return all items: what they show, when, and what they are is looked at by whoever chooses."""
        return self._items


def _items(path: Path, folder: Path, seen: set[Path]) -> Iterator[Any]:
    """Yield the items that a file has or leads to, each file once."""
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
    except ValueError:  # an InputError, too: a zero byte, a loop of links
        fits = False
    if not fits:
        raise InputError(f"{named(path)} leads to {href[:80]!r}, outside its folder; do not trust it")
    return place
