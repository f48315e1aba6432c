"""The XML of products: small, without document types, entities or surprises; a value is found or it is named."""

import re
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
"""Deepest nesting; the manifests of products reach 25."""
MAX_WHOLE = 1 << 53
"""Largest whole number; beyond it float64 has gaps."""
YEARS = range(1970, 2200)
"""Years of times; what is computed with them stays far from the ends of the calendar."""

_WHOLE = re.compile(r"[0-9]{1,16}")
_NUMBERS = re.compile(r"[0-9eE+\-.\s]*", re.ASCII)
"""Characters of numbers; Python reads more as numbers, such as 1_000, nan and the digits of other scripts."""


class XmlElement:
    """One element of an XML file, which knows its file for messages.

    Names are local names: products put some of their elements into a namespace and some not.
    """

    def __init__(self, path: Path, element: Any) -> None:
        self.path = path
        self._element = element

    @classmethod
    def read(cls, path: Path) -> "XmlElement":
        """Parse a file.

        Raises:
            InputError: It is no XML, larger or deeper than the limits, or declares a document type or entities.
        """
        root = parse_xml(path, read_small(path, MAX_BYTES))
        _refuse_depth(path, root)
        return cls(path, root)

    @property
    def name(self) -> str:
        """The local name of the element."""
        return str(self._element.tag).rpartition("}")[2]

    def attribute(self, name: str) -> str:
        """Return an attribute, or nothing where it is absent."""
        return str(self._element.get(name, ""))

    def whole_attribute(self, name: str) -> int | None:
        """Return an attribute as a whole number, None where it is absent or anything else."""
        text = self.attribute(name)
        return int(text) if _WHOLE.fullmatch(text) else None

    def all(self, name: str) -> Iterator["XmlElement"]:
        """Give every element of a name, in the order of the file, at any depth."""
        return (XmlElement(self.path, element) for element in self._element.iterfind(f".//{{*}}{name}"))

    def first(self, name: str) -> "XmlElement | None":
        """Return the first element of a name, None where there is none."""
        return next(self.all(name), None)

    def one(self, name: str) -> "XmlElement":
        """Return the first element of a name.

        Raises:
            InputError: There is none.
        """
        if found := self.first(name):
            return found
        raise InputError(f"{named(self.path)} has no {name}; is it the metadata of another product?")

    @property
    def text(self) -> str:
        """The text of the element."""
        return (self._element.text or "").strip()

    @property
    def number(self) -> float:
        """The text as a number.

        Raises:
            InputError: It is none.
        """
        return float(self.numbers[0]) if self.numbers.size else self._refuse("a number")

    @property
    def whole(self) -> int:
        """The text as a whole number.

        Raises:
            InputError: It is none.
        """
        number = self.number
        fits = number == int(number) and abs(number) <= MAX_WHOLE
        return int(number) if fits else self._refuse("a whole number")

    @property
    def numbers(self) -> Float64[np.ndarray, " n"]:
        """The text as numbers, separated by blanks.

        Raises:
            InputError: It holds something else.
        """
        try:
            numbers = np.array((self.text if _NUMBERS.fullmatch(self.text) else "none").split(), np.float64)
        except ValueError:
            self._refuse("numbers")
        return numbers if np.isfinite(numbers).all() else self._refuse("numbers")

    @property
    def time(self) -> datetime:
        """The text as a time in UTC, with or without the letter Z.

        Raises:
            InputError: It is none.
        """
        with suppress(InputError):
            if (time := parse_utc(self.text)).year in YEARS:
                return time
        return cast("datetime", self._refuse("a time such as 2021-04-01T05:26:23.794457"))

    def _refuse(self, expected: str) -> Any:
        raise InputError(f"{named(self.path)} has {self.text[:40]!r} for {self.name}, expected {expected}")


def parse_xml(path: Path, content: bytes) -> Any:
    """Return the root of XML without document types and entities.

    Raises:
        InputError: It is no XML, or declares a document type or entities.
    """
    with decoding(path, "is not XML", "fetch the product again"):
        try:
            return fromstring(content, forbid_dtd=True)
        except DefusedXmlException as error:
            raise InputError(f"{named(path)} declares a document type or entities; no product does") from error


def _refuse_depth(path: Path, root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise InputError(f"{named(path)} nests elements more than {MAX_DEPTH} deep; no product does")
