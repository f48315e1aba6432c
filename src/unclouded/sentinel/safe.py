"""SAFE products: folders and zips, verified against their manifest.

:func:`open_product` gives a :class:`ProductFolder`, for a zip after its members have been checked and the needed ones
unpacked. :meth:`ProductFolder.checked` returns a file only if its size and checksum are those of ``manifest.safe``.
:func:`kind_of` names the product of a folder, for messages about unexpected ones.
"""

import hashlib
import io
import posixpath
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
from unclouded.formats import format_of, found_clause
from unclouded.sentinel.xml import XmlElement

_MANIFEST = "manifest.safe"

_NEEDED = re.compile(
    r"(?:[^/]+/)?(?:manifest\.safe"
    r"|[^/]*MTD[^/]*\.xml"
    r"|GRANULE/[^/]+/(?:[^/]*MTD[^/]*\.xml|IMG_DATA/(?:R[126]0m/)?[^/]*_(?:B[018][0-9A](?:_[126]0m)?|SCL(?:_20m)?)\.jp2)"
    r"|annotation/(?:calibration/)?[^/]+\.xml"
    r"|measurement/[^/]+\.tiff)"
)
"""Archive members that are unpacked; quick looks and quality masks are not needed."""

_METADATA = re.compile(
    r"(?:[^/]+/)?(?:manifest\.safe|(?:GRANULE/[^/]+/)?[^/]*MTD[^/]*\.xml|annotation/(?:calibration/)?[^/]+\.xml)"
)
"""Archive members with metadata, without pixels."""

_ALGORITHMS = {"MD5": "md5", "SHA3-256": "sha3_256", "SHA-256": "sha256", "SHA256": "sha256"}
"""Checksum algorithms of manifests: MD5, and SHA3-256 since 2021."""


@dataclass(frozen=True)
class ManifestEntry:
    """Size and checksum of a file in a manifest; the algorithm is a name of hashlib."""

    size: int
    algorithm: str
    checksum: str


@dataclass(frozen=True, eq=False)
class ProductFolder:
    """Folder of a product.

    Attributes:
        path: Path given by the user: the folder itself, or its zip.
        folder: Folder with the files.
        listed: Entries of the manifest by name in the folder; None without manifest.
    """

    path: Path
    folder: Path
    listed: Mapping[str, ManifestEntry] | None

    def names(self, pattern: str) -> list[str]:
        """Return the sorted names of files that match a :mod:`glob` pattern."""
        found = (path for path in self.folder.glob(pattern) if is_file(path))
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def checked(self, name: str) -> Path:
        """Return the path of a file after comparing its size and checksum with the manifest.

        Raises:
            InputError: The file is missing, lies outside the folder, is not listed, or was changed or truncated.
        """
        path = _inside(self.path, self.folder, name)
        try:
            require_file(path)
        except InputError as error:
            lacks = f"{named(self.path)} lacks {named(Path(name))}, which it lists"
            raise InputError(f"{lacks}; fetch the product again") from error
        if self.listed is None:
            return path
        if not (entry := self.listed.get(_normal(self.path, name))):
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
            raise InputError(f"{named(path)} has another checksum than in its manifest; fetch it again")
        return path


@dataclass(frozen=True)
class SafeProduct:
    """Folder of a product, not opened yet."""

    path: Path


@dataclass(frozen=True)
class ProductZip:
    """Zip of a product, not opened yet."""

    path: Path


Product = SafeProduct | ProductZip


def product_at(path: Path) -> Product | None:
    """Return the product at a path: any folder, any zip, or the folder of a manifest or metadata file; else None."""
    is_metadata = path.suffix in (".safe", ".xml") and is_file(path)
    if is_metadata or is_folder(path):
        folder = path.parent if is_metadata else path
        return SafeProduct(folder if folder.name not in ("", "..") else resolved(folder))
    return ProductZip(path) if is_zip(path) else None


def require_product(path: Path) -> Product:
    """Return the product at a path.

    Raises:
        InputError: The path is missing, or another file.
    """
    if (product := product_at(path)) is None:
        raise InputError(f"{named(path)} is not a product{found_clause(path)}; give the folder or the zip of one")
    return product


