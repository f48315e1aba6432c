"""TOML to frozen pydantic models, with overrides and with every mistake in one message."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from unclouded.errors import InputError
from unclouded.files import read_small


class Settings(BaseModel):
    """Base of every settings model: frozen, and no key passes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def load_settings(model: type[S], path: Path, overrides: Iterable[str] = ()) -> S:
    """Read settings from a TOML file.

    Args:
        model: The settings to fill.
        path: TOML file, at most 1 MiB.
        overrides: Assignments that win over the file, such as ``loss.cycle=5.0``.

    Raises:
        InputError: The file is no TOML, or settings are missing, unknown or out of range; all are named at once.
    """
    try:
        content = tomllib.loads(read_small(path, 1 << 20).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    return settings_from(model, content, overrides, origin=path.name)


def settings_from(
    model: type[S], content: Mapping[str, Any], overrides: Iterable[str] = (), *, origin: str = "settings"
) -> S:
    """Fill a settings model from a mapping; see :func:`load_settings`."""
    merged = _copied(content)
    for override in overrides:
        _assign(merged, override)
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        mistakes = "; ".join(_sentence(mistake, model) for mistake in error.errors())
        raise InputError(f"{origin} is not a valid {model.__name__}: {mistakes}") from error


def _copied(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in content.items()}


def _assign(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set expects key=value, such as loss.cycle=5.0, found {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *groups, last = key.strip().split(".")
    for group in groups:
        content = content.setdefault(group, {})
        if not isinstance(content, dict):
            raise InputError(f"--set {override}: {group} is a single value, not a group of settings")
    content[last] = value


def _sentence(mistake: ErrorDetails, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in mistake["loc"])
    match mistake["type"]:
        case "extra_forbidden":
            known = _keys(model, [str(part) for part in mistake["loc"][:-1]])
            near = difflib.get_close_matches(str(mistake["loc"][-1]), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            return f"{key} is not a key; {hint}"
        case "missing":
            return f"{key} is missing"
        case "value_error":
            reason = str(mistake.get("ctx", {}).get("error", mistake["msg"]))
            return f"{key}: {reason}" if key else reason
        case _:
            return f"{key}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}, found {mistake['input']!r}"


def _keys(model: type[BaseModel], groups: list[str]) -> list[str]:
    for group in groups:
        annotation = model.model_fields[group].annotation if group in model.model_fields else None
        inner = [
            a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)
        ]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)
