"""Remote storage by fsspec, such as buckets: download of whole products, upload of outputs, and ids of products.

Nothing is opened remotely, for the readers of images need local regular files. Credentials and endpoints come from the
configuration of fsspec and are never part of a URL.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from unclouded.batch.tasks import content_id
from unclouded.errors import InputError, MachineError
from unclouded.files import content_hash, is_file, machine_fault, require_room, whole_file, write_json
from unclouded.files import sha256 as checksum
from unclouded.io.download import download
from unclouded.io.geotiff import mask_beside
from unclouded.progress import ProgressCallback, no_progress
from unclouded.sentinel.safe import is_zip, listed_checksums
from unclouded.strict_json import read_json_object
from unclouded.web import SilentError, WebError, declared_bytes, require_web_address, send_request

PROTOCOLS = ("file", "http", "https", "s3", "gs", "az", "abfs", "memory")
"""Supported protocols; others of fsspec run code, follow references, or contact further hosts."""
MAX_FILES, MAX_BYTES = 2_000, 16 << 30
"""Most files and bytes of one product; a SAFE folder has 200 files, 13 bands of a tile as GeoTIFF take 3 GB."""

_CHUNK = 1 << 20
_BLOCK = 8 << 20
"""Bytes of one request to a storage."""
_ATTEMPTS, _FIRST_WAIT_S = 4, 0.5
_REFUSED = (FileNotFoundError, PermissionError)
_PART = re.compile(r"[^\\/:\x00-\x1f]{1,255}")
"""Valid component of a file path."""


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a path."""
    return "://" in text


def is_web(text: str) -> bool:
    """Return whether a URL belongs to a web server, which is accessed without fsspec."""
    return text.startswith(("http://", "https://"))


def shown(url: str) -> str:
    """Return a URL for messages: without its password, and without its query, which may contain a signature."""
    text = re.sub(r"//[^/@]*@", "//", url.partition("?")[0])[:300]
    return text if text.isprintable() else ascii(text)


def require_known_storage(url: str) -> None:
    """Raise unless a text is a URL of a single storage with one of :data:`PROTOCOLS`.

    Raises:
        InputError: Lists the protocol found and the supported ones.
    """
    protocol = url.partition("://")[0]
    if not is_url(url) or "::" in url:
        raise InputError(f"expected a URL such as s3://bucket/folder, found {shown(url)}")
    if protocol not in PROTOCOLS:
        known = ", ".join(one for one in PROTOCOLS if one != "memory")
        raise InputError(f"{shown(url)} has the protocol {protocol[:20]!r}, expected one of {known}; download it first")


