"""A product as a folder: from a SAFE folder or its zip; a file of it is used only after its checksum agreed."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unclouded.errors import InputError
from unclouded.files import is_file, is_folder, named, open_file, require_file, require_folder, resolved
from unclouded.scenes.archive import is_zip, unpack
from unclouded.scenes.markup import Markup

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
class Listed:
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
    listed: Mapping[str, Listed] | None

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


def _listed(path: Path, folder: Path, manifest: Path) -> dict[str, Listed]:
    listed = {}
    for stream in Markup.read(manifest).all("byteStream"):
        place = _inside(path, folder, stream.one("fileLocation").attribute("href"))
        checksum = stream.one("checksum")
        algorithm = checksum.attribute("checksumName").upper()
        if algorithm not in _ALGORITHMS:
            raise InputError(f"{named(manifest)} has checksums by {algorithm[:20]!r}, expected MD5 or SHA3-256")
        size = stream.whole_attribute("size")
        entry = Listed(-1 if size is None else size, _ALGORITHMS[algorithm], checksum.text.lower())
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
