"""Take the patches out of an archive: only what belongs there, all of it or nothing."""

import gzip
import shutil
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import explained, named
from unclouded.patches.archives import Archive
from unclouded.patches.identity import PatchId, Roi

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
SHOWN = 3

Told = Callable[[int, int], object]


class DamagedArchiveError(InputError):
    """An archive is not what it was packed as."""


@dataclass(frozen=True)
class Extracted:
    """What came out of an archive.

    Attributes:
        bytes: Size of all patches.
        strangers: Members that are no patch of this archive; they were left inside.
        by_region: Number of patches of each region.
    """

    bytes: int
    strangers: tuple[str, ...]
    by_region: Mapping[Roi, int]

    @property
    def patches(self) -> int:
        """Number of patches."""
        return sum(self.by_region.values())


def extract(archive: Archive, file: Path, root: Path, told: Told = lambda done, total: None) -> Extracted:
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
                held = ", ".join(extracted.strangers[:SHOWN]) or "nothing"
                raise InputError(f"{named(file)} holds no patch of {archive.folder}, found {held}; is it another file?")
            _move(staging, root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return extracted


def _stage(archive: Archive, file: Path, staging: Path, told: Told) -> Extracted:
    limit = archive.patches + archive.patches // 100 + 100
    size = 0
    regions: list[Roi] = []
    strangers: list[str] = []
    try:
        with file.open("rb") as raw, gzip.open(raw) as inflated:
            most_bytes = limit * archive.largest_patch + SLACK_BYTES
            for member, content in _members(_Measured(inflated, named(file), most_bytes, limit + OTHER_MEMBERS)):
                told(raw.tell(), file.stat().st_size)
                place = archive.place(member.name) if member.isreg() and content else None
                if place is None:
                    strangers += [] if member.isdir() else [_shown(member.name)]
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
    return Extracted(size, tuple(strangers), Counter(regions))


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
