"""A zip of a product: looked at before it is used, unpacked only as far as a reader needs it."""

import io
import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from unclouded.errors import InputError
from unclouded.files import decoding, explained, is_file, named, open_file, require_file, require_room

MAX_MEMBERS = 20_000
"""Most files of an archive; products of the old format with many granules have about 2,000."""
MAX_BYTES = 16 << 30
"""Most bytes that the wanted members may unfold to; the largest products have 8 GB."""
MAX_RATIO = 200
"""Most bytes that one byte of a large member may unfold to: images hardly shrink, annotations thirty-fold."""
MAX_DIRECTORY_BYTES = 8 << 20
"""Largest directory of an archive; 20,000 members with names of 200 bytes have 5 MB."""
_SMALL = 8 << 20
"""Members below this many bytes may be anything, such as white space."""
_CHUNK = 1 << 20
_SMALL_CHUNK = 1 << 12
"""Bytes that are read at once where the decoder, bz2 or lzma, unfolds all that it is given without a limit."""
_MAX_NAME_BYTES = 255
"""Longest name of a file or a folder on the file systems in use."""


def is_zip(path: Path) -> bool:
    """Return whether a regular file begins like a zip, whatever its name and its end are.

    Raises:
        InputError: The file may not be read.
    """
    if not is_file(path):
        return False
    with open_file(path) as file:
        return file.read(4) == b"PK\x03\x04"


def unpack(path: Path, into: Path, wanted: re.Pattern[str]) -> None:
    """Unpack the members that a reader wants, checked by their CRC-32.

    Args:
        path: A zip.
        into: An empty folder.
        wanted: What the names of wanted members match in full, with the folders of the archive.

    Raises:
        InputError: The archive is cut, damaged, protected, unfolds to too much, or a name in it leads elsewhere.
    """
    with _opened(path) as archive:
        members = _members(path, archive, wanted)
        require_room(into, sum(member.file_size for member in members), f"unpack {named(path)}")
        for member in members:
            _unpack_member(path, archive, member, into)


def listed_checksums(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size and CRC-32 of all members of a zip, as its directory lists them.

    Raises:
        InputError: The directory is cut, damaged or too large.
    """
    with _opened(path) as archive:
        return [(member.filename, member.file_size, member.CRC) for member in archive.infolist()]


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; its members are read by :func:`_chunks` only."""
    require_file(path)
    with _BoundedReads(path) as file:
        with decoding(path, "is not a whole zip"):
            archive = zipfile.ZipFile(file)
        yield archive


class _BoundedReads(io.FileIO):
    """A file that refuses to be read in one piece larger than any directory; zipfile trusts the declared size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise InputError(f"{named(Path(str(self.name)))} has a directory of {size:,} bytes; is it a product?")
        return super().read(size) or b""


def _members(path: Path, archive: zipfile.ZipFile, wanted: re.Pattern[str]) -> list[zipfile.ZipInfo]:
    files = [member for member in archive.infolist() if not member.is_dir()]
    if len(files) > MAX_MEMBERS:
        raise InputError(f"{named(path)} holds {len(files):,} files, expected at most {MAX_MEMBERS:,} of one product")
    for member in files:
        _refuse_place(path, member)
    _refuse_clashes(path, [PurePosixPath(member.filename) for member in files])
    members = [member for member in files if wanted.fullmatch(member.filename)]
    if not members:
        raise InputError(f"{named(path)} holds no Sentinel product; give the zip that Copernicus delivers")
    _refuse_bomb(path, members)
    return members


def _refuse_place(path: Path, member: zipfile.ZipInfo) -> None:
    name, place = member.filename, PurePosixPath(member.filename)
    outside = place.is_absolute() or ".." in place.parts or "\\" in name or ":" in name or not place.parts
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{named(path)} holds {name[:80]!r}, which leads out of it; do not trust it")
    if not name.isprintable() or max(len(part.encode()) for part in place.parts) > _MAX_NAME_BYTES:
        raise InputError(f"{named(path)} holds {name[:80]!r}, a name that no product has; fetch it again")


def _refuse_clashes(path: Path, places: list[PurePosixPath]) -> None:
    if len(set(places)) < len(places):
        raise InputError(f"{named(path)} holds a name twice; is it a product of Copernicus?")
    folders = {folder for place in places for folder in place.parents}
    if clash := folders.intersection(places):
        raise InputError(f"{named(path)} holds {str(min(clash))[:80]!r} as a file and as a folder; fetch it again")


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if (total := sum(member.file_size for member in members)) > MAX_BYTES:
        raise InputError(f"{named(path)} unfolds to {total:,} bytes, expected at most {MAX_BYTES:,}; is it a product?")
    for member in members:
        if member.file_size > max(_SMALL, MAX_RATIO * member.compress_size):
            unfolds = f"{member.compress_size:,} bytes to {member.file_size:,}"
            raise InputError(f"{named(path)} unfolds {member.filename[-80:]} from {unfolds}; it is a bomb")


def _unpack_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path) -> None:
    """Write one member chunk by chunk; the archive raises where the checksum is another."""
    target = into / member.filename
    left = member.file_size
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in _chunks(path, archive, member):
                left -= len(chunk)
                if left < 0:
                    declared = f"more of {member.filename[-80:]} than it declares"
                    raise InputError(f"{named(path)} holds {declared}; it is a bomb")
                file.write(chunk)
    if left:
        raise InputError(f"{named(path)} holds less of {member.filename[-80:]} than it declares; fetch it again")


def _chunks(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Read one member; every way in which it can be damaged is an :class:`InputError`."""
    limited = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with decoding(path, "is not a whole zip"), archive.open(member) as source:
        while chunk := source.read(_CHUNK if limited else _SMALL_CHUNK):
            yield chunk
