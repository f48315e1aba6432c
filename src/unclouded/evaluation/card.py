"""What a number is a number of: a card lies beside every result, and results with different cards do not compare."""

import json
from collections.abc import Mapping
from typing import Any

from unclouded.errors import InputError

Card = Mapping[str, Any]
"""Names to JSON values: everything that decides about a number but the images themselves."""


def differences(first: Card, second: Card) -> list[str]:
    """Return where two cards differ, one sentence an entry, in the order of their names."""
    return [
        f"{key} is {_shown(first, second, key)} in one and {_shown(second, first, key)} in the other"
        for key in sorted({*first, *second})
        if first.get(key) != second.get(key) or (key in first) != (key in second)
    ]


def require_same(cards: Mapping[str, Card]) -> None:
    """Refuse results that do not compare.

    Args:
        cards: Name of a result to its card.

    Raises:
        InputError: Two cards differ; names the results and the first difference.
    """
    (first, reference), *others = cards.items() if cards else [("", {})]
    for name, card in others:
        if found := differences(reference, card):
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            raise InputError(f"{first} and {name} do not compare: {found[0]}{more}; evaluate both in the same way")


def _narrowed(value: Any, other: Any) -> Any:
    """Return a value that differs from another one; of two mappings only the entries that differ."""
    if not (isinstance(value, Mapping) and isinstance(other, Mapping)):
        return value
    return {key: _narrowed(one, other.get(key)) for key, one in value.items() if key not in other or one != other[key]}


def _shown(card: Card, other: Card, key: str) -> str:
    text = json.dumps(_narrowed(card[key], other.get(key)), ensure_ascii=False) if key in card else "absent"
    return text if len(text) <= 120 else f"{text[:120]}..."