def storage_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL and the path in it.

    Raises:
        InputError: The URL chains storages, its protocol is unknown, or the library for it is not installed.
    """
    require_known_storage(url)
    more = {"auto_mkdir": True} if url.startswith("file://") else {}
    try:
        fs, path = url_to_fs(url, **more)
    except ImportError as error:
        raise InputError(f"{shown(url)} cannot be reached: {error}; install it beside unclouded") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{shown(url)} is not a valid storage URL ({error}); check it") from error
    return fs, str(path).rstrip("/")


def version_of(url: str) -> list[Any]:
    """Return names and metadata of a product's files: sizes, entity tags and times, which change with the content.

    Raises:
        InputError: The product is missing, too large, or of unknown size.
    """
    try:
        files = _files_of(url)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{shown(url)} cannot be read ({_reason(error)}); check URL and credentials") from error
    known = {name: {key: info[key] for key in info if key not in ("name", "url")} for name, info in files.items()}
    return [[name, json.dumps(known[name], sort_keys=True, default=str)] for name in sorted(known)]


@contextmanager
def fetched(source: str, folder: Path) -> Iterator[Path]:
    """Yield the local path of a product; one in a storage is downloaded, and removed at the end of the block.

    Args:
        source: Path, or URL of a file or of a SAFE folder.
        folder: Download folder; emptied first and removed afterwards.

    Raises:
        InputError: The product is missing or too large, has invalid file names, does not fit on the disk, or arrived
            with another size.
    """
    if not is_url(source):
        yield Path(source)
        return
    shutil.rmtree(folder, ignore_errors=True)  # remains of a killed attempt
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
            _fetch_object(fs, info, target)
        if target.stat().st_size != info["size"]:
            found, expected = target.stat().st_size, info["size"]
            raise InputError(f"{shown(url)}: got {found:,} of {expected:,} bytes of {name}; run again with --retry")
        if (moment := _modified(fs, info)) is not None:  # kept, as it bounds the date of an image without one
            os.utime(target, (moment, moment))
    return folder / next(iter(files)).split("/")[0]


def fetch_into(url: str, target: Path, on_progress: ProgressCallback = no_progress) -> None:
    """Fetch a file, or a folder with all its files, from a storage; what an earlier call left is continued.

    Args:
        url: URL in a storage of :data:`PROTOCOLS`.
        target: File or folder to write; a folder is complete when the call returns.
        on_progress: Called with (stage, bytes done, total bytes).

    Raises:
        InputError: The URL does not exist or is refused, or a file has invalid names, or another size or checksum.
    """
    fs = storage_of(url)[0]
    with _refusals_explained(url):
        files = _files_of(url)
    total, done = sum(int(info["size"]) for info in files.values()), 0
    for name, info in files.items():
        inner = name.partition("/")[2]
        place = target / inner if inner else target
        place.parent.mkdir(parents=True, exist_ok=True)
        if not (place.is_file() and place.stat().st_size == info["size"]):
            with _refusals_explained(url):
                _fetch_object(fs, info, place)
        done += int(info["size"])
        on_progress(f"fetch {target.name}", done, total)


@contextmanager
def _refusals_explained(url: str) -> Iterator[None]:
    """Turn the exceptions of a storage, each of which has its own types, into one line."""
    try:
        yield
    except (InputError, MachineError):
        raise
    except Exception as error:
        if machine_fault(error) is not None:
            raise
        raise InputError(f"{shown(url)} cannot be read ({_reason(error)}); check URL and credentials") from error


def _fetch_object(fs: AbstractFileSystem, info: Mapping[str, Any], target: Path) -> None:
    """Fetch an object by parts; after a lost connection, and in the next call, the missing bytes only.

    An entity tag that is an MD5 is compared, as those of S3 are for objects that were uploaded in one piece.

    Raises:
        InputError: The object has another size or checksum than listed; it was removed.
        ConnectionError: The connection is lost again and again.
    """
    part, state = (target.with_name(f"{target.name}{suffix}") for suffix in (".part", ".part.json"))
    version = {key: str(info[key]) for key in ("size", "ETag", "etag", "LastModified") if key in info}
    if _state(state) != version:
        part.unlink(missing_ok=True)
        write_json(state, version)
    failures, size = 0, int(info["size"])
    while (there := part.stat().st_size if part.exists() else 0) < size:
        try:
            with fs.open(info["name"], "rb", block_size=_BLOCK, cache_type="none") as source, part.open("ab") as file:
                source.seek(there)
                while chunk := source.read(min(_BLOCK, size - there)):
                    file.write(chunk)
                    there, failures = there + len(chunk), 0
            if there < size:
                raise ConnectionError(f"the storage ends {size - there:,} bytes early")
        except Exception as error:  # every storage has its own types for a lost connection
            failures += 1
            if isinstance(error, _REFUSED) or machine_fault(error) is not None:
                raise
            if failures >= _ATTEMPTS:
                raise ConnectionError(f"{info['name']}: {_reason(error)}") from error
            time.sleep(_FIRST_WAIT_S * 2 ** (failures - 1))
    tag = next((version[key].strip('"') for key in ("ETag", "etag") if key in version), "")
    digest = md5(part) if re.fullmatch(r"[0-9a-f]{32}", tag) else tag
    state.unlink(missing_ok=True)
    if digest != tag or part.stat().st_size != size:
        part.unlink()
        raise InputError(
            f"{info['name']} differs from its entity tag or size in the storage; it was removed, run again"
        )
    part.replace(target)


def md5(path: Path) -> str:
    """Return the MD5 of a file, the entity tag of S3 for objects that were uploaded in one piece."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _state(path: Path) -> Any:
    try:
        return read_json_object(path, 1 << 16)
    except InputError:
        return None


