"""The twelve archives that SEN12MS-CR is published as: names, sizes, contents, and their extraction.

An archive holds all patches of one sensor in one season. Extraction is all or nothing, and writes nothing but patches
of that archive: archives come from a network, so their headers, names and sizes are not trusted.
"""

import gzip
import re
import shutil
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import explained, named
from unclouded.patches.roi import SENSORS, PatchId, Roi
from unclouded.patches.splits import official_counts
from unclouded.progress import ProgressCallback, no_progress

COLLECTIONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
"""Seed and season of the four parts of the data set."""

SEASONS = tuple(collection.partition("_")[2] for collection in COLLECTIONS)
"""Seasons, in the order of :data:`COLLECTIONS`."""

PATCH_BYTES = {"s1": 2 * 4 * 256 * 256, "s2": 13 * 2 * 256 * 256, "s2_cloudy": 13 * 2 * 256 * 256}
"""Bytes of the pixels of one uncompressed patch; the header adds less than one percent."""

HEADER_BYTES = 8192
"""Upper limit for the header of a published patch."""

SHOWN = 3
"""Number of file names that a message lists."""

_MEMBER = re.compile(r"(?:\./)?(?:(?P<collection>[A-Za-z0-9_]+)/)?(?P<folder>[a-z0-9_]+)/(?P<file>[A-Za-z0-9_]+)\.tif")


@dataclass(frozen=True, order=True)
class Archive:
    """One archive: all patches of one sensor in one collection.

    Attributes:
        collection: One of :data:`COLLECTIONS`.
        sensor: ``s1``, ``s2`` or ``s2_cloudy``.
        regions: Regions to extract; all if empty.
    """

    collection: str
    sensor: str
    regions: frozenset[Roi] = frozenset()

    @property
    def folder(self) -> str:
        """Folder of the official layout that the archive fills."""
        return f"{self.collection}_{self.sensor}"

    @property
    def file_name(self) -> str:
        """File name of the archive."""
        return f"{self.folder}.tar.gz"

    @property
    def patches(self) -> int:
        """Number of selected patches as published."""
        return sum(self.published().values())

    def published(self) -> dict[Roi, int]:
        """Return the number of patches of each selected region as published."""
        counts = official_counts().items()
        return {roi: count for roi, count in counts if roi.collection == self.collection and self.selects(roi)}

    def selects(self, roi: Roi) -> bool:
        """Return whether a region is to be extracted."""
        return not self.regions or roi in self.regions

    @property
    def extracted_bytes(self) -> int:
        """Disk space that the extracted patches need."""
        return self.patches * self.largest_patch

    @property
    def largest_patch(self) -> int:
        """Upper limit for the size of one patch, bytes."""
        return PATCH_BYTES[self.sensor] + HEADER_BYTES

    def place(self, member: str) -> str | None:
        """Return the path of a member below the root of the data set; None if it is not a patch of this archive."""
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


def archives(
    seasons: tuple[str, ...] = SEASONS, sensors: tuple[str, ...] = SENSORS, regions: frozenset[Roi] = frozenset()
) -> tuple[Archive, ...]:
    """Return the archives of some seasons and sensors; all twelve by default.

    Args:
        seasons: Seasons.
        sensors: Sensors.
        regions: Regions to extract, and whose archives are returned; all if empty.

    Raises:
        InputError: A season, sensor or region is unknown, or a region belongs to another season.
    """
    for chosen, known in ((seasons, SEASONS), (sensors, SENSORS)):
        if unknown := [word for word in chosen if word not in known]:
            raise InputError(f"{', '.join(unknown)} is none of {', '.join(known)}; choose among them")
    if absent := sorted(map(str, regions - set(official_counts()))):
        raise InputError(f"SEN12MS-CR has no region {absent[0]}; its first one is {min(official_counts())}")
    if other := sorted(str(roi) for roi in regions if roi.season not in seasons):
        raise InputError(f"{other[0]} is not of the season {' or '.join(seasons)}; leave the season out")
    collections = [collection for collection, season in zip(COLLECTIONS, SEASONS, strict=True) if season in seasons]
    own = {one: frozenset(roi for roi in regions if roi.collection == one) for one in collections}
    used = [one for one in collections if own[one] or not regions]
    return tuple(Archive(one, sensor, own[one]) for one in used for sensor in SENSORS if sensor in sensors)


# Extraction.


STAGING = ".extracting"
"""Folder below the root that holds patches until their archive has been read to its end; directory listings skip it,
because its name begins with a dot."""

SLACK_BYTES = 64 << 20
"""Bytes that an archive may hold beside the contents of its members; more is treated as a decompression bomb."""

MEMBER_OVERHEAD_BYTES = 4096
"""Headers and padding of one member."""

OTHER_MEMBERS = 100_000
"""Maximum number of members that are not patches, such as folders."""

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
"""Exceptions that tarfile and gzip raise for malformed headers, such as a size that is not a number."""


