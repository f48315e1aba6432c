"""A product as a folder: from a SAFE folder or its zip; a file of it is used only after its checksum agreed."""

import hashlib
import io
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unclouded.errors import InputError
from unclouded.files import (
    decoding,
    explained,
    is_file,
    is_folder,
    named,
    open_file,
    require_file,
    require_folder,
    require_room,
    resolved,
)
from unclouded.formats import format_of
from unclouded.sentinel.xml import XmlElement

_MANIFEST = "manifest.safe"

_NEEDED = re.compile(
    r"(?:[^/]+/)?(?:manifest\.safe"
    r"|[^/]*MTD[^/]*\.xml"
    r"|GRANULE/[^/]+/(?:[^/]*MTD[^/]*\.xml|IMG_DATA/(?:R[126]0m/)?[^/]*_B[018][0-9A](?:_[126]0m)?\.jp2)"
    r"|annotation/(?:calibration/)?[^/]+\.xml"
    r"|measurement/[^/]+\.tiff)"
)
"""Members of archives that the readers need: neither quick looks nor quality masks."""

_METADATA = re.compile(
    r"(?:[^/]+/)?(?:manifest\.safe|(?:GRANULE/[^/]+/)?[^/]*MTD[^/]*\.xml|annotation/(?:calibration/)?[^/]+\.xml)"
)
"""Members that tell what a product is, without its pixels."""

_ALGORITHMS = {"MD5": "md5", "SHA3-256": "sha3_256", "SHA-256": "sha256", "SHA256": "sha256"}
"""Checksums of manifests: MD5 for years, SHA3-256 since 2021."""


@dataclass(frozen=True)
class ManifestEntry:
    """What a manifest says about a file: its size, and its checksum by an algorithm of hashlib."""

    size: int
    algorithm: str
    checksum: str


@dataclass(frozen=True, eq=False)
class ProductFolder:
    """The folder of a product.

    Attributes:
        path: What the user gave: the folder itself, or the zip it came from.
        folder: The folder.
        listed: What the manifest says, by name in the folder; None where there is no manifest.
    """

    path: Path
    folder: Path
    listed: Mapping[str, ManifestEntry] | None

    def names(self, pattern: str) -> list[str]:
        """Return the names of files that match a pattern of :mod:`glob`, sorted."""
        found = (path for path in self.folder.glob(pattern) if is_file(path))
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def checked(self, name: str) -> Path:
        """Return the path of a file whose size and checksum are those of the manifest.

        Raises:
            InputError: The file is absent, lies outside the folder, is not listed, or was changed or cut.
        """
        path = _inside(self.path, self.folder, name)
        try:
            require_file(path)
        except InputError as error:
            lacks = f"{named(self.path)} lacks {named(Path(name))}, which it lists"
            raise InputError(f"{lacks}; fetch the product again") from error
        if self.listed is None:
            return path
        if not (entry := self.listed.get(path.relative_to(self.folder).as_posix())):
            raise InputError(f"{named(self.path)}: {name} is not in the manifest; fetch the product again")
        if entry.size < 0:
            raise InputError(f"{named(self.path)}: {name} has no size in the manifest; fetch the product again")
        if (size := path.stat().st_size) != entry.size:
            raise InputError(
                f"{named(path)} has {size:,} bytes, not the {entry.size:,} of its manifest; fetch it again"
            )
        with open_file(path) as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(entry.algorithm, usedforsecurity=False)).hexdigest()
        if found != entry.checksum:
            raise InputError(f"{named(path)} has another checksum than its manifest says; fetch it again")
        return path


def looks_like_product(path: Path) -> bool:
    """Say whether a path is a folder, a zip, or the manifest or metadata in a product's folder."""
    return is_folder(path) or (is_file(path) and (path.suffix in (".safe", ".xml") or is_zip(path)))


def product_of(path: Path) -> Path:
    """Return what a path stands for: the folder of a manifest or of metadata; any other path itself, with its name."""
    place = path.parent if is_file(path) and path.suffix in (".safe", ".xml") else path
    return place if place.name not in ("", "..") else resolved(place)


@contextmanager
def open_product(
    path: Path, work_folder: Path, *, metadata_only: bool = False, tile: str | None = None
) -> Iterator[ProductFolder]:
    """Open a product's folder, or unpack its zip into a folder that lasts as long as the block.

    Args:
        path: Folder, zip, or the manifest or metadata in the folder.
        work_folder: Where zips are unpacked.
        metadata_only: Unpack no pixels of a zip.
        tile: Unpack nothing of the other tiles of a zip; such as ``T32UPU``.

    Raises:
        InputError: There is no product, the zip is damaged, or the manifest leads out of the folder.
    """
    if is_file(path) and path.suffix not in (".safe", ".xml"):
        unpacked = work_folder / "unpacked"
        unpacked.mkdir()
        unpack(path, unpacked, _METADATA if metadata_only else _needed(tile))
        yield _product(path, _top_folder(path, unpacked))
    else:
        folder = product_of(path)
        require_folder(folder)
        yield _product(path, resolved(folder))


