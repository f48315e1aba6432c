"""A zip of a product: looked at before it is used, unpacked only as far as a reader needs it."""

import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from unclouded.errors import InputError
from unclouded.files import named, require_room

MAX_MEMBERS = 20_000
"""Most files of an archive; products of the old format with many granules have about 2,000."""
MAX_BYTES = 16 << 30
"""Most bytes that the wanted members may unfold to; the largest products have 8 GB."""
MAX_RATIO = 200
"""Most bytes that one byte of a large member may unfold to: images hardly shrink, annotations thirty-fold."""
_SMALL = 8 << 20
"""Members below this many bytes may be anything, such as white space."""
_CHUNK = 1 << 20


def is_zip(path: Path) -> bool:
    """Say whether a file begins like a zip, whatever its name and its end are."""
    with path.open("rb") as file:
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
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive, wanted)
            require_room(into, sum(member.file_size for member in members), f"unpack {named(path)}")
            for member in members:
                _unpack_member(path, archive, member, into)
    except (
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        FileExistsError,
        NotADirectoryError,
    ) as error:
        raise InputError(f"{named(path)} is not a whole zip ({str(error)[:120]}); fetch it again") from error


def _members(path: Path, archive: zipfile.ZipFile, wanted: re.Pattern[str]) -> list[zipfile.ZipInfo]:
    files = [member for member in archive.infolist() if not member.is_dir()]
    if len(files) > MAX_MEMBERS:
        raise InputError(f"{named(path)} holds {len(files):,} files, expected at most {MAX_MEMBERS:,} of one product")
    for member in files:
        _refuse_place(path, member)
    names = [member.filename for member in files]
    if len(set(names)) < len(names):
        raise InputError(f"{named(path)} holds a name twice; is it a product of Copernicus?")
    members = [member for member in files if wanted.fullmatch(member.filename)]
    if not members:
        raise InputError(f"{named(path)} holds no Sentinel product; give the zip that Copernicus delivers")
    _refuse_bomb(path, members)
    return members


def _refuse_place(path: Path, member: zipfile.ZipInfo) -> None:
    place = PurePosixPath(member.filename)
    outside = place.is_absolute() or ".." in place.parts or "\\" in member.filename or ":" in member.filename
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{named(path)} holds {member.filename[:80]!r}, which leads out of it; do not trust it")


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
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size
    with archive.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise InputError(f"{named(path)} holds more of {member.filename[-80:]} than it declares; it is a bomb")
            file.write(chunk)
    if left:
        raise InputError(f"{named(path)} holds less of {member.filename[-80:]} than it declares; fetch it again")
