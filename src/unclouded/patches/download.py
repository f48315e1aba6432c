"""Get SEN12MS-CR: from an address or from a mirror folder, archive by archive, whatever breaks on the way."""

import gzip
import re
import shutil
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclouded.errors import InputError, MachineError
from unclouded.files import explained, free_bytes, named, read_small, require_file, sha256, write_json
from unclouded.io.download import Line, download
from unclouded.locks import held
from unclouded.patches.roi import SENSORS, PatchId, Roi
from unclouded.patches.splits import official_counts
from unclouded.strict_json import read_json_object
from unclouded.web import SilentError, WebError, asked, declared_bytes, require_web_address, shown_address

DONE = ".fetched"
"""Folder below the root with one note for each archive that is extracted."""

SHOWN = 3

MAX_RECORD_BYTES = 64 << 20

DOWNLOADS = ".downloads"
"""Folder below the root with archives on their way."""

ProgressCallback = Callable[[str, int, int], object]


@dataclass(frozen=True, order=True)
class Archive:
    """One archive: all patches of one sensor in one collection.

    Attributes:
        collection: One of :data:`COLLECTIONS`.
        sensor: ``s1``, ``s2`` or ``s2_cloudy``.
    """

    collection: str
    sensor: str

    @property
    def folder(self) -> str:
        """Folder of the official layout that the archive fills."""
        return f"{self.collection}_{self.sensor}"

    @property
    def file_name(self) -> str:
        """Name of the file."""
        return f"{self.folder}.tar.gz"

    @property
    def patches(self) -> int:
        """Number of patches as published."""
        return sum(self.published().values())

    def published(self) -> dict[Roi, int]:
        """Return the number of patches of each region as published."""
        return {roi: count for roi, count in official_counts().items() if roi.collection == self.collection}

    @property
    def extracted_bytes(self) -> int:
        """Room that the patches take when they are extracted."""
        return self.patches * self.largest_patch

    @property
    def largest_patch(self) -> int:
        """Bytes that no patch exceeds."""
        return PATCH_BYTES[self.sensor] + HEADER_BYTES

    def place(self, member: str) -> str | None:
        """Return where a member belongs below the root of the data set; None where its name is no patch of here."""
        match = _MEMBER.fullmatch(member)
        if not match or match["collection"] not in (None, self.folder):
            return None
        try:
            patch = PatchId.parse(match["file"])
        except InputError:
            return None
        official = patch.file_name(self.sensor)
        folder = f"{self.sensor}_{patch.roi.number}"
        if patch.roi.collection != self.collection or (match["folder"], f"{match['file']}.tif") != (folder, official):
            return None
        return f"{self.folder}/{folder}/{official}"


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
    on_progress: ProgressCallback = lambda stage, done, total: None,
    line: Line = Line(),  # noqa: B008  (frozen)
) -> int:
    """Fetch and extract archives that are not there yet; return the number of patches that came.

    Args:
        wanted: Archives.
        origin: Folder of a mirror, or the address below which the archives are.
        root: Root of the data set; filled in the official layout.
        checksums: SHA-256 of each archive by file name, see :func:`read_checksums`.
        keep: Keep archives in ``.downloads`` when they are extracted. Those of a mirror always stay.
        on_progress: Is told stage, bytes done and bytes in all.
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
            patches += _fetch_one(archive, origin, root, checksums or {}, keep, on_progress, line)
    return patches


def _fetch_one(
    archive: Archive,
    origin: str,
    root: Path,
    checksums: Mapping[str, str],
    keep: bool,
    on_progress: ProgressCallback,
    line: Line,
) -> int:
    if _is_folder(origin):
        file = Path(origin) / archive.file_name
        require_file(file)
    else:
        file = root / DOWNLOADS / archive.file_name
        if not file.is_file():
            download(
                _address(archive, origin),
                file,
                lambda done, total: on_progress(f"fetch {archive.folder}", done, total),
                line,
            )
    digest = sha256(file)
    if checksums.get(archive.file_name, digest) != digest:
        if not _is_folder(origin):
            file.unlink()
        raise InputError(
            f"{named(file)} has the SHA-256 {digest}, expected {checksums[archive.file_name]}; fetch again"
        )
    try:
        extracted = extract(
            archive, file, root, lambda done, total: on_progress(f"extract {archive.folder}", done, total)
        )
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
    write_json(_note(root, archive), note | published | {"left_out": extracted.unexpected_files})
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
        note = read_json_object(path, MAX_RECORD_BYTES, "delete it to fetch the archive again")
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


# The twelve archives that SEN12MS-CR is published as: what they are called, what they hold, how large that is.


COLLECTIONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
"""Seed and season of the four parts of the data set."""

SEASONS = tuple(collection.partition("_")[2] for collection in COLLECTIONS)
"""Seasons, in the order of :data:`COLLECTIONS`."""

PATCH_BYTES = {"s1": 2 * 4 * 256 * 256, "s2": 13 * 2 * 256 * 256, "s2_cloudy": 13 * 2 * 256 * 256}
"""Pixels of one uncompressed patch; its header adds less than a hundredth."""

HEADER_BYTES = 8192
"""More than the header of a published patch has."""

_MEMBER = re.compile(r"(?:\./)?(?:(?P<collection>[A-Za-z0-9_]+)/)?(?P<folder>[a-z0-9_]+)/(?P<file>[A-Za-z0-9_]+)\.tif")


def archives(seasons: tuple[str, ...] = SEASONS, sensors: tuple[str, ...] = SENSORS) -> tuple[Archive, ...]:
    """Return the archives of some seasons and sensors; all twelve by default.

    Raises:
        InputError: A season or a sensor that there is not.
    """
    for wanted, known in ((seasons, SEASONS), (sensors, SENSORS)):
        if strange := [word for word in wanted if word not in known]:
            raise InputError(f"{', '.join(strange)} is none of {', '.join(known)}; choose among them")
    chosen = [collection for collection, season in zip(COLLECTIONS, SEASONS, strict=True) if season in seasons]
    return tuple(Archive(collection, sensor) for collection in chosen for sensor in SENSORS if sensor in sensors)


# Take the patches out of an archive: only what belongs there, all of it or nothing.


STAGING = ".extracting"
"""Folder below the root that holds patches until their archive is known to be whole; its name begins with a dot, so
that nobody lists it."""

SLACK_BYTES = 64 << 20
"""What an archive may hold beside its members' contents; more is a bomb."""

