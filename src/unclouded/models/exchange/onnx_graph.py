"""Check of an ONNX file before an inference engine opens it: operators, nesting, and files that it refers to.

A small reader of the few fields that matter; the format is protobuf, documented in ``onnx.proto``. Weights are skipped,
not read.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from unclouded.errors import InputError
from unclouded.files import named, require_file, resolved

MAX_BYTES = (2 << 30) - 1
"""Largest file: protobuf has no larger messages."""
MAX_EXTERNAL_BYTES = 4 << 30
"""Largest sum of weights in other files."""
MAX_VALUES = 1 << 30
"""Largest number of values of one tensor."""
MAX_FIELDS = 2_000_000
MAX_NESTING = 16
STANDARD_DOMAINS = (b"", b"ai.onnx")
"""Domains of the operators of ONNX itself."""
REFUSED_OPERATORS = (b"Loop", b"Scan")
"""Operators that may run for any time; a network that restores images needs none of them."""

_Field = tuple[int, int, memoryview]
"""Number, integer value, and content of a field; the latter two are 0 and empty where they do not apply."""

# Numbers of fields in onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTIONS, _MODEL_TRAINING = 7, 25, 20
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_EXTERNAL = 1


class _DamagedError(Exception):
    """Reason for which a file is no ONNX file."""


@dataclass(frozen=True)
class OnnxFacts:
    """What an ONNX file contains.

    Attributes:
        nodes: Number of operators, those of subgraphs included.
        external: Files with weights, resolved.
    """

    nodes: int
    external: tuple[Path, ...]


def check_onnx(path: Path) -> OnnxFacts:
    """Check that an ONNX file has standard operators only and refers to no file outside its folder.

    Raises:
        InputError: The file is missing, too large or damaged, has functions, loops or operators of its own, or weights
            in a file that is missing or lies elsewhere.
    """
    require_file(path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise InputError(f"{named(path)} has {size:,} bytes, expected at most {MAX_BYTES:,}; is it the right file?")
    reader = _Reader(path)
    try:
        reader.model(memoryview(path.read_bytes()))
    except _DamagedError as error:
        raise InputError(f"{named(path)} is not a whole ONNX file ({error}); export or fetch it again") from error
    if not reader.nodes:
        raise InputError(f"{named(path)} is not an ONNX file with a graph; export or fetch it again")
    return OnnxFacts(reader.nodes, tuple(sorted(reader.external)))


class _Reader:
    """Walks through the messages of one file and counts what it sees."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, resolved(path.parent)
        self.nodes, self.fields, self.external_bytes = 0, 0, 0
        self.external: set[Path] = set()

    def model(self, message: memoryview) -> None:
        for number, _, content in self._fields(message):
            if number == _MODEL_GRAPH:
                self._graph(content, 0)
            elif number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
                self._refuse("functions or training steps of its own")

    def _graph(self, message: memoryview, depth: int) -> None:
        if depth > MAX_NESTING:
            self._refuse(f"graphs nested more than {MAX_NESTING} deep")
        for number, _, content in self._fields(message):
            if number == _GRAPH_NODE:
                self._node(content, depth)
            elif number == _GRAPH_INITIALIZER:
                self._tensor(content)
            elif number == _GRAPH_SPARSE:
                self._refuse("sparse weights")

    def _node(self, message: memoryview, depth: int) -> None:
        self.nodes += 1
        domain, operator, attributes = b"", b"", []
        for number, _, content in self._fields(message):
            if number == _NODE_OPERATOR:
                operator = bytes(content)
            elif number == _NODE_DOMAIN:
                domain = bytes(content)
            elif number == _NODE_ATTRIBUTE:
                attributes.append(content)
        if domain not in STANDARD_DOMAINS:
            self._refuse(f"the operator {_text(operator)} of {_text(domain)}")
        if operator in REFUSED_OPERATORS:
            self._refuse(f"the operator {_text(operator)}, which may run without end")
        for attribute in attributes:
            self._attribute(attribute, depth)

    def _attribute(self, message: memoryview, depth: int) -> None:
        for number, _, content in self._fields(message):
            if number in _ATTRIBUTE_TENSORS:
                self._tensor(content)
            elif number in _ATTRIBUTE_GRAPHS:
                self._graph(content, depth + 1)
            elif number in _ATTRIBUTE_SPARSE:
                self._refuse("sparse weights")

    def _tensor(self, message: memoryview) -> None:
        dims: list[int] = []
        location, entries = 0, dict[bytes, bytes]()
        for number, value, content in self._fields(message):
            if number == _TENSOR_DIMS:
                dims += _integers(content) if len(content) else [value]
            elif number == _TENSOR_LOCATION:
                location = value
            elif number == _TENSOR_EXTERNAL:
                pair = {one: bytes(text) for one, _, text in self._fields(content)}
                entries[pair.get(_ENTRY_KEY, b"")] = pair.get(_ENTRY_VALUE, b"")
        if math.prod(dims) > MAX_VALUES:
            self._refuse(f"a tensor of more than {MAX_VALUES:,} values")
        if location == _EXTERNAL or entries:
            self._external(entries)

    def _external(self, entries: dict[bytes, bytes]) -> None:
        text = entries.get(b"location", b"").decode("utf-8", errors="replace")
        parts = PurePosixPath(text).parts
        if not parts or ".." in parts or PurePosixPath(text).is_absolute() or PureWindowsPath(text).anchor:
            self._refuse(f"weights in {text[:80]!r}, outside its folder")
        if "\\" in text or not text.isprintable():
            self._refuse(f"weights in {text[:80]!r}, which is no plain name of a file")
        place = resolved(self.path.parent / text)
        if not place.is_relative_to(self.folder):
            self._refuse(f"weights in {text[:80]!r}, a link out of its folder")
        require_file(place)
        offset, length = (_count(entries.get(key, b"0")) for key in (b"offset", b"length"))
        size = place.stat().st_size
        if offset + length > size:
            raise _DamagedError(f"{text[:80]!r} has {size:,} bytes, expected {offset + length:,}")
        self.external_bytes += length or size
        if self.external_bytes > MAX_EXTERNAL_BYTES:
            self._refuse(f"weights of more than {MAX_EXTERNAL_BYTES:,} bytes")
        self.external.add(place)

    def _fields(self, message: memoryview) -> Iterator[_Field]:
        """Yield the fields of a message."""
        at, end = 0, len(message)
        while at < end:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                self._refuse(f"more than {MAX_FIELDS:,} fields")
            key, at = _varint(message, at)
            number, wire = key >> 3, key & 7
            if number == 0:
                raise _DamagedError("field 0")
            value, size = 0, 0
            if wire == 0:
                value, at = _varint(message, at)
            elif wire == 2:
                size, at = _varint(message, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise _DamagedError(f"wire type {wire}")
            if at + size > end:
                raise _DamagedError("it ends too early")
            yield number, value, message[at : at + size]
            at += size

    def _refuse(self, found: str) -> None:
        raise InputError(f"{named(self.path)} has {found}; expected a plain network, export it again")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return an integer and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise _DamagedError("it ends too early")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise _DamagedError("an integer of more than 10 bytes")


def _integers(content: memoryview) -> list[int]:
    """Return packed integers."""
    at, found = 0, []
    while at < len(content):
        value, at = _varint(content, at)
        found.append(value)
        if len(found) > 64:
            raise _DamagedError("a tensor of more than 64 dimensions")
    return found


def _count(text: bytes) -> int:
    if not text.isdigit() or len(text) > 15:
        raise _DamagedError(f"{text[:20]!r} as a number of bytes")
    return int(text)


def _text(name: bytes) -> str:
    return repr(name[:40].decode("utf-8", errors="replace"))
