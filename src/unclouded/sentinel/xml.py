"""Safe reading of product XML: limited in size and depth, without document types; missing values are named."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from jaxtyping import Float64

from unclouded.dates import parse_utc
from unclouded.errors import InputError
from unclouded.files import decoding, named, read_small

MAX_BYTES = 32 << 20
"""Largest XML file; the annotations of Sentinel-1 have 2 MB, the metadata of Sentinel-2 less than 1 MB."""
MAX_DEPTH = 64
"""Deepest nesting of elements; the manifests of products reach 25."""
MAX_WHOLE = 1 << 53
"""Largest integer; float64 cannot represent all integers beyond it."""
YEARS = range(1970, 2200)
"""Accepted years, so that time arithmetic stays within the range of datetime."""

_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']*)["']""")
_ASCII_BASED = (b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1")

_WHOLE = re.compile(r"[0-9]{1,16}")
_NUMBERS = re.compile(r"[0-9eE+\-.\s]*", re.ASCII)
"""Characters of numbers; Python also accepts 1_000, nan and digits of other scripts."""


class XmlElement:
    """Element of an XML file, with the path of the file for messages.

    Elements are found by local name, because products put only some of their elements into a namespace.
    """

    def __init__(self, path: Path, element: Any) -> None:
        self.path = path
        self._element = element

    @classmethod
    def read(cls, path: Path) -> "XmlElement":
        """Parse a file and return its root.

        Raises:
            InputError: The file is not XML, exceeds the limits, or declares a document type or entities.
        """
        root = parse_xml(path, read_small(path, MAX_BYTES))
        _refuse_depth(path, root)
        return cls(path, root)

    @property
    def name(self) -> str:
        """Local name of the element."""
        return str(self._element.tag).rpartition("}")[2]

    def attribute(self, name: str) -> str:
        """Return an attribute, an empty string if it is missing."""
        return str(self._element.get(name, ""))

    def whole_attribute(self, name: str) -> int | None:
        """Return an attribute as an integer, None if it is missing or not an integer."""
        text = self.attribute(name)
        return int(text) if _WHOLE.fullmatch(text) else None

    def all(self, name: str) -> Iterator["XmlElement"]:
        """Iterate over all descendants with a name, in document order."""
        return (XmlElement(self.path, element) for element in self._element.iterfind(f".//{{*}}{name}"))

    def first(self, name: str) -> "XmlElement | None":
        """Return the first descendant with a name, None if there is none."""
        return next(self.all(name), None)

    def one(self, name: str) -> "XmlElement":
        """Return the first descendant with a name.

        Raises:
            InputError: There is none.
        """
        if found := self.first(name):
            return found
        raise InputError(f"{named(self.path)} has no {name}; is it the metadata of another product?")

    def children(self, names: tuple[str, ...]) -> list["XmlElement"]:
        """Return one child for each name; much faster than :meth:`one` for the many elements of a table.

        Raises:
            InputError: There is none of a name.
        """
        found = {str(child.tag).rpartition("}")[2]: child for child in reversed(self._element)}
        return [XmlElement(self.path, found[name]) if name in found else self.one(name) for name in names]

    @property
    def text(self) -> str:
        """Text of the element."""
        return (self._element.text or "").strip()

    @property
    def number(self) -> float:
        """Text as a number.

        Raises:
            InputError: The text is not a number.
        """
        return float(self.numbers[0]) if self.numbers.size else self._refuse("a number")

    @property
    def whole(self) -> int:
        """Text as an integer.

        Raises:
            InputError: The text is not an integer.
        """
        number = self.number
        fits = number == int(number) and abs(number) <= MAX_WHOLE
        return int(number) if fits else self._refuse("a whole number")

    @property
    def numbers(self) -> Float64[np.ndarray, " n"]:
        """Text as numbers separated by white space.

        Raises:
            InputError: The text contains anything else.
        """
        try:
            numbers = np.array((self.text if _NUMBERS.fullmatch(self.text) else "none").split(), np.float64)
        except ValueError:
            self._refuse("numbers")
        return numbers if np.isfinite(numbers).all() else self._refuse("numbers")

    @property
    def time(self) -> datetime:
        """Text as a time in UTC, with or without the letter Z.

        Raises:
            InputError: The text is not a time.
        """
        with suppress(InputError):
            if (time := parse_utc(self.text)).year in YEARS:
                return time
        return cast("datetime", self._refuse("a time such as 2021-04-01T05:26:23.794457"))

    def _refuse(self, expected: str) -> Any:
        raise InputError(f"{named(self.path)} has {self.text[:40]!r} for {self.name}, expected {expected}")


def parse_xml(path: Path, content: bytes) -> Any:
    """Return the root element of XML content.

    Raises:
        InputError: The content is not XML, or declares a document type or entities.
    """
    with decoding(path, "is not XML", "fetch the product again"):
        if is_plain(content):
            return ElementTree.fromstring(content)  # noqa: S314
        try:
            return fromstring(content, forbid_dtd=True)
        except DefusedXmlException as error:
            raise InputError(
                f"{named(path)} declares a document type or entities, expected plain XML; fetch the product again"
            ) from error


def is_plain(content: bytes) -> bool:
    """Return whether XML content certainly has no document type, so that the parser in C is safe, 6 times as fast.

    In an encoding that contains ASCII, a declaration has its own bytes. Content with such bytes, for example in a
    comment, is left to defusedxml.
    """
    declared = _ENCODING.match(content[:200])
    is_ascii_based = b"\0" not in content and (declared is None or declared[1].lower() in _ASCII_BASED)
    return is_ascii_based and b"<!DOCTYPE" not in content and b"<!ENTITY" not in content


def _refuse_depth(path: Path, root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise InputError(f"{named(path)} nests elements more than {MAX_DEPTH} deep, expected less; fetch the product again")
