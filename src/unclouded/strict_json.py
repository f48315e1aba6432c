"""JSON from outside: parsed within limits of size and depth, and refused in one line where it is no strict JSON."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import named, read_small
from unclouded.formats import format_of

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays; recursive consumers such as pydantic, shapely and json.dumps bear this."""
_INTEGERS = range(-(2**63), 2**64)
"""Integers that fit a 64-bit type, signed or not; larger ones overflow wherever they are converted."""
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_OTHER_THAN_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")


def read_json(path: Path, limit: int = 4 << 20, advice: str = "is it the right file?") -> Any:
    """Read a JSON file with :func:`parse_json`.

    Args:
        path: Regular file.
        limit: Largest size in bytes.
        advice: What the user should do if the file is no JSON; the end of the message.

    Raises:
        InputError: There is no such file, it is too large, or it is no strict JSON.
    """
    content = read_small(path, limit)
    try:
        return parse_json(content, named(path), advice)
    except InputError as error:
        if (found := format_of(path)) and found.name not in ("a JSON file", "a text file", "an empty file"):
            raise InputError(f"{named(path)} is {found.name}, not JSON; {advice}") from error
        raise


def read_json_object(path: Path, limit: int = 4 << 20, advice: str = "is it the right file?") -> dict[str, Any]:
    """Read a JSON file that holds an object; see :func:`read_json`.

    Raises:
        InputError: As :func:`read_json`, or the file holds an array, a string, a number or a constant.
    """
    content = read_json(path, limit, advice)
    if not isinstance(content, dict):
        raise InputError(f"{named(path)} holds no JSON object; {advice}")
    return content


def parse_json(content: bytes | str, name: str, advice: str = "is it the right file?", *, nan: bool = False) -> Any:
    """Parse JSON that somebody else may have written.

    Stricter than ``json.loads``: refused are NaN and Infinity, numbers beyond float64 or 64 bits, a key that an object
    has twice, nesting deeper than :data:`MAX_DEPTH`, and text that is no Unicode (lone surrogates).

    Args:
        content: The text.
        name: Name of its origin, the beginning of the message.
        advice: What the user should do; the end of the message.
        nan: Whether NaN and Infinity are allowed, as in logs that Python wrote.

    Raises:
        InputError: It is no strict JSON.
    """
    try:
        parsed = json.loads(
            content,
            parse_int=_integer,
            parse_float=float if nan else _finite,
            parse_constant=float if nan else _refuse_constant,
            object_pairs_hook=_object,
        )
        text = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        if b"\0" in text[:4]:  # UTF-16 or UTF-32, which json.loads detects
            text = json.dumps(parsed).encode()
        _require_shallow(text)
        _require_unicode(text, parsed)
    except RecursionError:
        raise InputError(f"{name} is not JSON (nested deeper than {MAX_DEPTH} levels); {advice}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        reason = (reason if reason.isprintable() else ascii(reason))[:120]
        raise InputError(f"{name} is not JSON ({reason}); {advice}") from error
    return parsed


def _integer(digits: str) -> int:
    if len(digits) > 20 or (number := int(digits)) not in _INTEGERS:
        raise ValueError(f"the integer {digits[:20]}... has {len(digits):,} digits, expected one of 64 bits")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no number in JSON")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"an object has the key {twice[:40]!r} twice")
    return found


def _require_shallow(text: bytes) -> None:
    """Raise RecursionError where brackets are nested too deep; every round removes the innermost pairs."""
    brackets = _STRING.sub(b"", text).translate(_AS_SQUARE, _OTHER_THAN_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    raise RecursionError


def _require_unicode(text: bytes, parsed: Any) -> None:
    if _SURROGATE.search(text):
        try:
            json.dumps(parsed, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a surrogate pair, which is no Unicode") from None
