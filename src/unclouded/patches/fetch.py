"""Get SEN12MS-CR: from an address or from a mirror folder, archive by archive, whatever breaks on the way."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unclouded.errors import InputError, MachineError
from unclouded.files import free_bytes, named, read_small, require_file, sha256, write_json
from unclouded.locks import held
from unclouded.patches.archives import Archive
from unclouded.patches.download import Line, download
from unclouded.patches.extraction import DamagedArchiveError, extract
from unclouded.strict_json import read_json_object
from unclouded.web import SilentError, WebError, asked, declared_bytes, require_web_address, shown_address

DONE = ".fetched"
"""Folder below the root with one note for each archive that is extracted."""
SHOWN = 3
MAX_NOTE_BYTES = 64 << 20
DOWNLOADS = ".downloads"
"""Folder below the root with archives on their way."""

Told = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Plan:
    """What fetching takes, before it begins.

    Attributes:
        left: Archives that are not there yet.
        download_bytes: Size of what has to be fetched; None where the server does not say.
        extracted_bytes: Size of the patches.
        peak_bytes: Most room that is taken at any time, on top of what is there.
        free_bytes: Room on the disk.
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
        """Refuse to begin what cannot end.

        Raises:
            MachineError: The disk is too small.
        """
        if self.peak_bytes > self.free_bytes:
            raise MachineError(
                f"{named(root)} has {_gib(self.free_bytes)} free, expected {_gib(self.peak_bytes)}; "
                "choose another disk, or fewer seasons"
            )


def plan(
    wanted: Iterable[Archive],
    origin: str,
    root: Path,
    *,
    keep: bool = False,
    line: Line = Line(),  # noqa: B008  (frozen)
) -> Plan:
    """Say what fetching takes.

    Args:
        wanted: Archives.
        origin: Folder of a mirror, or the address below which the archives are; one that ends with ``=`` gets the name
            of the archive as the value of its last parameter.
        root: Root of the data set.
        keep: Whether archives stay on disk when they are extracted.
        line: How patient to be with the server.

    Raises:
        InputError: The server does not answer.
    """
    left = tuple(archive for archive in wanted if not _note(root, archive).is_file())
    sizes = {archive: _size(archive, origin, line) for archive in left}
    known = [size for size in sizes.values() if size is not None]
    download_bytes = sum(known) if len(known) == len(left) else None
    on_disk = 0 if _is_folder(origin) else sum(known) if keep else max(known, default=0)
    extracted = sum(archive.extracted_bytes for archive in left)
    return Plan(left, download_bytes, extracted, extracted + on_disk, free_bytes(root))


def fetch(
    wanted: Iterable[Archive],
    origin: str,
    root: Path,
    *,
    checksums: Mapping[str, str] | None = None,
    keep: bool = False,
    told: Told = lambda stage, done, total: None,
    line: Line = Line(),  # noqa: B008  (frozen)
) -> int:
    """Fetch and extract archives that are not there yet; return the number of patches that came.

    Args:
        wanted: Archives.
        origin: Folder of a mirror, or the address below which the archives are.
        root: Root of the data set; filled in the official layout.
        checksums: SHA-256 of each archive by file name, see :func:`read_checksums`.
        keep: Keep archives in ``.downloads`` when they are extracted. Those of a mirror always stay.
        told: Is told stage, bytes done and bytes in all.
        line: How patient to be with the server.

    Raises:
        InputError: An archive is absent or damaged, or the line stays dead.
        MachineError: The disk is full or too small.
        BusyError: Another process fetches into this root.
    """
    plan_ = plan(wanted, origin, root, keep=keep, line=line)
    plan_.require_room(root)
    patches = 0
    with held(root / DOWNLOADS):
        for archive in plan_.left:
            patches += _fetch_one(archive, origin, root, checksums or {}, keep, told, line)
    return patches