def _needed(tile: str | None) -> re.Pattern[str]:
    if tile is None:
        return _NEEDED
    name = re.escape(tile.upper().removeprefix("T"))
    return re.compile(_NEEDED.pattern.replace("GRANULE/[^/]+/", rf"GRANULE/[^/]*_T{name}(?:_[^/]*)?/"))


def _top_folder(path: Path, unpacked: Path) -> Path:
    """Return the folder with the manifest or the metadata; archives hold it with or without a name."""
    entries = list(unpacked.iterdir())
    if any(is_file(entry) for entry in entries):
        return resolved(unpacked)
    if len(entries) > 1:
        raise InputError(f"{named(path)} holds {len(entries)} products, expected one; unpack it and give one of them")
    return resolved(entries[0])


def _product(path: Path, folder: Path) -> ProductFolder:
    manifest = folder / _MANIFEST
    return ProductFolder(path, folder, _listed(path, folder, manifest) if manifest.exists() else None)


def _listed(path: Path, folder: Path, manifest: Path) -> dict[str, ManifestEntry]:
    listed = {}
    for stream in XmlElement.read(manifest).all("byteStream"):
        place = _inside(path, folder, stream.one("fileLocation").attribute("href"))
        checksum = stream.one("checksum")
        algorithm = checksum.attribute("checksumName").upper()
        if algorithm not in _ALGORITHMS:
            raise InputError(f"{named(manifest)} has checksums by {algorithm[:20]!r}, expected MD5 or SHA3-256")
        size = stream.whole_attribute("size")
        entry = ManifestEntry(-1 if size is None else size, _ALGORITHMS[algorithm], checksum.text.lower())
        listed[place.relative_to(folder).as_posix()] = entry
    return listed


def _inside(path: Path, folder: Path, name: str) -> Path:
    """Return where a name of a manifest or of metadata leads, links followed.

    Raises:
        InputError: Out of the folder.
    """
    try:
        place = resolved(folder / name)
    except InputError:  # a zero byte; links in a circle
        place = Path()
    if not place.is_relative_to(folder) or place == folder:
        raise InputError(f"{named(path)} refers to {name[:80]!r}, outside its folder; do not trust it")
    return place


# A zip of a product: looked at before it is used, unpacked only as far as a reader needs it.


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


# What a product is, in words: for readers that expected another.


_SENTINEL1 = re.compile(r"s1.-([a-z0-9]+)-([a-z]{3})")


def kind_of(product: ProductFolder) -> str:
    """Say which product a folder holds, as far as the names of its files tell."""
    if radar := product.names("annotation/s1*.xml"):
        match = _SENTINEL1.match(radar[0].rpartition("/")[2])
        return f"a Sentinel-1 {' '.join(match.groups()).upper() if match else ''} product"
    if product.names("MTD_MSIL2A.xml"):
        return "a Sentinel-2 Level-2A product"
    if product.names("MTD_MSIL1C.xml") or product.names("S2?_*_MTD_SAFL1C*.xml"):
        return "a Sentinel-2 Level-1C product"
    if any(product.names(pattern) for pattern in ("*_MTL.txt", "*_MTL.xml", "*_MTL.json")):
        return "a Landsat product"
    if product.names("metadata.xml") or product.names("MTD_TL.xml"):
        return "a granule without its product, whose offset nobody knows"
    if inside := [name.partition("/")[0] for name in product.names("*/manifest.safe")]:
        several = " and others (give one of them, or parts of one tile in one pass by their own names)"
        return f"a folder that holds {inside[0][:100]}{several if inside[1:] else ''}, not a product itself"
    if (found := format_of(product.folder)) and found.remedy:
        return f"{found.name} ({found.remedy})"
    if images := [*product.names("*.tif"), *product.names("*.tiff"), *product.names("*.TIF")]:
        return f"a folder of {len(images)} GeoTIFF{'s' * (len(images) > 1)} not named after its bands (give one file)"
    if product.names("*.jp2"):
        return "a folder of JPEG 2000 images without their product (give the whole product)"
    return "a folder without a product" if product.names("*") or product.names("*/*") else "an empty folder"
