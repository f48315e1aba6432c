"""Tags of TIFF files, read without GDAL; and their validation: GDAL silently ignores tags that it cannot parse."""

import re
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from unclouded.errors import InputError
from unclouded.files import decoding, named, open_file

_TAG_BYTES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8, 0])
"""Bytes of one value of each TIFF type, from BYTE (1) to IFD8 (18)."""
_LONG, _LONG8 = 4, 16
_TYPES = {3: "<u2", 4: "<u4", 16: "<u8"}
"""numpy types of the unsigned integers SHORT, LONG and LONG8."""
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ASCII = 2
_GDAL_METADATA, _GDAL_NODATA = 42112, 42113
_MAX_METADATA_BYTES = 16 << 20
_NUMBER = re.compile(r"[+-]?(nan|inf(inity)?|(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?|1\.#(qnan|ind|inf)0*)?", re.ASCII | re.I)
"""Numbers as GDAL parses them; anything else becomes 0."""


@dataclass(frozen=True)
class Tag:
    """Value of a tag in a little-endian TIFF file.

    Attributes:
        type: TIFF type, such as 4, LONG.
        count: Number of values.
        value: Bytes of the values.
    """

    type: int
    count: int
    value: bytes

    @classmethod
    def of(cls, numbers: Any, *, wide: bool = False) -> "Tag":
        """Return a tag of unsigned integers of 32 bits, or of 64 bits if it is wide."""
        kind = _LONG8 if wide else _LONG
        stored = np.atleast_1d(numbers).astype(_TYPES[kind])
        return cls(kind, len(stored), stored.tobytes())

    def numbers(self) -> list[int]:
        """Return the values of a tag of unsigned integers."""
        return list(np.frombuffer(self.value, _TYPES[self.type]).tolist())


def read_tags(file: BufferedIOBase) -> dict[int, Tag]:
    """Return the tags of the first directory of a little-endian TIFF file of our own; others need validation."""
    entries, size = _first_directory(file)
    found = {}
    for entry in entries:
        length = int(_TAG_BYTES[entry["type"]] * entry["count"])
        content = entry["value"].tobytes()
        if length > size:
            file.seek(int(entry["value"]))
            content = file.read(length)
        found[int(entry["tag"])] = Tag(int(entry["type"]), int(entry["count"]), content[:length])
    return found


def require_sound_tags(path: Path) -> None:
    """Refuse a TIFF whose first directory is truncated, or whose metadata or nodata value GDAL would ignore.

    Files that are not TIFF pass; GDAL reports them. TIFF 6.0, section 2: a directory is a count and that many
    entries; a value is stored in its entry if it fits, else at an offset.

    Raises:
        InputError: The file ends within its tags, or their text is damaged.
    """
    with open_file(path) as file:
        if file.read(4) not in _MAGIC:
            return
        with decoding(path, "is not a whole GeoTIFF"):
            tags, size = _first_directory(file)
        length = _TAG_BYTES[np.minimum(tags["type"], len(_TAG_BYTES) - 1)] * tags["count"].astype(float)
        ends = np.where(length > size, tags["value"] + length, 0)
        if ends.max(initial=0) > path.stat().st_size:
            found = f"ends within its tags, expected {ends.max():,.0f} bytes"
            raise InputError(f"{named(path)} is not a whole GeoTIFF (it {found}); fetch it again")
        for tag in tags[tags["type"] == _ASCII]:
            if tag["tag"] == _GDAL_METADATA:
                _require_metadata(path, _text(file, tag, size))
            elif tag["tag"] == _GDAL_NODATA:
                _require_number(path, _text(file, tag, size))


def _first_directory(file: BufferedIOBase) -> tuple[NDArray[Any], int]:
    """Return the entries of the first directory, and the size in bytes of values stored inside an entry."""
    file.seek(0)
    header = file.read(16)
    order, wide = ("<" if header[:2] == b"II" else ">"), 43 in header[2:4]
    word, size = (f"{order}u8", 8) if wide else (f"{order}u4", 4)
    file.seek(int(np.frombuffer(header, word, count=1, offset=size)[0]))
    counted = f"{order}u8" if wide else f"{order}u2"
    entries = int(np.frombuffer(file.read(np.dtype(counted).itemsize), counted)[0])
    layout = np.dtype([("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", word), ("value", word)])
    return np.frombuffer(file.read(min(entries, 65_535) * layout.itemsize), layout), size


def _text(file: BufferedIOBase, tag: Any, size: int) -> str:
    count = int(tag["count"])
    if count <= size:
        content = bytes(tag["value"].tobytes()[:count])
    else:
        file.seek(int(tag["value"]))
        content = file.read(min(count, _MAX_METADATA_BYTES + 1))
    return content.partition(b"\0")[0].decode(errors="replace").strip()


def _require_metadata(path: Path, text: str) -> None:
    if len(text) > _MAX_METADATA_BYTES:
        raise InputError(f"{named(path)} has metadata of more than {_MAX_METADATA_BYTES:,} bytes; is it an image?")
    if text:
        with decoding(path, "is not a whole GeoTIFF"):
            fromstring(text, forbid_dtd=True)


def _require_number(path: Path, text: str) -> None:
    if not _NUMBER.fullmatch(text):
        raise InputError(f"{named(path)} has the nodata value {text[:40]!r}, expected a number; fetch it again")
