"""Settings: TOML files read into frozen pydantic models, with overrides, and all mistakes in one message."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from unclouded.errors import InputError
from unclouded.files import decoding, named, read_small
from unclouded.formats import format_of


class Settings(BaseModel):
    """Base class of all settings: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)

MAX_BYTES = 64 << 10
"""Default maximum size of a settings file."""
MAX_DEPTH = 16
"""Maximum nesting of settings."""
MAX_MISTAKES = 20
"""Maximum number of mistakes listed in one message."""

_BOTTOMLESS_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{MAX_DEPTH}}}""")
"""A dotted key with too many parts; tomllib takes a minute to parse one of 64 KiB."""


def load_settings(model: type[S], path: Path, overrides: Iterable[str] = (), max_bytes: int = MAX_BYTES) -> S:
    """Read settings from a TOML file.

    Args:
        model: Settings class.
        path: TOML file.
        overrides: Assignments that replace values of the file, such as ``loss.cycle=5.0``.
        max_bytes: Maximum size of the file.

    Raises:
        InputError: The file is not TOML, or settings are missing, unknown or out of range; the message lists all.
    """
    return settings_from(model, read_toml(path, max_bytes), overrides, origin=path.name)


def read_toml(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises:
        InputError: The file is not TOML, too large, or nested too deep.
    """
    content = read_small(path, max_bytes)
    if _BOTTOMLESS_KEY.search(content.decode("utf-8", errors="replace")):
        raise InputError(f"{named(path)} has a key of more than {MAX_DEPTH} parts; expected a few groups")
    found = format_of(path)
    clause = found.clause if found and found.name != "a text file" else ""
    with decoding(path, f"is not TOML{clause}", "correct it"):
        return tomllib.loads(content.decode("utf-8"))


def settings_from(
    model: type[S],
    content: Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    origin: str = "settings",
    options: Mapping[str, str] | None = None,
) -> S:
    """Fill a settings model from a mapping; see :func:`load_settings`.

    Args:
        model: Settings class.
        content: Values by key.
        overrides: Assignments that replace values of the mapping.
        origin: Name of the source in messages; empty if all values come from the command line.
        options: Keys such as ``clouds.mode`` whose values come from the command line, to the names of their options,
            which replace key and origin in messages.

    Raises:
        InputError: Settings are missing, unknown or out of range; the message lists all.
    """
    place = origin or "the command line"
    merged = _copied(content, place)
    for override in overrides:
        _assign(merged, override)
    try:
        return model.model_validate(_copied(merged, place))
    except ValidationError as error:
        mistakes = _without_echoes(error.errors(include_url=False))
        of_options: list[str] = []
        of_origin: list[str] = []
        for mistake in mistakes[:MAX_MISTAKES]:
            names = _option_names(mistake, options or {})
            sentences = of_options if names else of_origin
            sentences.append(_one_line(_sentence(mistake, model, names)))
        if of_origin and origin:
            of_origin[0] = f"{origin} is not a valid {model.__name__}: {of_origin[0]}"
        more = [f"and {len(mistakes) - MAX_MISTAKES} more"] if len(mistakes) > MAX_MISTAKES else []
        raise InputError("; ".join([*of_options, *of_origin, *more])) from error


def settings_from_options(model: type[S], values: Mapping[str, tuple[str, Any]], path: Path | None = None) -> S:
    """Settings from options of the command line, over those of a file.

    Args:
        model: Settings class.
        values: Key such as ``clouds.mode`` to the name and the value of its option; None for one that was not given.
        path: TOML file of the settings, if any.

    Raises:
        InputError: The file is not TOML, or settings are unknown or out of range; the message names the options.
    """
    content = read_toml(path) if path else {}
    present = {key: (name, value) for key, (name, value) in values.items() if value is not None}
    for key, (_, value) in present.items():
        *groups, last = key.split(".")
        inner = content
        for group in groups:
            if not isinstance(inner.get(group), dict):
                inner[group] = {}
            inner = inner[group]
        inner[last] = value
    names = {key: name for key, (name, _) in present.items()}
    return settings_from(model, content, origin=path.name if path else "", options=names)


