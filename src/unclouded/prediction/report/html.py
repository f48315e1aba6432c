"""HTML that is safe by construction: text is escaped unless a function here made it."""

from html import escape


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """Return an element; content that is no :class:`Markup` is escaped, and so is every attribute.

    Args:
        name: Of the element.
        content: What it holds; elements that hold nothing, such as ``img``, are written without an end.
        attributes: ``class_`` stands for ``class``, and ``_`` elsewhere for ``-``; None leaves one out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    words = "".join(f' {key}="{shown(value)}"' for key, value in given.items())
    end = "" if name in _VOID else f"</{name}>"
    return Markup(f"<{name}{words}>{joined(*content)}{end}")


_VOID = ("img", "input", "meta", "br")


def joined(*content: object) -> Markup:
    """Return content side by side, escaped where it is no markup."""
    return Markup("".join(part if isinstance(part, Markup) else shown(part) for part in content))


def shown(text: object) -> str:
    """Escape; what cannot be printed, such as a mark that turns the direction of writing, is shown as its number."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)), quote=True)