def _download(url: str, target: Path) -> None:
    """Download a file from a web server; a temporary error is not an error of the input, and the task is retried."""
    try:
        download(url, target)
    except InputError as error:
        if isinstance(error.__cause__, WebError) and error.__cause__.may_pass:
            raise ConnectionError(str(error)) from error
        raise


def _modified(fs: AbstractFileSystem | None, info: Mapping[str, Any]) -> float | None:
    """Return the time of modification in seconds since 1970; None if the storage does not provide it."""
    with suppress(NotImplementedError):
        if fs is not None:
            return float(fs.modified(info["name"]).timestamp())
    with suppress(KeyError, ValueError, TypeError):  # header of web servers
        return parsedate_to_datetime(info["Last-Modified"]).timestamp()
    return None


def _files_of(url: str) -> dict[str, Mapping[str, Any]]:
    """Return the metadata of a product's files by their path relative to the folder that contains the product."""
    files = _on_web(url) if is_web(url) else _in_storage(url)
    sizes: list[Any] = [one.get("size") for one in files.values()]
    if None in sizes or not 0 < len(files) <= MAX_FILES or sum(sizes) > MAX_BYTES:
        size = "of unknown size" if None in sizes else f"{sum(sizes) / 2**30:.1f} GiB"
        raise InputError(
            f"{shown(url)} has {len(files):,} files, {size}; expected a product of at most {MAX_FILES:,} files and "
            f"{MAX_BYTES >> 30} GiB"
        )
    for name in files:
        if not all(_PART.fullmatch(part) and part not in (".", "..") for part in name.split("/")):
            raise InputError(f"{shown(url)} has a file {name[:80]!r}, not a valid file name; check the product")
    return files


def _in_storage(url: str) -> dict[str, Mapping[str, Any]]:
    fs, path = storage_of(url)
    try:
        info = fs.info(path)
        found = {path: info} if info["type"] == "file" else fs.find(path, detail=True)
    except FileNotFoundError as error:
        raise InputError(f"{shown(url)} does not exist; check the URL") from error
    above = len(path.rpartition("/")[0]) + 1 if "/" in path else 0
    return {name[above:]: one for name, one in sorted(found.items())}


def _on_web(url: str) -> dict[str, Mapping[str, Any]]:
    """Return the metadata of a file on a web server; some support GET only, of which just the headers are read."""
    require_known_storage(url)
    require_web_address(url)
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    for method in ("HEAD", "GET"):
        try:
            with send_request(method, url, headers={"Accept-Encoding": "identity"}) as answer:
                size = declared_bytes(answer.headers)
                if answer.status == 200 and (size is not None or method == "GET"):
                    tags = {key: answer.headers[key] for key in ("ETag", "Last-Modified") if key in answer.headers}
                    return {name: tags | {"name": url, "type": "file", "size": size}}
                if answer.status in (404, 410):
                    raise InputError(f"{shown(url)} does not exist; check the URL")
                raise answer.error()
        except WebError as error:
            if method == "GET" or isinstance(error, SilentError):
                kind = ConnectionError if error.may_pass else InputError
                raise kind(f"{shown(url)} cannot be read ({error}); check the URL, or try later") from error
    raise AssertionError("unreachable")


def objects_below(url: str, folder: str = "") -> dict[str, int]:
    """Return the sizes of all objects below a URL, by their path relative to it.

    Args:
        url: URL of a storage.
        folder: Part of it to list.

    Raises:
        InputError: The storage cannot be read.
    """
    fs, base = storage_of(url)
    path = f"{base}/{folder}".rstrip("/")
    try:
        fs.invalidate_cache(path)
        found = fs.find(path, detail=True)
    except Exception as error:
        raise InputError(f"{shown(url)} cannot be read ({_reason(error)}); check URL and credentials") from error
    return {name[len(base) + 1 :]: int(info["size"]) for name, info in found.items()}


