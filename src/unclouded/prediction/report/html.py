"""HTML builder that escapes all text except the markup that it created itself."""

from html import escape


class Markup(str):
    """Text that is already markup."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """Return an element; attributes, and content that is not :class:`Markup`, are escaped.

    Args:
        name: Name of the element.
        content: Children; void elements such as ``img`` have no end tag.
        attributes: Attributes; ``class_`` stands for ``class`` and other ``_`` for ``-``; None omits an attribute.
    """
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    words = "".join(f' {key}="{shown(value)}"' for key, value in named.items())
    end = "" if name in _VOID else f"</{name}>"
    return Markup(f"<{name}{words}>{joined(*content)}{end}")


_VOID = ("img", "input", "meta", "br")


def joined(*content: object) -> Markup:
    """Return the content concatenated; parts that are not :class:`Markup` are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else shown(part) for part in content))


def shown(text: object) -> str:
    """Return text escaped for HTML; non-printable characters, such as direction marks, as their codes."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)), quote=True)
