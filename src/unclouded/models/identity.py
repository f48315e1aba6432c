"""Identity of a remover as JSON values, by which finished scenes are found again.

It must be the same in every process, so it contains settings, names and hashes, and no ``repr``, which may contain a
memory address.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from unclouded.models.remover import CloudRemover

MAX_DEPTH = 8
"""Nesting down to which attributes are followed; an object may contain itself."""


@runtime_checkable
class DescribedRemover(CloudRemover, Protocol):
    """A remover with a description of its own, for what :func:`describe_remover` cannot find in its attributes."""

    def description(self) -> Mapping[str, Any]:
        """Return everything that the results depend on besides name and bands, as JSON values."""
        ...


def describe_remover(remover: CloudRemover) -> dict[str, Any]:
    """Return the identity of a remover: the same in every process, and another one for other settings.

    It consists of name and bands and, for a :class:`DescribedRemover`, its description. Other removers are described by
    their class and attributes: settings by their values, arrays and tables by their SHA-256, functions by name, source
    and closure, other objects by class and attributes again. Attributes of compiled classes are not seen: a remover
    that holds a session of another inference library should have a description.
    """
    own = remover.description() if isinstance(remover, DescribedRemover) else _attributes(remover, 0)
    return {"name": remover.name, "bands": list(remover.bands), **own}


def hash_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names and values of tensors, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_of_json(value: object) -> str:
    """Return the SHA-256 of JSON values, such as a table of constants; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _described(value: object, depth: int) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case PurePath():
            return str(value)
        case BaseModel():
            return value.model_dump(mode="json")
        case Tensor():
            return hash_of_tensors({f"{value.dtype} {tuple(value.shape)}": value})
        case np.ndarray():
            return _described(torch.from_numpy(value), depth)
        case nn.Module():
            return {"is": _name(type(value)), "weights": hash_of_tensors(value.state_dict())}
        case Mapping():
            return hash_of_json({str(key): _described(one, depth + 1) for key, one in value.items()})
        case list() | tuple():
            return [_described(one, depth + 1) for one in value]
        case DescribedRemover():
            return describe_remover(value)
    return _attributes(value, depth)


def _attributes(value: Any, depth: int) -> dict[str, Any]:
    """Return name, source and closure of a function; class, source and attributes of any other object."""
    is_function = inspect.isroutine(value)
    definition = value if is_function else type(value)
    found = {"is": _name(definition), **_source(definition)}
    if depth == MAX_DEPTH:
        return found
    if is_function:
        cells = getattr(value, "__closure__", None) or ()
        return found | ({"closure": [_described(one.cell_contents, depth + 1) for one in cells]} if cells else {})
    return found | {name: _described(getattr(value, name), depth + 1) for name in _attribute_names(value)}


def _attribute_names(value: object) -> Iterable[str]:
    return [one.name for one in fields(value)] if is_dataclass(value) else getattr(value, "__dict__", ())


def _name(definition: Any) -> str:
    return f"{definition.__module__}.{definition.__qualname__}"


def _source(definition: Any) -> dict[str, str]:
    """Return the SHA-256 of the source of a class or function outside this package; empty if it is not at hand."""
    if str(definition.__module__).startswith("unclouded."):  # the version of unclouded stands for it
        return {}
    try:
        return {"source": hashlib.sha256(inspect.getsource(definition).encode()).hexdigest()}
    except (OSError, TypeError):
        return {}
