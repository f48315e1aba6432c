"""Download SEN12MS-CR from a web address or a mirror folder, archive by archive; an interrupted run resumes.

Each archive is fetched, compared with its checksum, extracted and recorded before the next one begins.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclouded.errors import InputError, MachineError
from unclouded.files import free_bytes, named, read_small, require_file, sha256, write_json
from unclouded.io.download import RetryPolicy, download
from unclouded.locks import held
from unclouded.patches.archives import SHOWN, Archive, DamagedArchiveError, Extracted, extract
from unclouded.progress import ProgressCallback, no_progress
from unclouded.strict_json import read_json_object
from unclouded.web import SilentError, WebError, declared_bytes, require_web_address, send_request, shown_address

RECORDS = ".fetched"
"""Folder below the root with one JSON record for each extracted archive."""

DOWNLOADS = ".downloads"
"""Folder below the root with archives that are being downloaded."""

MAX_RECORD_BYTES = 64 << 20
"""Maximum size of a record; one lists every unexpected file of its archive."""


@dataclass(frozen=True)
class Plan:
    """Disk space and traffic that a download needs.

    Attributes:
        left: Archives that are not extracted yet.
        download_bytes: Bytes to download; None if the server does not declare them.
        extracted_bytes: Size of the patches.
        peak_bytes: Maximum disk space in use at any time, in addition to what is used now.
        free_bytes: Free disk space.
    """

    left: tuple[Archive, ...]
    download_bytes: int | None
    extracted_bytes: int
    peak_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        """Return the plan in a few lines."""
        fetched = "unknown" if self.download_bytes is None else _gib(self.download_bytes)
        return (
            f"{len(self.left)} archives to go\ndownload   {fetched}\nextracted  {_gib(self.extracted_bytes)}\n"
            f"peak       {_gib(self.peak_bytes)}\nfree       {_gib(self.free_bytes)}"
        )

    def require_room(self, root: Path) -> None:
        """Check that the disk has enough free space.

        Raises:
            MachineError: The disk is too small.
        """
        if self.peak_bytes > self.free_bytes:
            raise MachineError(
                f"{named(root)} has {_gib(self.free_bytes)} free, expected {_gib(self.peak_bytes)}; "
                "choose another disk, or fewer seasons"
            )


def plan(
    archives: Iterable[Archive],
    origin: str,
    root: Path,
    *,
    keep: bool = False,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008  (frozen)
) -> Plan:
    """Return the disk space and traffic that a download needs.

    Args:
        archives: Archives to download.
        origin: Mirror folder, or web address of the folder of the archives; if the address ends with ``=``, the file
            name becomes the value of its last parameter.
        root: Root of the data set.
        keep: Keep the archives after extraction.
        retry: Timeouts and attempts.

    Raises:
        InputError: The server does not answer.
    """
    left = tuple(archive for archive in archives if not _is_recorded(root, archive))
    sizes = {archive: _size(archive, origin, retry) for archive in left}
    known = [size for size in sizes.values() if size is not None]
    download_bytes = sum(known) if len(known) == len(left) else None
    on_disk = 0 if _is_folder(origin) else sum(known) if keep else max(known, default=0)
    extracted = sum(archive.extracted_bytes for archive in left)
    return Plan(left, download_bytes, extracted, extracted + on_disk, free_bytes(root))


def fetch(
    archives: Iterable[Archive],
    origin: str,
    root: Path,
    *,
    checksums: Mapping[str, str] | None = None,
    keep: bool = False,
    on_progress: ProgressCallback = no_progress,
    retry: RetryPolicy = RetryPolicy(),  # noqa: B008  (frozen)
) -> int:
    """Download and extract the archives that are missing; return the number of new patches.

    Args:
        archives: Archives to download.
        origin: Mirror folder, or web address of the folder of the archives.
        root: Root of the data set, filled in the official layout.
        checksums: SHA-256 of each archive by file name, see :func:`read_checksums`.
        keep: Keep downloaded archives in ``.downloads`` after extraction. Those of a mirror folder are never deleted.
        on_progress: Called with (stage, bytes done, total bytes).
        retry: Timeouts and attempts.

    Raises:
        InputError: An archive is missing or damaged, or the connection fails repeatedly.
        MachineError: The disk is full or too small.
        BusyError: Another process downloads into this root.
    """
    plan_ = plan(archives, origin, root, keep=keep, retry=retry)
    plan_.require_room(root)
    patches = 0
    with held(root / DOWNLOADS):
        for archive in plan_.left:
            patches += _fetch_one(archive, origin, root, checksums or {}, keep, on_progress, retry)
    return patches


def _fetch_one(
    archive: Archive,
    origin: str,
    root: Path,
    checksums: Mapping[str, str],
    keep: bool,
    on_progress: ProgressCallback,
    retry: RetryPolicy,
) -> int:
    is_mirror = _is_folder(origin)
    file = (Path(origin) if is_mirror else root / DOWNLOADS) / archive.file_name
    if is_mirror:
        require_file(file)
    elif not file.is_file():
        download(_address(archive, origin), file, on_progress, retry)
    digest = sha256(file)
    if checksums.get(archive.file_name, digest) != digest:
        if not is_mirror:
            file.unlink()
        raise InputError(
            f"{named(file)} has the SHA-256 {digest}, expected {checksums[archive.file_name]}; fetch again"
        )
    try:
        extracted = extract(archive, file, root, on_progress)
    except DamagedArchiveError:
        if not is_mirror:
            file.unlink()  # otherwise the next run would extract the same damaged file
        raise
    _write_record(root, archive, digest, extracted)
    if not keep and not is_mirror:
        file.unlink()
    return extracted.patches


def _write_record(root: Path, archive: Archive, digest: str, extracted: Extracted) -> None:
    """Record an extracted archive, and which of its regions have fewer patches than published."""
    short = {
        str(roi): [extracted.by_region.get(roi, 0), count]
        for roi, count in archive.published().items()
        if extracted.by_region.get(roi, 0) < count
    }
    earlier, selection = _record(root, archive) or {}, {}
    if archive.regions:
        selection = {"regions": sorted({str(roi) for roi in archive.published()} | set(earlier.get("regions", ())))}
        short = dict(earlier.get("regions_found_and_published", {})) | short
    record = selection | {
        "archive": archive.file_name,
        "sha256": digest,
        "patches": extracted.patches,
        "bytes": extracted.bytes,
        "published_patches": archive.patches,
        "regions_found_and_published": short,
        "left_out": extracted.unexpected_files,
    }
    write_json(_record_path(root, archive), record)


def _is_recorded(root: Path, archive: Archive) -> bool:
    """Return whether the selected regions of an archive are extracted; a record without regions stands for all."""
    record = _record(root, archive)
    if record is None or "regions" not in record:
        return record is not None
    return bool(archive.regions) and {str(roi) for roi in archive.published()} <= set(record["regions"])


def _record(root: Path, archive: Archive) -> dict[str, Any] | None:
    """Return the record of an archive; None if there is none.

    Raises:
        InputError: It is damaged.
    """
    path = _record_path(root, archive)
    if not path.is_file():
        return None
    record = read_json_object(path, MAX_RECORD_BYTES, "delete it to fetch the archive again")
    regions, short = record.get("regions", []), record.get("regions_found_and_published", {})
    if not isinstance(regions, list) or not all(isinstance(one, str) for one in regions) or not isinstance(short, dict):
        raise InputError(f"{named(path)} is not the record of an archive; delete it to fetch the archive again")
    return record


def _record_path(root: Path, archive: Archive) -> Path:
    return root / RECORDS / f"{archive.folder}.json"


def incomplete(archives: Iterable[Archive], root: Path) -> list[str]:
    """Return a warning for each extracted archive with fewer patches than published.

    Args:
        archives: Archives to look up.
        root: Root of the data set.

    Raises:
        InputError: The record of an archive is damaged.
    """
    found = []
    for archive in archives:
        if not (path := _record_path(root, archive)).is_file():
            continue
        record = read_json_object(path, MAX_RECORD_BYTES, "delete it to fetch the archive again")
        regions = record.get("regions_found_and_published", {})
        try:
            patches = int(record["patches"])
            short = {str(roi): (int(had), int(of)) for roi, (had, of) in regions.items()}
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(
                f"{named(path)} is not the record of an archive; delete it to fetch the archive again"
            ) from error
        if short or ("regions" not in record and patches < archive.patches):
            found.append(_shortage(archive, patches, short))
    return found


def _shortage(archive: Archive, patches: int, short: Mapping[str, tuple[int, int]]) -> str:
    """Return how many patches an archive held, and the regions that lack most."""
    lacking = sorted(short, key=lambda roi: short[roi][0] - short[roi][1])
    shown = ", ".join(f"{roi} ({short[roi][0]:,} of {short[roi][1]:,})" for roi in lacking[:SHOWN])
    more = f" and {len(lacking) - SHOWN:,} more" if len(lacking) > SHOWN else ""
    where = f": {shown}{more} lack patches" if lacking else ""
    return f"{archive.folder} has {patches:,} of {archive.patches:,} patches as published{where}"


def read_checksums(path: Path) -> dict[str, str]:
    """Read a list in the format of ``sha256sum``: SHA-256 and file name on every line.

    Raises:
        InputError: A line has another format.
    """
    found = {}
    for number, row in enumerate(read_small(path).decode("utf-8", errors="replace").splitlines(), start=1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:.*/)?([^/]+)", row)
        if not match:
            raise InputError(f"{named(path)}, line {number}: {row[:80]!r}; expected a SHA-256 and a file name")
        found[match[2]] = match[1].lower()
    return found


def _is_folder(origin: str) -> bool:
    """Return whether an origin is a folder; False for a web address."""
    if re.match(r"(ftps?|sftp|rsync)://|[^/]+::", origin):
        raise InputError(
            f"{origin[:200]!r} is fetched by other programs: copy its archives into a folder with curl or rsync, which"
            " resume, and give that folder; see docs/full-size.md"
        )
    if "://" in origin:
        require_web_address(origin, "a folder or an address")
        return False
    if not Path(origin).is_dir():
        raise InputError(
            f"{origin[:200]!r} is not a folder; expected a folder, or an address that begins with http:// or https://"
        )
    return True


def _address(archive: Archive, origin: str) -> str:
    """Return the address of an archive; an origin such as ``https://host/get?path=/&files=`` ends with a parameter."""
    return f"{origin}{archive.file_name}" if origin.endswith("=") else f"{origin.rstrip('/')}/{archive.file_name}"


def _size(archive: Archive, origin: str, retry: RetryPolicy) -> int | None:
    """Return the size of an archive; None if it is not known before the download."""
    if _is_folder(origin):
        file = Path(origin) / archive.file_name
        return file.stat().st_size if file.is_file() else None
    try:
        with send_request("HEAD", _address(archive, origin), limits=retry.limits) as answer:
            return declared_bytes(answer.headers) if answer.status == 200 else None
    except SilentError as error:  # the other requests would time out as well
        raise InputError(f"{shown_address(origin)}: {error}; check the address, or try later") from error
    except WebError:  # some servers do not support HEAD; the download reports what is wrong
        return None


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