def _fetch_one(
    archive: Archive, origin: str, root: Path, checksums: Mapping[str, str], keep: bool, told: Told, line: Line
) -> int:
    if _is_folder(origin):
        file = Path(origin) / archive.file_name
        require_file(file)
    else:
        file = root / DOWNLOADS / archive.file_name
        if not file.is_file():
            download(
                _address(archive, origin), file, lambda done, total: told(f"fetch {archive.folder}", done, total), line
            )
    digest = sha256(file)
    if checksums.get(archive.file_name, digest) != digest:
        if not _is_folder(origin):
            file.unlink()
        raise InputError(
            f"{named(file)} has the SHA-256 {digest}, expected {checksums[archive.file_name]}; fetch again"
        )
    try:
        extracted = extract(archive, file, root, lambda done, total: told(f"extract {archive.folder}", done, total))
    except DamagedArchiveError:
        if not _is_folder(origin):
            file.unlink()  # or the next call would take it for fetched
        raise
    note = {"archive": archive.file_name, "sha256": digest, "patches": extracted.patches, "bytes": extracted.bytes}
    short = {
        str(roi): [extracted.by_region.get(roi, 0), count]
        for roi, count in archive.published().items()
        if extracted.by_region.get(roi, 0) < count
    }
    published = {"published_patches": archive.patches, "regions_found_and_published": short}
    write_json(_note(root, archive), note | published | {"left_out": extracted.strangers})
    if not keep and not _is_folder(origin):
        file.unlink()
    return extracted.patches


def incomplete(wanted: Iterable[Archive], root: Path) -> list[str]:
    """Return a sentence for each extracted archive that held fewer patches than were published.

    Args:
        wanted: Archives.
        root: Root of the data set.

    Raises:
        InputError: The note of an archive is damaged.
    """
    found = []
    for archive in wanted:
        if not (path := _note(root, archive)).is_file():
            continue
        note = read_json_object(path, MAX_NOTE_BYTES, "delete it to fetch the archive again")
        regions = note.get("regions_found_and_published", {})
        try:
            patches, short = int(note["patches"]), {str(roi): (int(had), int(of)) for roi, (had, of) in regions.items()}
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"{named(path)} is no note of an archive; delete it to fetch the archive again") from error
        if patches < archive.patches or short:
            found.append(_short(archive, patches, short))
    return found


def _short(archive: Archive, patches: int, short: Mapping[str, tuple[int, int]]) -> str:
    """Say how many patches an archive held, and which regions lack most."""
    lacking = sorted(short, key=lambda roi: short[roi][0] - short[roi][1])
    shown = ", ".join(f"{roi} ({short[roi][0]:,} of {short[roi][1]:,})" for roi in lacking[:SHOWN])
    more = f" and {len(lacking) - SHOWN:,} more" if len(lacking) > SHOWN else ""
    where = f": {shown}{more} lack patches" if lacking else ""
    return f"{archive.folder} has {patches:,} of {archive.patches:,} patches as published{where}"


def read_checksums(path: Path) -> dict[str, str]:
    """Read a list as ``sha256sum`` writes it: SHA-256 and file name on every line.

    Raises:
        InputError: A line reads otherwise.
    """
    found = {}
    for number, row in enumerate(read_small(path).decode("utf-8", errors="replace").splitlines(), start=1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](?:.*/)?([^/]+)", row)
        if not match:
            raise InputError(f"{named(path)}, line {number}: {row[:80]!r}; expected a SHA-256 and a file name")
        found[match[2]] = match[1].lower()
    return found


def _note(root: Path, archive: Archive) -> Path:
    return root / DONE / f"{archive.folder}.json"


def _is_folder(origin: str) -> bool:
    if "://" in origin:
        require_web_address(origin, "a folder or an address")
        return False
    if not Path(origin).is_dir():
        raise InputError(f"{origin[:200]!r} is no folder, nor an address that begins with http:// or https://")
    return True


def _address(archive: Archive, origin: str) -> str:
    """Return where an archive is; origins such as ``https://host/download?path=/&files=`` end with a parameter."""
    return f"{origin}{archive.file_name}" if origin.endswith("=") else f"{origin.rstrip('/')}/{archive.file_name}"


def _size(archive: Archive, origin: str, line: Line) -> int | None:
    if _is_folder(origin):
        file = Path(origin) / archive.file_name
        return file.stat().st_size if file.is_file() else None
    try:
        with asked("HEAD", _address(archive, origin), limits=line.limits) as answer:
            return declared_bytes(answer.headers) if answer.status == 200 else None
    except SilentError as error:  # it would not answer the other requests either
        raise InputError(f"{shown_address(origin)}: {error}; check the address, or try later") from error
    except WebError:  # not every server knows HEAD; the download will say what is wrong
        return None


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