MEMBER_OVERHEAD_BYTES = 4096
"""Headers and padding of a member."""

OTHER_MEMBERS = 100_000
"""Most members that are no patches: folders, and whatever an archive has beside."""

_DAMAGES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    gzip.BadGzipFile,
    tarfile.TarError,
    zlib.error,
)
"""Exceptions of tarfile and gzip for headers that hold anything, such as a size that is no number."""

ByteProgress = Callable[[int, int], object]


class DamagedArchiveError(InputError):
    """An archive is not what it was packed as."""


@dataclass(frozen=True)
class Extracted:
    """What came out of an archive.

    Attributes:
        bytes: Size of all patches.
        unexpected_files: Members that are no patch of this archive; they were left inside.
        by_region: Number of patches of each region.
    """

    bytes: int
    unexpected_files: tuple[str, ...]
    by_region: Mapping[Roi, int]

    @property
    def patches(self) -> int:
        """Number of patches."""
        return sum(self.by_region.values())


def extract(archive: Archive, file: Path, root: Path, told: ByteProgress = lambda done, total: None) -> Extracted:
    """Take all patches of an archive to their places below the root.

    They appear only when the archive was read to its end and its checksum is right; a killed extraction leaves the
    staging folder, which the next one clears. Members are streamed; none is written but plain files with the name of a
    patch of this archive, each once, none larger than a patch can be.

    Args:
        archive: What the file should be.
        file: The archive, a gzipped tar.
        root: Root of the data set.
        told: Called with the bytes of the file that were read and all of them.

    Raises:
        DamagedArchiveError: The file is damaged.
        InputError: It is too large inside, or holds no patch; the disk is full.
    """
    staging = root / STAGING / archive.folder
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with explained(staging):
            staging.mkdir(parents=True)
            extracted = _stage(archive, file, staging, told)
            if not extracted.patches:
                held = ", ".join(extracted.unexpected_files[:SHOWN]) or "nothing"
                raise InputError(f"{named(file)} holds no patch of {archive.folder}, found {held}; is it another file?")
            _move(staging, root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return extracted


def _stage(archive: Archive, file: Path, staging: Path, told: ByteProgress) -> Extracted:
    limit = archive.patches + archive.patches // 100 + 100
    size = 0
    regions: list[Roi] = []
    unexpected_files: list[str] = []
    try:
        with file.open("rb") as raw, gzip.open(raw) as inflated:
            most_bytes = limit * archive.largest_patch + SLACK_BYTES
            for member, content in _members(_Measured(inflated, named(file), most_bytes, limit + OTHER_MEMBERS)):
                told(raw.tell(), file.stat().st_size)
                place = archive.place(member.name) if member.isreg() and content else None
                if place is None:
                    unexpected_files += [] if member.isdir() else [_shown(member.name)]
                    continue
                regions.append(PatchId.parse(Path(place).stem).roi)
                if member.size > archive.largest_patch or len(regions) > limit:
                    raise InputError(
                        f"{named(file)} holds more than patches can be ({_shown(member.name)}, {member.size:,} bytes); "
                        "it was not extracted"
                    )
                size += member.size
                _write(staging / place.partition("/")[2], content, named(file))
    except InputError:
        raise
    except _DAMAGES as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DamagedArchiveError(f"{named(file)} is damaged ({_shown(reason)}); fetch it again") from error
    return Extracted(size, tuple(unexpected_files), Counter(regions))


class _Measured:
    """A stream that may not grow beyond what was allowed: no header, tail or stranger inflates to gigabytes."""

    def __init__(self, stream: gzip.GzipFile, name: str, most_bytes: int, most_members: int) -> None:
        self._stream, self._name, self._left = stream, name, SLACK_BYTES
        self._for_members, self._members_left = most_bytes, most_members

    def allow(self, member: tarfile.TarInfo) -> None:
        """Let a member's content pass."""
        if member.size < 0:
            raise tarfile.HeaderError(f"a member of {member.size} bytes")
        self._for_members -= member.size
        self._members_left -= 1
        if self._for_members < 0 or self._members_left < 0:
            self._refuse()
        self._left += member.size + MEMBER_OVERHEAD_BYTES

    def read(self, size: int) -> bytes:
        """Read at most so many bytes."""
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            self._refuse()
        return content

    def _refuse(self) -> None:
        raise InputError(f"{self._name} holds far more than its patches can be; it was not extracted")


def _members(inflated: Any) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    """Yield members as they come, and read to the last byte, where gzip's checksum is."""
    with tarfile.open(fileobj=inflated, mode="r|") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # a stream of 100,000 members need not be remembered
            inflated.allow(member)
            yield member, tar.extractfile(member) if member.isreg() else None
    while inflated.read(1 << 20):
        pass


def _write(target: Path, content: Any, archive: str) -> None:
    if target.exists():
        raise InputError(f"{archive} holds {target.name} twice; it was not extracted")
    target.parent.mkdir(exist_ok=True)
    with target.open("xb") as patch:
        shutil.copyfileobj(content, patch)


def _move(staging: Path, root: Path) -> None:
    """Give whole patches their places, file by file, for a region may be there in part."""
    for patch in sorted(staging.glob("*/*.tif")):
        target = root / staging.name / patch.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        patch.replace(target)


def _shown(name: str) -> str:
    return (name if name.isprintable() else ascii(name))[:80]
