"""Download of chosen products: whole ones as zip or SAFE folder, or the bands of an item; resumable and verified.

A product is complete when its record stands beside it, which is written after sizes and checksums were compared. What a
killed run left is continued, not fetched again.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import shapely

from unclouded.acquisition.choice import Found
from unclouded.acquisition.credentials import Credentials
from unclouded.acquisition.places import Place
from unclouded.acquisition.windows import fetch_window
from unclouded.batch.storage import fetch_into, is_web, require_known_storage
from unclouded.errors import InputError
from unclouded.files import as_room, named, require_room, write_json
from unclouded.io.download import RetryPolicy, download
from unclouded.progress import ProgressCallback, no_progress
from unclouded.strict_json import read_json_object
from unclouded.web import require_web_address, shown_address

WHOLE = ("product", "safe", "zip", "archive")
"""Keys of assets with a whole product as one file."""
MANIFESTS = ("safe_manifest", "safe-manifest")
"""Keys of assets with the manifest of a SAFE folder in a storage."""
TYPICAL_BYTES = {"optical": 800 << 20, "radar": 1_000 << 20}
"""Size of a product whose item names none: tiles have 0.3 to 0.9 GB, radar scenes 0.9 to 1.7 GB."""
MAX_BYTES = 16 << 30
GEOTIFFS = (".tif", ".tiff")
ITEM = "item.json"

_CHUNK = 1 << 20
_NAME = re.compile(r"[\w][\w.-]{0,200}")
_HASHES = {"1220": "sha256", "d50110": "md5", "1114": "sha1", "1340": "sha512"}
"""Prefix of a multihash to the name of its function."""


@dataclass(frozen=True)
class RemoteFile:
    """File of a product in an archive.

    Attributes:
        name: Path relative to the folder of the product.
        address: URL, which may be secret.
        size: Size by the item, bytes; None if unknown.
        checksum: Multihash by the item, hexadecimal; empty if unknown.
    """

    name: str
    address: str
    size: int | None = None
    checksum: str = ""


@dataclass(frozen=True)
class RemoteProduct:
    """Product in an archive.

    Attributes:
        name: Name of the file or folder to write.
        files: Its files; the only one of a zip has the name of the product, and a folder in a storage has one with an
            address and without size.
        kind: ``file``, ``folder`` in a storage, or ``bands`` of an item.
        collection: Collection of the item.
        sensor: ``optical`` or ``radar``.
        item: STAC item, kept beside bands.
        window: Area of which alone bands are fetched, GeoJSON geometry in degrees; None for whole files.
        share: Approximate share of the product that is fetched.
    """

    name: str
    files: tuple[RemoteFile, ...]
    kind: str
    collection: str
    sensor: str
    item: Mapping[str, Any]
    window: Mapping[str, Any] | None = None
    share: float = 1.0

    @property
    def bytes(self) -> int:
        """Size by the item, or a typical one, of the part to fetch."""
        sizes = [one.size for one in self.files]
        whole = TYPICAL_BYTES[self.sensor] if None in sizes else sum(size or 0 for size in sizes)
        return int(whole * self.share)

    def cut_to(self, place: Place) -> "RemoteProduct":
        """Return the product with the bands cut to a place, if it has bands and the place is no whole tile."""
        by_window = all(is_web(one.address) and one.name.lower().endswith(GEOTIFFS) for one in self.files)
        if self.kind != "bands" or place.tile or not by_window:
            return self
        outline = shapely.geometry.shape(place.outline)
        whole = shapely.geometry.shape(self.item["geometry"])
        share = min(outline.envelope.area / max(whole.area, 1e-9), 1.0)
        mark = hashlib.sha256(json.dumps(place.outline, sort_keys=True).encode()).hexdigest()[:8]
        return replace(self, name=f"{self.name}_{mark}", window=place.outline, share=max(share, 0.001))

    @property
    def is_size_known(self) -> bool:
        """Whether the item names all sizes, of whole files."""
        return self.window is None and all(one.size is not None for one in self.files)


def remote_product(found: Found) -> RemoteProduct:
    """Return the files of a product by the assets of its item.

    Raises:
        InputError: The item has no asset with a whole product, nor all bands as GeoTIFFs or JPEG 2000 images.
    """
    assets = found.item.get("assets")
    given = (
        {str(key): one for key, one in assets.items() if isinstance(one, Mapping)} if isinstance(assets, dict) else {}
    )
    by_key = {key.lower(): one for key, one in given.items()}
    name, kind = found.record.name, found.record.kind
    collection = str(found.item.get("collection") or "")
    for key in WHOLE:
        if (address := _address(by_key.get(key))) and not address.rstrip("/").endswith(".SAFE"):
            suffix = ".tif" if PurePosixPath(urlsplit(address).path).suffix.lower() in (".tif", ".tiff") else ".zip"
            one = _remote_file(f"{name}{suffix}", by_key[key], address)
            return RemoteProduct(one.name, (one,), "file", collection, kind, found.item)
    for key in (*MANIFESTS, *WHOLE):
        address = _address(by_key.get(key)).removesuffix("/manifest.safe").rstrip("/")
        if address.endswith(".SAFE") and not is_web(address):
            return RemoteProduct(
                address.rpartition("/")[2], (RemoteFile("", address),), "folder", collection, kind, found.item
            )
    bands = tuple(_bands(given))
    if len(bands) >= (2 if kind == "radar" else 12):
        return RemoteProduct(name, bands, "bands", collection, kind, found.item)
    raise InputError(
        f"{name} has no asset that can be fetched: expected a whole product ({', '.join(WHOLE)}), a SAFE folder in a "
        f"storage, or all bands as images, found {', '.join(sorted(given))[:120] or 'none'}; choose another archive"
    )


def _bands(assets: Mapping[str, Mapping[str, Any]]) -> Iterator[RemoteFile]:
    """Yield the GeoTIFFs or JPEG 2000 images with one band each, by their file names."""
    seen: set[str] = set()
    for key, asset in assets.items():
        address = _address(asset)
        name = unquote(PurePosixPath(urlsplit(address).path).name)
        is_band = "data" in (asset.get("roles") or ()) or key.upper() in ("VV", "VH")
        if not name.lower().endswith((*GEOTIFFS, ".jp2")) or not is_band or not _NAME.fullmatch(name):
            continue
        if not re.search(
            r"(?i)\b(b\d[\da]?|vv|vh|coastal|blue|green|red\w*|nir\d*|swir\d*|cirrus|scl)\b", key.replace("_", " ")
        ):
            continue
        if name not in seen:
            seen.add(name)
            yield _remote_file(name, asset, address)


def _remote_file(name: str, asset: Mapping[str, Any], address: str) -> RemoteFile:
    size, checksum = asset.get("file:size"), asset.get("file:checksum")
    known = isinstance(size, int) and not isinstance(size, bool) and 0 < size <= MAX_BYTES
    valid = isinstance(checksum, str) and re.fullmatch(r"[0-9a-f]{8,200}", checksum)
    return RemoteFile(name, address, size if known else None, str(checksum) if valid else "")


def _address(asset: Any) -> str:
    """Return the https or storage address of an asset, or of its alternative; empty if it has none that is valid."""
    if not isinstance(asset, Mapping):
        return ""
    alternatives = asset.get("alternate")
    others = alternatives.values() if isinstance(alternatives, Mapping) else ()
    hrefs = [one.get("href") for one in (asset, *others) if isinstance(one, Mapping)]
    for href in sorted((one for one in hrefs if isinstance(one, str)), key=lambda one: not is_web(one)):
        try:
            if is_web(href):
                require_web_address(href)
            else:
                require_known_storage(href)
                if not href.startswith(("s3://", "gs://")):
                    continue
        except InputError:
            continue
        return href
    return ""


def fetch_product(
    product: RemoteProduct,
    folder: Path,
    credentials: Credentials,
    on_progress: ProgressCallback = no_progress,
    retry: RetryPolicy | None = None,
) -> Path:
    """Fetch a product unless it is there; return its path.

    Args:
        product: Product in an archive.
        folder: Folder in which the product appears under its name.
        credentials: Credentials of the archive.
        on_progress: Called with (stage, bytes done, total bytes).
        retry: Timeouts and attempts; the defaults if omitted.

    Raises:
        InputError: The product is missing, or not as its item describes it; or credentials are rejected.
        MachineError: Not enough disk space, or the folder is not writable.
    """
    if not _NAME.fullmatch(product.name):
        raise InputError(f"{product.name[:80]!r} is not a valid name for a product; check the archive")
    target, record = folder / product.name, folder / f".{product.name}.fetched.json"
    identity = [[one.name, shown_address(one.address), one.size, one.checksum] for one in product.files]
    if target.exists() and _read_record(record) == identity:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    require_room(folder, max(product.bytes - _there(target), 0), f"fetch {product.name}")
    access = replace(credentials, collection=product.collection)
    if product.kind == "folder":
        fetch_into(product.files[0].address, target, on_progress)
    elif product.kind == "file":
        _fetch_file(product.files[0], target, access, on_progress, retry)
    else:
        for done, one in enumerate(product.files, start=1):
            if product.window is None:
                _fetch_file(one, target / one.name, access, on_progress, retry)
            elif not (target / one.name).exists():
                fetch_window(one.address, target / one.name, product.window, access, retry)
                on_progress(f"fetch {product.name[:40]}", done * product.bytes // len(product.files), product.bytes)
        write_json(target / ITEM, without_secrets(product.item))
    write_json(record, {"files": identity})
    return target


def _fetch_file(
    one: RemoteFile, target: Path, access: Credentials, on_progress: ProgressCallback, retry: RetryPolicy | None
) -> None:
    """Fetch a file and compare it with its description; a file that differs is removed."""
    if not target.exists():
        if is_web(one.address):
            download(one.address, target, on_progress, retry or RetryPolicy(), access)
        else:
            fetch_into(one.address, target, on_progress)
    if mistake := _mistake(one, target):
        target.unlink()
        raise InputError(f"{named(target)} {mistake}; it was removed, run again, or choose another archive")


def _mistake(one: RemoteFile, path: Path) -> str:
    """Return how a file differs from its description; empty if it does not."""
    if one.size is not None and (found := path.stat().st_size) != one.size:
        return f"has {found:,} bytes, expected {one.size:,}"
    name = next((_HASHES[prefix] for prefix in _HASHES if one.checksum.startswith(prefix)), "")
    if not name:
        return ""
    expected = one.checksum[next(len(prefix) for prefix in _HASHES if one.checksum.startswith(prefix)) :]
    digest = hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return "" if digest.hexdigest() == expected else f"has another checksum ({name}) than its item"


def _there(target: Path) -> int:
    """Return the bytes of a product that are on the disk, of an unfinished download, too."""
    parts = [target, target.with_name(f"{target.name}.part")]
    files = [one for path in parts for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file()]
    return sum(one.stat().st_size for one in files)


def _read_record(record: Path) -> Any:
    try:
        return read_json_object(record, 1 << 20)["files"]
    except (InputError, KeyError):
        return None


def without_secrets(item: Any) -> Any:
    """Return an item with addresses without user, password and query."""
    if isinstance(item, Mapping):
        return {
            str(key): re.sub(r"//[^/@]*@", "//", value.partition("?")[0])
            if key == "href" and isinstance(value, str)
            else without_secrets(value)
            for key, value in item.items()
        }
    return [without_secrets(one) for one in item] if isinstance(item, list) else item


def predicted_room(products: Sequence[RemoteProduct]) -> str:
    """Return the disk space of products in words, as a bound unless all sizes are known."""
    total = sum(one.bytes for one in products)
    return as_room(total) if all(one.is_size_known for one in products) else f"about {as_room(total)}"
