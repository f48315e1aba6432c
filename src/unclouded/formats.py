"""Recognition of file formats by their first bytes, and of folders by their contents, for error messages."""

import re
import stat
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_START = 4096
"""Number of bytes to read."""
_CONVERT = "convert it to GeoTIFF, for example with gdal_translate"
_PICTURE = "a picture holds no measurements: give the data that it was made from"
_UNPACK = "unpack it first"
_ADDRESS = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]+):/")


@dataclass(frozen=True)
class Format:
    """Format of a file or folder.

    Attributes:
        name: Name with its article, such as ``a PNG image``.
        remedy: Next step for the user; empty if it depends on what was expected.
    """

    name: str
    remedy: str = ""

    @property
    def clause(self) -> str:
        """Clause for the middle of a sentence, such as `` (it is a PNG image)``."""
        return f" (it is {self.name}; {self.remedy})" if self.remedy else f" (it is {self.name})"


_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"\x89HDF\r\n\x1a\n", Format("an HDF5 or netCDF 4 file", _CONVERT)),
    (b"CDF\x01", Format("a netCDF file", _CONVERT)),
    (b"CDF\x02", Format("a netCDF file", _CONVERT)),
    (b"CDF\x05", Format("a netCDF file", _CONVERT)),
    (b"\x0e\x03\x13\x01", Format("an HDF4 file", _CONVERT)),
    (b"GRIB", Format("a GRIB file", _CONVERT)),
    (b"EHFA_HEADER_TAG", Format("an ERDAS Imagine file", _CONVERT)),
    (b"NITF", Format("a NITF file", _CONVERT)),
    (b"ENVI\r\n", Format("a header of ENVI", _CONVERT)),
    (b"ENVI\n", Format("a header of ENVI", _CONVERT)),
    (b"SIMPLE  =", Format("a FITS file", _CONVERT)),
    (b"\x00\x00\x00\x0cjP  \r\n", Format("a JPEG 2000 image", "give the product it belongs to, or " + _CONVERT)),
    (b"\xff\x4f\xff\x51", Format("a JPEG 2000 image", "give the product it belongs to, or " + _CONVERT)),
    (b"\x89PNG\r\n\x1a\n", Format("a PNG image", _PICTURE)),
    (b"\xff\xd8\xff", Format("a JPEG image", _PICTURE)),
    (b"GIF8", Format("a GIF image", _PICTURE)),
    (b"%PDF", Format("a PDF document", _PICTURE)),
    (b"\x1f\x8b", Format("a gzip archive", _UNPACK)),
    (b"BZh", Format("a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ\x00", Format("an xz archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Format("a Zstandard archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Format("a 7-Zip archive", _UNPACK)),
    (b"Rar!", Format("a RAR archive", _UNPACK)),
    (b"PK\x03\x04", Format("a zip archive", _UNPACK)),
    (b"PK\x05\x06", Format("an empty zip archive")),
    (b"PAR1", Format("a Parquet file")),
    (b"ARROW1", Format("an Arrow file")),
    (b"SQLite format 3\x00", Format("an SQLite database, such as a GeoPackage")),
    (b"\x93NUMPY", Format("a NumPy array", "a GeoTIFF keeps its grid")),
    (b"II*\x00", Format("a TIFF image")),
    (b"MM\x00*", Format("a TIFF image")),
    (b"II+\x00", Format("a BigTIFF image")),
    (b"MM\x00+", Format("a BigTIFF image")),
    (b"\x7fELF", Format("a program")),
    (b"version https://git-lfs", Format("a pointer of Git LFS", "fetch the file itself with 'git lfs pull'")),
    (b"\xff\xfe", Format("a text in UTF-16", "save it as UTF-8")),
    (b"\xfe\xff", Format("a text in UTF-16", "save it as UTF-8")),
)
_MARKUP = (
    ("<!doctype html", Format("an HTML page", "a server sent a web page instead of the file: fetch it again")),
    ("<html", Format("an HTML page", "a server sent a web page instead of the file: fetch it again")),
    ("<dimap_document", Format("a DIMAP file of SNAP", "export it from SNAP as GeoTIFF")),
    ("<vrtdataset", Format("a VRT", "a VRT can lead anywhere: " + _CONVERT)),
    ("<kml", Format("a KML file")),
    ("<error", Format("an XML error of a server", "fetch it again")),
    ("<level-", Format("metadata of a Sentinel-2 product", "give the product's folder")),
)
_ZARR = (".zgroup", ".zarray", ".zmetadata", "zarr.json")


def format_of(path: Path) -> Format | None:
    """Return the format of a path; None if it is not recognised.

    Args:
        path: Any path; it may be missing.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return Format("an address", "fetch it first") if _ADDRESS.match(str(path)) else None
    if stat.S_ISDIR(mode):
        return _folder(path)
    if not stat.S_ISREG(mode):
        return Format("a pipe, a socket or a device", "give a file")
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return None
    return _file(start)


def found_clause(path: Path) -> str:
    """Return the format of a path as a clause in parentheses for a message; empty if it is not recognised."""
    found = format_of(path)
    return found.clause if found else ""


def _file(start: bytes) -> Format | None:
    if not start:
        return Format("an empty file", "fetch it again")
    for magic, found in _MAGIC:
        if start.startswith(magic):
            return found
    if start[257:262] == b"ustar":
        return Format("a tar archive", _UNPACK)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return Format("a WebP image", _PICTURE)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return Format("a safetensors file")
    if start[:1] == b"\x80" and b"\x02" <= start[1:2] <= b"\x05":
        return Format("a pickle", "it can run any code: do not open it")
    return _text(start)


def _text(start: bytes) -> Format | None:
    with suppress(UnicodeDecodeError):
        text = getincrementaldecoder("utf-8-sig")().decode(start)  # the last character may be cut
        if not all(character.isprintable() or character in "\t\r\n" for character in text):
            return None
        begin = text.lstrip().lower()
        if begin.startswith("<"):
            markup = (found for mark, found in _MARKUP if mark in begin)
            return next(markup, Format("an XML file"))
        if begin.startswith(("{", "[")):
            return Format("a JSON file")
        return Format("a text file")
    return None


def _folder(path: Path) -> Format:
    names = set(_names(path))
    if not names:
        return Format("an empty folder")
    if names.intersection(_ZARR) or path.suffix == ".zarr":
        return Format("a Zarr store", "export the bands as GeoTIFF")
    if path.suffix == ".data" or any(name.endswith(".dim") for name in names):
        return Format("a DIMAP folder of SNAP", "export it from SNAP as GeoTIFF")
    if weights := names & {"weights.safetensors", "best.safetensors"}:
        return Format("the folder of a training", f"give its {max(weights)}")
    return Format("a folder")


def _names(path: Path) -> Iterator[str]:
    with suppress(OSError):
        for number, entry in enumerate(path.iterdir()):
            if number == 1000:
                return
            yield entry.name
