"""The XML of products: small, without document types, entities or surprises; a value is found or it is named."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from jaxtyping import Float64

from unclouded.errors import InputError
from unclouded.files import named, read_small

MAX_BYTES = 32 << 20
"""Largest XML file; the annotations of Sentinel-1 have 2 MB, the metadata of Sentinel-2 less than 1 MB."""
MAX_DEPTH = 64
"""Deepest nesting; the manifests of products reach 25."""


class Markup:
    """One element of an XML file, which knows its file for messages.

    Names are local names: products put some of their elements into a namespace and some not.
    """

    def __init__(self, path: Path, element: Any) -> None:
        self.path = path
        self._element = element

    @classmethod
    def read(cls, path: Path) -> "Markup":
        """Parse a file.

        Raises:
            InputError: It is no XML, larger or deeper than the limits, or declares a document type or entities.
        """
        content = read_small(path, MAX_BYTES)
        try:
            root = fromstring(content, forbid_dtd=True)
        except DefusedXmlException as error:
            raise InputError(f"{named(path)} declares a document type or entities; no product does") from error
        except (ParseError, ValueError, LookupError, RecursionError) as error:  # the last three: its encoding
            raise InputError(f"{named(path)} is not XML ({str(error)[:80]}); fetch the product again") from error
        _refuse_depth(path, root)
        return cls(path, root)

    @property
    def name(self) -> str:
        """The local name of the element."""
        return str(self._element.tag).rpartition("}")[2]

    def attribute(self, name: str) -> str:
        """Return an attribute, or nothing where it is absent."""
        return str(self._element.get(name, ""))

    def all(self, name: str) -> Iterator["Markup"]:
        """Give every element of a name, in the order of the file, at any depth."""
        return (Markup(self.path, element) for element in self._element.iterfind(f".//{{*}}{name}"))

    def first(self, name: str) -> "Markup | None":
        """Return the first element of a name, None where there is none."""
        return next(self.all(name), None)

    def one(self, name: str) -> "Markup":
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
        return int(number) if number == int(number) else self._refuse("a whole number")

    @property
    def numbers(self) -> Float64[np.ndarray, " n"]:
        """The text as numbers, separated by blanks.

        Raises:
            InputError: It holds something else.
        """
        try:
            numbers = np.array(self.text.split(), np.float64)
        except ValueError:
            self._refuse("numbers")
        return numbers if np.isfinite(numbers).all() else self._refuse("numbers")

    @property
    def time(self) -> datetime:
        """The text as a time in UTC, with or without the letter Z.

        Raises:
            InputError: It is none.
        """
        try:
            time = datetime.fromisoformat(self.text)
        except ValueError:
            self._refuse("a time such as 2021-04-01T05:26:23.794457")
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)

    def _refuse(self, expected: str) -> Any:
        raise InputError(f"{named(self.path)} has {self.text[:40]!r} for {self.name}, expected {expected}")


def _refuse_depth(path: Path, root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise InputError(f"{named(path)} nests elements more than {MAX_DEPTH} deep; no product does")
