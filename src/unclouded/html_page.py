"""Self-contained HTML pages from the templates of the package, with one look and one content security policy.

All text is escaped by Jinja2. A page makes no request: pictures are data URLs, and style and script are inline; the
policy in its head allows only these two, by their hashes.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from unclouded import __version__


def render_page(template: str, *, script: str | None = None, **values: object) -> str:
    """Return a page as HTML.

    Args:
        template: Name of a template in ``unclouded/templates`` that extends ``base.html``.
        script: Name of a script in the same folder; None for a page without one.
        values: Values of the template; ``title`` is required by ``base.html``.

    Raises:
        jinja2.UndefinedError: The template uses a value that is not given.
    """
    style, code = _text_of("style.css"), _text_of(script) if script else ""
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(code) if script else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    written = "; ".join(f"{kind} {source}" for kind, source in policy.items())
    page = _environment().get_template(template)
    return page.render(values, style=style, script=code, policy=written, version=__version__)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("unclouded"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def printable(value: object) -> object:
    """Return a value as text with the codes of its non-printable characters, such as marks of writing direction.

    Markup is returned unchanged.
    """
    if hasattr(value, "__html__"):
        return value
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@cache
def _text_of(name: str) -> str:
    return (files("unclouded") / "templates" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