@contextmanager
def open_product(
    product: Product, work_folder: Path, *, metadata_only: bool = False, tile: str | None = None
) -> Iterator[ProductFolder]:
    """Open the folder of a product, or unpack its zip into ``work_folder``.

    Args:
        product: Folder or zip, see :func:`product_at`.
        work_folder: Existing folder for the members of a zip.
        metadata_only: Whether to leave out the pixels of a zip.
        tile: Only tile of a zip to unpack, such as ``T32UPU``; all if omitted.

    Raises:
        InputError: There is no product, the zip is damaged, or the manifest refers to files outside the folder.
    """
    path = product.path
    if isinstance(product, ProductZip):
        unpacked = work_folder / "unpacked"
        unpacked.mkdir()
        unpack(path, unpacked, _METADATA if metadata_only else _needed(tile))
        yield _product(path, _top_folder(path, unpacked))
    else:
        require_folder(path)
        yield _product(path, resolved(path))


def _needed(tile: str | None) -> re.Pattern[str]:
    if tile is None:
        return _NEEDED
    name = re.escape(tile.upper().removeprefix("T"))
    return re.compile(_NEEDED.pattern.replace("GRANULE/[^/]+/", rf"GRANULE/[^/]*_T{name}(?:_[^/]*)?/"))


def _top_folder(path: Path, unpacked: Path) -> Path:
    """Return the folder with the manifest or metadata; archives hold their files with or without a top folder."""
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
        name = _normal(path, stream.one("fileLocation").attribute("href"))
        checksum = stream.one("checksum")
        algorithm = checksum.attribute("checksumName").upper()
        if algorithm not in _ALGORITHMS:
            raise InputError(f"{named(manifest)} has checksums by {algorithm[:20]!r}, expected MD5 or SHA3-256")
        size = stream.whole_attribute("size")
        entry = ManifestEntry(-1 if size is None else size, _ALGORITHMS[algorithm], checksum.text.lower())
        listed[name] = entry
    return listed


def _normal(path: Path, name: str) -> str:
    """Return a name in a manifest or metadata without ``./``; links are resolved when the file is used.

    Raises:
        InputError: The name lies outside the folder.
    """
    normal = posixpath.normpath(name)
    if not name or "\0" in name or normal in (".", "..") or normal.startswith(("/", "../")):
        raise InputError(f"{named(path)} refers to {name[:80]!r}, outside its folder; do not trust it")
    return normal


def _inside(path: Path, folder: Path, name: str) -> Path:
    """Return the path of a file named by a manifest or metadata, links resolved.

    Raises:
        InputError: The path lies outside the folder.
    """
    try:
        place = resolved(folder / name)
    except InputError:  # a null byte, or a loop of links
        place = Path()
    if not place.is_relative_to(folder) or place == folder:
        raise InputError(f"{named(path)} refers to {name[:80]!r}, outside its folder; do not trust it")
    return place


# Zips of products: names, links, sizes and ratios of all members are checked before the needed ones are unpacked.

MAX_MEMBERS = 20_000
"""Largest number of files of an archive; products of the old format with many granules have about 2,000."""

MAX_BYTES = 16 << 30
"""Largest total size of the unpacked members; the largest products have 8 GB."""

MAX_RATIO = 200
"""Largest compression ratio of a large member: images hardly compress, annotations by a factor of 30."""

MAX_DIRECTORY_BYTES = 8 << 20
"""Largest central directory of an archive; 20,000 members with names of 200 bytes have 5 MB."""

_SMALL = 8 << 20
"""Size below which the compression ratio of a member is not limited."""

_CHUNK = 1 << 20

_SMALL_CHUNK = 1 << 12
"""Read size for bz2 and lzma, whose decoders decompress all their input at once, without limit."""

_MAX_NAME_BYTES = 255
"""Longest file name of common file systems."""


def is_zip(path: Path) -> bool:
    """Return whether a path is a regular file that starts with the signature of a zip.

    Raises:
        InputError: The file is not readable.
    """
    if not is_file(path):
        return False
    with open_file(path) as file:
        return file.read(4) == b"PK\x03\x04"