def flat(content: Mapping[Any, Any], separator: str = ".") -> dict[str, Any]:
    """Return nested mappings as one mapping with joined keys, such as ``{"loss.cycle": 5.0}``."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= {f"{key}{separator}{inner}": one for inner, one in flat(value, separator).items()}
        else:
            found[str(key)] = value
    return found


def _without_echoes(mistakes: list[ErrorDetails]) -> list[ErrorDetails]:
    """Drop the mistake that a list is too short if its entries have mistakes themselves."""
    within = {one["loc"][:depth] for one in mistakes for depth in range(len(one["loc"]))}
    return [one for one in mistakes if one["type"] != "too_short" or one["loc"] not in within]


def _copied(content: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return a mutable copy that contains only values that settings may have."""
    return {key: _plain(value, f"{origin}: {key[:80]}") for key, value in content.items()}


def _plain(value: Any, place: str, depth: int = 2) -> Any:
    """Refuse values that no setting needs and that break libraries: deep nesting, huge integers, zero bytes."""
    if depth > MAX_DEPTH and isinstance(value, Mapping | list | tuple):
        raise InputError(f"{place} nests settings more than {MAX_DEPTH} deep; expected a few groups")
    if isinstance(value, Mapping):
        return {key: _plain(inner, place, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, place, depth + 1) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(f"{place} is an integer of more than 64 bits; expected a smaller one")
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{place} holds a zero byte; expected text, or the path of a file")
    return value


def _assign(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *groups, last = (part.strip() for part in key.split("."))
    if not equals or not last or not all(groups) or len(groups) >= MAX_DEPTH:
        raise InputError(f"--set expects key=value, such as loss.cycle=5.0, found {override[:80]!r}")
    for group in groups:
        content = content.setdefault(group, {})
        if not isinstance(content, dict):
            raise InputError(f"--set {override[:80]}: {group} is a single value, not a group of settings")
    content[last] = _value(text)


def _value(text: str) -> Any:
    """Return a TOML value, or the text itself if it is not TOML, so that words need no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()


def _option_names(mistake: ErrorDetails, options: Mapping[str, str]) -> str:
    """Return the options that set the key of a mistake, or keys of its group; empty for a key of a file."""
    key = ".".join(str(part) for part in mistake["loc"])
    return ", ".join(name for path, name in options.items() if path == key or (key and path.startswith(f"{key}.")))


def _sentence(mistake: ErrorDetails, model: type[BaseModel], label: str = "") -> str:
    key = label or ".".join(str(part) for part in mistake["loc"])
    match mistake["type"]:
        case "extra_forbidden":
            return f"{key} is not a key{_hint(str(mistake['loc'][-1]), _keys(model, mistake['loc'][:-1]))}"
        case "missing":
            return f"{key} is missing"
        case "value_error":
            reason = str(mistake.get("ctx", {}).get("error", mistake["msg"]))
            return f"{key}: {reason}" if key else reason
        case _:
            return f"{key}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}, found {_shown(mistake['input'])}"


def _hint(key: str, known: list[str]) -> str:
    """Return a short hint, because a file may have many unknown keys: the nearest key, or all if none is near."""
    hint = nearest(key, sorted(known))
    return hint.partition("? ")[0] + "?" if "? " in hint else hint


def nearest(key: str, known: Sequence[str]) -> str:
    """Return a hint that follows an unknown word in a message: the nearest known word, and all known words."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    every = f"known are {', '.join(known)}" if known else ""
    return f"; did you mean {near[0]!r}? {every}" if near else f"; {every}" if every else ""


def _keys(model: type[BaseModel], groups: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the settings class at a path of groups; positions in lists are skipped."""
    for group in groups:
        if field := model.model_fields.get(str(group)):
            model = next(_models(field.annotation), model)
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer too long for repr
        return f"a very large {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}..."


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