def read_object(url: str, limit: int) -> bytes:
    """Return the content of an object.

    Raises:
        InputError: The object is missing or has more than ``limit`` bytes.
    """
    fs, path = storage_of(url)
    try:
        if (size := int(fs.info(path)["size"])) > limit:
            raise InputError(f"{shown(url)} has {size:,} bytes, expected at most {limit:,}; is it the right object?")
        return bytes(fs.cat_file(path))
    except FileNotFoundError as error:
        raise InputError(f"{shown(url)} does not exist; check the URL") from error


def get(url: str, target: Path, sha256: str) -> None:
    """Copy an object to a file, which appears once its checksum is verified.

    Raises:
        InputError: The object is missing, or differs from its checksum.
    """
    fs, path = storage_of(url)
    with whole_file(target) as partial:
        try:
            fs.get_file(path, str(partial))
        except FileNotFoundError as error:
            raise InputError(f"{shown(url)} does not exist; upload or copy it again") from error
        if checksum(partial) != sha256:
            raise InputError(f"{shown(url)} differs from its checksum; upload or copy it again")


def put(source: Path, url: str, sha256: str) -> bool:
    """Upload a file unless the object already has its content, and read it back; return whether it was written.

    Args:
        source: Local file.
        url: URL of the object.
        sha256: Checksum of the file.

    Raises:
        OSError: The object read back differs from the file.
    """
    fs, path = storage_of(url)
    if _holds(fs, path, source.stat().st_size, sha256):
        return False
    fs.put_file(str(source), path)
    if not _holds(fs, path, source.stat().st_size, sha256):
        raise OSError(f"{shown(url)}: read-back differs from what was written")
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
    """Write and delete a probe object, so that a storage without write access is found before hours of work.

    Raises:
        InputError: The storage cannot be reached or written.
    """
    fs, path = storage_of(url)
    probe = f"{path}/.probe-{os.getpid()}"
    try:
        fs.pipe_file(probe, b"?")
        fs.rm_file(probe)
    except Exception as error:
        raise InputError(f"{shown(url)} cannot be written ({_reason(error)}); check URL and credentials") from error


def _reason(error: Exception) -> str:
    """Return an error as one short line; every storage has its own exception types."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def known_by(source: Path | str) -> Any:
    """Return the content hash of a local product or the metadata of a remote one; for an unusable one, the reason.

    The reason keeps the task list complete: a task with an unusable product fails when it runs, the others go on, and
    its id changes once the product is available.
    """
    try:
        return version_of(str(source)) if is_url(str(source)) else fingerprint(Path(source))
    except InputError as error:
        return f"not usable: {str(error).replace(f'{Path(source).parent}/', '')}"


def file_states(source: Path | str) -> list[list[Any]]:
    """Return name, size and time of change of every file of a product, which also change when a part is replaced.

    Unlike :func:`fingerprint` they depend on the machine, and are cheap for large products.

    Args:
        source: File or folder; for a missing one, or a URL, whose files :func:`known_by` covers, the list is empty.
    """
    if is_url(str(source)):
        return []
    path = Path(source)
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path] * path.exists()
    stats = ((one.relative_to(path.parent).as_posix(), one.stat()) for one in files)
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def fingerprint(path: Path) -> str:
    """Return a content hash of a product: of its manifest, of the checksums in its zip, or of the file itself.

    Raises:
        InputError: The product does not exist.
    """
    if is_file(path / "manifest.safe"):
        return checksum(path / "manifest.safe")
    if is_zip(path):
        return content_id(listed_checksums(path))
    mask = mask_beside(path)
    return content_hash(path) if mask is None else content_id(content_hash(path), content_hash(mask))
