"""Settings that ship with the package, by name, and settings files that start from one: ``preset = "paper"``."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.files import is_file, named
from unclouded.settings import read_toml
from unclouded.training.keys import with_present_names

FOLDER: Traversable = files("unclouded.training") / "presets"
KEY = "preset"


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets."""
    return tuple(sorted(one.name.removesuffix(".toml") for one in FOLDER.iterdir() if one.name.endswith(".toml")))


def described(name: str) -> str:
    """Return what a preset is for: the first line of its file."""
    return _text(name).splitlines()[0].removeprefix("# ")


def read_source(source: Path | str) -> tuple[dict[str, Any], str]:
    """Return the content of a settings file, or of a preset, laid over the presets it starts from, and its name.

    Args:
        source: TOML file, or the name of a preset.

    Raises:
        InputError: Neither file nor preset, or no TOML.
    """
    path = Path(source)
    if str(source) in preset_names() and not is_file(path):
        return _complete(_content(str(source))), str(source)
    if not is_file(path) and not path.suffix:
        raise InputError(f"{named(path)} is neither a file nor a preset; presets are {', '.join(preset_names())}")
    return _complete(with_present_names(read_toml(path))), path.name


def _complete(content: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over those of the preset they start from, and so on."""
    own = {key: value for key, value in content.items() if key != KEY}
    if KEY not in content:
        return own
    if (name := content[KEY]) not in preset_names():
        raise InputError(f"{KEY} = {name!r} is none; presets are {', '.join(preset_names())}")
    return _laid_over(_complete(_content(name)), own)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: value for key, value in above.items() if key in below}
    groups = {
        key: _laid_over(below[key], value)
        for key, value in both.items()
        if isinstance(value, Mapping) and isinstance(below[key], Mapping)
    }
    return {**below, **above, **groups}


def _content(name: str) -> dict[str, Any]:
    return tomllib.loads(_text(name))


def _text(name: str) -> str:
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
