"""Storage that fsspec knows, such as buckets: products are fetched whole from it, and outputs delivered to it.

Nothing is opened where it lies: readers of images want local regular files. Credentials and endpoints are fsspec's own
configuration, never part of an address.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from unclouded.batch.tasks import content_id
from unclouded.errors import InputError
from unclouded.files import content_hash, is_file, require_room, sha256
from unclouded.io.download import download
from unclouded.io.geotiff import mask_beside
from unclouded.sentinel.safe import is_zip, listed_checksums
from unclouded.web import SilentError, WebError, asked, declared_bytes, require_web_address

PROTOCOLS = ("file", "http", "https", "s3", "gs", "az", "abfs", "memory")
"""Storages that are used; others of fsspec run code, follow references, or reach hosts of their own."""
MAX_FILES, MAX_BYTES = 2_000, 16 << 30
"""Most files and bytes of one product; a SAFE folder has 200 files, 13 bands of a tile as GeoTIFF take 3 GB."""

_CHUNK = 1 << 20
_PART = re.compile(r"[^\\/:\x00-\x1f]{1,255}")
"""What may be part of a file's name."""


def is_url(text: str) -> bool:
    """Say whether something is an address in a storage, not a path."""
    return "://" in text


def is_web(text: str) -> bool:
    """Say whether something is an address of a web server, which is asked without fsspec."""
    return text.startswith(("http://", "https://"))


def shown(url: str) -> str:
    """Return an address as messages show it: without a password, and without a query, which may hold a signature."""
    text = re.sub(r"//[^/@]*@", "//", url.partition("?")[0])[:300]
    return text if text.isprintable() else ascii(text)


def require_known_storage(url: str) -> None:
    """Refuse an address that is none, that chains storages, or whose protocol is not one of :data:`PROTOCOLS`.

    Raises:
        InputError: Names the protocol and those that are used.
    """
    protocol = url.partition("://")[0]
    if not is_url(url) or "::" in url:
        raise InputError(f"expected an address such as s3://bucket/folder, found {shown(url)}")
    if protocol not in PROTOCOLS:
        known = ", ".join(one for one in PROTOCOLS if one != "memory")
        raise InputError(f"{shown(url)} has the protocol {protocol[:20]!r}, expected one of {known}; fetch it first")


