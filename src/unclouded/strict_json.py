"""JSON from untrusted sources: parsed strictly, with limits on size and depth, and errors in one line."""

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
"""Maximum nesting of objects and arrays, safe for recursive code such as pydantic, shapely and json.dumps."""
_INTEGERS = range(-(2**63), 2**64)
"""Integers that fit a signed or unsigned 64-bit type; larger ones overflow when they are converted."""
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_OTHER_THAN_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")


def read_json(path: Path, limit: int = 4 << 20, advice: str = "is it the right file?") -> Any:
    """Read a JSON file with :func:`parse_json`.

    Args:
        path: Regular file.
        limit: Maximum size, bytes.
        advice: Next step for the user, the end of the message.

    Raises:
        InputError: The file is missing, too large, or not strict JSON.
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
        InputError: See :func:`read_json`; or the file holds an array, a string, a number or a constant.
    """
    content = read_json(path, limit, advice)
    if not isinstance(content, dict):
        raise InputError(f"{named(path)} does not hold a JSON object; {advice}")
    return content


def parse_json(content: bytes | str, name: str, advice: str = "is it the right file?", *, nan: bool = False) -> Any:
    """Parse JSON from an untrusted source.

    Stricter than ``json.loads``: NaN and Infinity, numbers beyond float64 or 64-bit integers, repeated keys, nesting
    deeper than :data:`MAX_DEPTH` and invalid Unicode (lone surrogates) are errors.

    Args:
        content: JSON text.
        name: Name of the source, the beginning of the message.
        advice: Next step for the user, the end of the message.
        nan: Allow NaN and Infinity, as in logs written by Python.

    Raises:
        InputError: The text is not strict JSON.
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
    raise ValueError(f"{constant} is not a number in JSON")


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"an object has the key {twice[:40]!r} twice")
    return found


def _require_shallow(text: bytes) -> None:
    """Raise RecursionError if brackets are nested too deep; every iteration removes the innermost pairs."""
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
            raise ValueError("a text holds half of a surrogate pair, which is not valid Unicode") from None