class DamagedArchiveError(InputError):
    """An archive cannot be read to its end."""


@dataclass(frozen=True)
class Extracted:
    """Result of extracting an archive.

    Attributes:
        bytes: Size of all patches.
        unexpected_files: Members that are not patches of this archive; they are not extracted.
        by_region: Number of patches of each region.
    """

    bytes: int
    unexpected_files: tuple[str, ...]
    by_region: Mapping[Roi, int]

    @property
    def patches(self) -> int:
        """Number of patches."""
        return sum(self.by_region.values())


def extract(archive: Archive, file: Path, root: Path, on_progress: ProgressCallback = no_progress) -> Extracted:
    """Extract all patches of an archive into the official layout.

    Patches appear below the root only after the archive was read to its end and its checksum was right; an interrupted
    extraction leaves the staging folder, which the next one removes. Members are streamed. Only regular files with the
    name of a patch of this archive are written, each once, and none larger than a patch can be.

    Args:
        archive: Archive that the file contains.
        file: Gzipped tar file.
        root: Root of the data set.
        on_progress: Called with (stage, bytes read, bytes of the file).

    Raises:
        DamagedArchiveError: The file is damaged.
        InputError: The contents are too large, or hold no patch.
        MachineError: The disk is full.
    """
    staging = root / STAGING / archive.folder
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with explained(staging):
            staging.mkdir(parents=True)
            extracted = _stage(archive, file, staging, on_progress)
            if not extracted.patches:
                found = ", ".join(extracted.unexpected_files[:SHOWN]) or "nothing"
                raise InputError(f"{named(file)} holds no patch of {archive.folder}, found {found}; check the file")
            _move(staging, root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return extracted


def _stage(archive: Archive, file: Path, staging: Path, on_progress: ProgressCallback) -> Extracted:
    published = replace(archive, regions=frozenset()).patches
    limit = published + published // 100 + 100
    size = 0
    regions: list[Roi] = []
    unexpected_files: list[str] = []
    try:
        with file.open("rb") as raw, gzip.open(raw) as inflated:
            most_bytes = limit * archive.largest_patch + SLACK_BYTES
            for member, content in _members(_LimitedStream(inflated, named(file), most_bytes, limit + OTHER_MEMBERS)):
                on_progress(f"extract {archive.folder}", raw.tell(), file.stat().st_size)
                place = archive.place(member.name) if member.isreg() and content else None
                if place is None:
                    unexpected_files += [] if member.isdir() else [_shown(member.name)]
                    continue
                roi = PatchId.parse(Path(place).stem).roi
                regions.append(roi)
                if member.size > archive.largest_patch or len(regions) > limit:
                    raise InputError(
                        f"{named(file)} holds more than patches can be ({_shown(member.name)}, {member.size:,} bytes); "
                        "it was not extracted"
                    )
                if not archive.selects(roi):
                    continue
                size += member.size
                _write(staging / place.partition("/")[2], content, named(file))
    except InputError:
        raise
    except _DAMAGES as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DamagedArchiveError(f"{named(file)} is damaged ({_shown(reason)}); fetch it again") from error
    return Extracted(size, tuple(unexpected_files), Counter(filter(archive.selects, regions)))


class _LimitedStream:
    """A decompressed stream with a size limit, so that no header, member or trailing data inflates to gigabytes.

    Args:
        stream: Decompressed stream.
        name: File name, for messages.
        most_bytes: Limit for the contents of all members.
        most_members: Limit for the number of members.
    """

    def __init__(self, stream: gzip.GzipFile, name: str, most_bytes: int, most_members: int) -> None:
        self._stream, self._name, self._left = stream, name, SLACK_BYTES
        self._for_members, self._members_left = most_bytes, most_members

    def allow(self, member: tarfile.TarInfo) -> None:
        """Raise the limit by the size of a member, as long as the limits for all members permit it."""
        if member.size < 0:
            raise tarfile.HeaderError(f"a member of {member.size} bytes")
        self._for_members -= member.size
        self._members_left -= 1
        if self._for_members < 0 or self._members_left < 0:
            self._refuse()
        self._left += member.size + MEMBER_OVERHEAD_BYTES

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes.

        Raises:
            InputError: The stream exceeds its limit.
        """
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            self._refuse()
        return content

    def _refuse(self) -> None:
        raise InputError(f"{self._name} holds far more than its patches can be; it was not extracted")


def _members(inflated: Any) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    """Yield the members in order, then read to the last byte, so that gzip compares its checksum."""
    with tarfile.open(fileobj=inflated, mode="r|") as tar:
        for member in tar:
            # tarfile keeps every member in memory; a stream of 100,000 does not need that
            tar.members = []  # type: ignore[attr-defined]
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
    """Move the staged patches below the root, file by file, because a region may exist there in part."""
    for patch in sorted(staging.glob("*/*.tif")):
        target = root / staging.name / patch.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        patch.replace(target)


def _shown(name: str) -> str:
    return (name if name.isprintable() else ascii(name))[:80]