def unpack(path: Path, into: Path, pattern: re.Pattern[str]) -> None:
    """Unpack selected members of a zip, verified by their CRC-32.

    Args:
        path: Zip file.
        into: Empty folder.
        pattern: Full match of the selected members' names, with the folders of the archive.

    Raises:
        InputError: The archive is truncated, damaged, encrypted, too large, or a name leads outside ``into``.
    """
    with _opened(path) as archive:
        members = _members(path, archive, pattern)
        require_room(into, sum(member.file_size for member in members), f"unpack {named(path)}")
        for member in members:
            _unpack_member(path, archive, member, into)


def listed_checksums(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size and CRC-32 of all members of a zip, from its central directory.

    Raises:
        InputError: The directory is truncated, damaged or too large.
    """
    with _opened(path) as archive:
        return [(member.filename, member.file_size, member.CRC) for member in archive.infolist()]


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive, whose members are read by :func:`_chunks` only."""
    require_file(path)
    with _BoundedReads(path) as file:
        with decoding(path, "is not a whole zip"):
            archive = zipfile.ZipFile(file)
        yield archive


class _BoundedReads(io.FileIO):
    """File with a limit on single reads: zipfile reads a directory of any declared size at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise InputError(f"{named(Path(str(self.name)))} has a directory of {size:,} bytes; is it a product?")
        return super().read(size) or b""


def _members(path: Path, archive: zipfile.ZipFile, pattern: re.Pattern[str]) -> list[zipfile.ZipInfo]:
    files = [member for member in archive.infolist() if not member.is_dir()]
    if len(files) > MAX_MEMBERS:
        raise InputError(f"{named(path)} holds {len(files):,} files, expected at most {MAX_MEMBERS:,} of one product")
    for member in files:
        _refuse_place(path, member)
    _refuse_clashes(path, [PurePosixPath(member.filename) for member in files])
    members = [member for member in files if pattern.fullmatch(member.filename)]
    if not members:
        raise InputError(f"{named(path)} holds no Sentinel product; give the zip that Copernicus delivers")
    _refuse_bomb(path, members)
    return members


def _refuse_place(path: Path, member: zipfile.ZipInfo) -> None:
    name, place = member.filename, PurePosixPath(member.filename)
    outside = place.is_absolute() or ".." in place.parts or "\\" in name or ":" in name or not place.parts
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{named(path)} holds {name[:80]!r}, a path outside of the archive; do not trust it")
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
        raise InputError(
            f"{named(path)} decompresses to {total:,} bytes, expected at most {MAX_BYTES:,}; is it a product?"
        )
    for member in members:
        if member.file_size > max(_SMALL, MAX_RATIO * member.compress_size):
            sizes = f"{member.compress_size:,} bytes to {member.file_size:,}"
            raise InputError(
                f"{named(path)} expands {member.filename[-80:]} from {sizes}: a decompression bomb; do not trust it"
            )


def _unpack_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path) -> None:
    """Write one member chunk by chunk; zipfile raises if the checksum differs."""
    target = into / member.filename
    remaining = member.file_size
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in _chunks(path, archive, member):
                remaining -= len(chunk)
                if remaining < 0:
                    declared = f"more of {member.filename[-80:]} than it declares"
                    raise InputError(f"{named(path)} holds {declared}: a decompression bomb; do not trust it")
                file.write(chunk)
    if remaining:
        raise InputError(f"{named(path)} holds less of {member.filename[-80:]} than it declares; fetch it again")


def _chunks(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Read one member; any damage raises :class:`InputError`."""
    limited = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with decoding(path, "is not a whole zip"), archive.open(member) as source:
        while chunk := source.read(_CHUNK if limited else _SMALL_CHUNK):
            yield chunk


_SENTINEL1 = re.compile(r"s1.-([a-z0-9]+)-([a-z]{3})")


def kind_of(product: ProductFolder) -> str:
    """Return a description of the product in a folder for messages, from the names of its files."""
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
        return "a granule without its product, whose offset is unknown"
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
