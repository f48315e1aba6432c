"""Removers of other packages: ``package.module:attribute``, and names of the entry point group ``unclouded.removers``.

Code of a plug-in runs only if its reference or name was given. Each process that needs the remover loads it itself.
"""

import inspect
import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unclouded.errors import InputError
from unclouded.settings import nearest

GROUP = "unclouded.removers"
"""Group of entry points in which other packages register removers."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(text: str) -> bool:
    """Return whether a text has the form ``package.module:attribute``."""
    return _REFERENCE.fullmatch(text) is not None


def registered() -> dict[str, EntryPoint]:
    """Return the removers that installed packages register, by name; nothing of them is imported."""
    return {one.name: one for one in entry_points(group=GROUP)}


def require_module(reference: str) -> None:
    """Check that the package of a reference is installed or lies in the working folder; nothing is imported.

    Raises:
        InputError: There is no such package.
    """
    package = reference.partition(":")[0].partition(".")[0]
    _search_working_folder(package)
    if find_spec(package) is None:
        raise InputError(
            f"{reference[:120]!r} names the module {package!r}, which is neither installed nor in the working folder;"
            " install it with pip"
        )


def load_object(reference: str) -> Any:
    """Import a module and return its attribute.

    Raises:
        InputError: The module cannot be imported or lacks the attribute; the message gives the cause.
    """
    module, _, attribute = reference.partition(":")
    require_module(reference)
    try:
        found: Any = import_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{module!r} cannot be imported ({_cause(error)}); correct it or install what it needs") from (
            error
        )
    for name in attribute.split("."):
        if not hasattr(found, name):
            near = nearest(name, [one for one in vars(found) if not one.startswith("_")])
            raise InputError(f"{module!r} has no attribute {attribute!r}{near}; name the remover in it")
        found = getattr(found, name)
    return found


def load_plugin(reference: str, **options: Any) -> Any:
    """Return the remover of a reference: the object itself, or what the class or function of that name returns.

    Args:
        reference: ``package.module:attribute``.
        options: Arguments for a class or function, such as ``bands`` and ``device``. Those that it has no parameter
            for, and those that are None, are left out.

    Raises:
        InputError: It cannot be imported or called, or is no remover.
    """
    found = load_object(reference)
    if inspect.isclass(found) or not _is_remover(found):
        found = _made(found, reference, options)
    if not _is_remover(found):
        raise InputError(
            f"{reference} is a {type(found).__name__}, expected a cloud remover: an object with name and bands that is"
            " called with an observation, or a class or function that returns one"
        )
    return found


def call_plugin(reference: str, **options: Any) -> Any:
    """Return what the class or function of a reference returns.

    Args:
        reference: ``package.module:attribute``.
        options: As for :func:`load_plugin`.

    Raises:
        InputError: It cannot be imported or called.
    """
    found = load_object(reference)
    if not callable(found):
        raise InputError(f"{reference} is a {type(found).__name__}, expected a class or function; name one")
    return _made(found, reference, options)


def call_with_known(made: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Call a class or function with those of the options that it has parameters for and that are not None."""
    try:
        parameters = inspect.signature(made).parameters.values()
    except ValueError:  # a class of an extension module has no signature
        return made()
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    return made(**{key: value for key, value in options.items() if value is not None and (takes_all or key in named)})


def _made(found: Any, reference: str, options: dict[str, Any]) -> Any:
    if not callable(found):
        return found
    try:
        return call_with_known(found, options)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{reference} cannot be called ({_cause(error)}); it may take {' and '.join(options)}, and nothing else"
            " without a default"
        ) from error


def _is_remover(found: Any) -> bool:
    return callable(found) and isinstance(getattr(found, "name", None), str) and hasattr(found, "bands")


def _search_working_folder(package: str) -> None:
    """Add the working folder to the end of the search path if a module is only there, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path and find_spec(package) is None:
        sys.path.append(here)


def _cause(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}".removesuffix(": ")