def storage_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the storage, and the path in it.

    Raises:
        InputError: An address of several storages, an unknown one, or one whose library is not installed.
    """
    require_known_storage(url)
    more = {"auto_mkdir": True} if url.startswith("file://") else {}
    try:
        fs, path = url_to_fs(url, **more)
    except ImportError as error:
        raise InputError(f"{shown(url)} cannot be reached: {error}; install it beside unclouded") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{shown(url)} is no address of a storage ({error}); check it") from error
    return fs, str(path).rstrip("/")


def version_of(url: str) -> list[Any]:
    """Return what changes when the content does, as far as the storage tells: names, sizes, tags and times of files.

    Raises:
        InputError: There is nothing, or too much of it, or the storage does not tell.
    """
    try:
        files = _files_of(url)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{shown(url)} cannot be read ({_reason(error)}); check address and credentials") from error
    told = {name: {key: info[key] for key in info if key not in ("name", "url")} for name, info in files.items()}
    return [[name, json.dumps(told[name], sort_keys=True, default=str)] for name in sorted(told)]


@contextmanager
def fetched(source: str, folder: Path) -> Iterator[Path]:
    """Give a local path of a product, fetched whole if it lies in a storage, and removed at the end of the block.

    Args:
        source: Path, or address of a file or of a SAFE folder.
        folder: Where it is fetched to; emptied before and removed afterwards.

    Raises:
        InputError: There is nothing, more than a product holds, names that no file should have, or no room; or what
            came has another size.
    """
    if not is_url(source):
        yield Path(source)
        return
    shutil.rmtree(folder, ignore_errors=True)  # what a killed attempt left
    try:
        folder.mkdir(parents=True)
        yield _fetch(source, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(url: str, folder: Path) -> Path:
    fs = None if is_web(url) else storage_of(url)[0]
    files = _files_of(url)
    require_room(folder, sum(int(info["size"]) for info in files.values()), f"fetch {shown(url)}")
    for name, info in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if fs is None:
            _download(url, target)
        else:
            fs.get_file(info["name"], str(target))
        if target.stat().st_size != info["size"]:
            found, expected = target.stat().st_size, info["size"]
            raise InputError(f"{shown(url)}: {name} came with {found:,} of {expected:,} bytes; run again with --retry")
        if (moment := _modified(fs, info)) is not None:  # an image without a date is not younger than its file
            os.utime(target, (moment, moment))
    return folder / next(iter(files)).split("/")[0]


def _download(url: str, target: Path) -> None:
    """Fetch a file from a web server; what may pass is no fault of the input, and is tried again like a full disk."""
    try:
        download(url, target)
    except InputError as error:
        if isinstance(error.__cause__, WebError) and error.__cause__.may_pass:
            raise ConnectionError(str(error)) from error
        raise


def _modified(fs: AbstractFileSystem | None, info: Mapping[str, Any]) -> float | None:
    """Seconds since 1970; None where the storage does not tell."""
    with suppress(NotImplementedError):
        if fs is not None:
            return float(fs.modified(info["name"]).timestamp())
    with suppress(KeyError, ValueError, TypeError):  # as web servers have it
        return parsedate_to_datetime(info["Last-Modified"]).timestamp()
    return None


def _files_of(url: str) -> dict[str, Mapping[str, Any]]:
    """Return what the storage tells of each file of a product, by its name below the folder that holds the product."""
    files = _on_web(url) if is_web(url) else _in_storage(url)
    sizes: list[Any] = [one.get("size") for one in files.values()]
    if None in sizes or not 0 < len(files) <= MAX_FILES or sum(sizes) > MAX_BYTES:
        told = "sizes that are not told" if None in sizes else f"{sum(sizes) / 2**30:.1f} GiB"
        raise InputError(
            f"{shown(url)} has {len(files):,} files, {told}; expected a product of at most {MAX_FILES:,} files and "
            f"{MAX_BYTES >> 30} GiB"
        )
    for name in files:
        if not all(_PART.fullmatch(part) and part not in (".", "..") for part in name.split("/")):
            raise InputError(f"{shown(url)} has a file {name[:80]!r}, which is no name for a file; check the product")
    return files


def _in_storage(url: str) -> dict[str, Mapping[str, Any]]:
    fs, path = storage_of(url)
    try:
        info = fs.info(path)
        found = {path: info} if info["type"] == "file" else fs.find(path, detail=True)
    except FileNotFoundError as error:
        raise InputError(f"{shown(url)} is not there; check the address") from error
    above = len(path.rpartition("/")[0]) + 1 if "/" in path else 0
    return {name[above:]: one for name, one in sorted(found.items())}


def _on_web(url: str) -> dict[str, Mapping[str, Any]]:
    """Return what a web server tells of a file; some answer GET alone, of which no more than the headers is read."""
    require_known_storage(url)
    require_web_address(url)
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    for method in ("HEAD", "GET"):
        try:
            with asked(method, url, headers={"Accept-Encoding": "identity"}) as answer:
                size = declared_bytes(answer.headers)
                if answer.status == 200 and (size is not None or method == "GET"):
                    told = {key: answer.headers[key] for key in ("ETag", "Last-Modified") if key in answer.headers}
                    return {name: told | {"name": url, "type": "file", "size": size}}
                if answer.status in (404, 410):
                    raise InputError(f"{shown(url)} is not there; check the address")
                raise answer.error()
        except WebError as error:
            if method == "GET" or isinstance(error, SilentError):
                kind = ConnectionError if error.may_pass else InputError
                raise kind(f"{shown(url)} cannot be read ({error}); check the address, or try later") from error
    raise AssertionError("unreachable")


def put(source: Path, url: str, sha256: str) -> bool:
    """Write a file to a storage unless it is there already, and read it back; return whether it was written.

    Args:
        source: The file.
        url: Of the object.
        sha256: Of the file.

    Raises:
        OSError: What is read back is something else.
    """
    fs, path = storage_of(url)
    if _holds(fs, path, source.stat().st_size, sha256):
        return False
    fs.put_file(str(source), path)
    if not _holds(fs, path, source.stat().st_size, sha256):
        raise OSError(f"{shown(url)} holds something else than was written")
    return True


def _holds(fs: AbstractFileSystem, path: str, size: int, sha256: str) -> bool:
    fs.invalidate_cache(path)
    try:
        if fs.info(path)["size"] != size:
            return False
        with fs.open(path, "rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() == sha256


def require_uploadable(url: str) -> None:
    """Write a byte to a storage and forget it, so that hours of work do not end where nothing can be written.

    Raises:
        InputError: It cannot be reached or written.
    """
    fs, path = storage_of(url)
    probe = f"{path}/.probe-{os.getpid()}"
    try:
        fs.pipe_file(probe, b"?")
        fs.rm_file(probe)
    except Exception as error:
        raise InputError(f"{shown(url)} cannot be written ({_reason(error)}); check address and credentials") from error


def _reason(error: Exception) -> str:
    """Say in short what went wrong: every storage has errors of its own."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def known_by(source: Path | str) -> Any:
    """Return a hash of a product's content, or what a storage tells of it; of one that is no use, what is wrong.

    A task with such a product will be set aside when it runs, and the others go on; it is another one when the product
    has come.
    """
    try:
        return version_of(str(source)) if is_url(str(source)) else fingerprint(Path(source))
    except InputError as error:
        return f"not usable: {str(error).replace(f'{Path(source).parent}/', '')}"


def fingerprint(path: Path) -> str:
    """Return a hash of a product's content: of its manifest, of the checksums in its zip, or of the file itself.

    Raises:
        InputError: There is no such product.
    """
    if is_file(path / "manifest.safe"):
        return sha256(path / "manifest.safe")
    if is_zip(path):
        return content_id(listed_checksums(path))
    mask = mask_beside(path)
    return content_hash(path) if mask is None else content_id(content_hash(path), content_hash(mask))
