"""Timestamps from untrusted sources, parsed to UTC: any time zone, leap seconds, and midnight as 24:00."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from unclouded.errors import InputError

_CLOCK = re.compile(r"(?P<day>.{8,10}[T ])(?P<hour>[0-9]{2})(?P<colon>:?)(?P<minute>[0-9]{2})(?P<rest>.*)", re.ASCII)
_LEAP = re.compile(r"(?P<colon>:?)60(?P<fraction>[.,][0-9]+)?(?P<zone>.*)", re.ASCII)


def parse_utc(text: Any) -> datetime:
    """Return the UTC time of an ISO 8601 text; a time without a zone is read as UTC.

    A leap second becomes the first second after it, and 24:00 the midnight at the end of the day.

    Args:
        text: Any value.

    Raises:
        InputError: The value is not a time, or lies outside the years 1 to 9999 in UTC.
    """
    try:
        if not isinstance(text, str) or len(text) > 64 or not text.isprintable():
            raise ValueError
        regular, more = _regular(text.strip())
        when = datetime.fromisoformat(regular)
        return (when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)) + more
    except (ValueError, OverflowError) as error:
        shown = str(text)[:40] if isinstance(text, str | int | float) else type(text).__name__
        shown = shown if shown.isprintable() else ascii(shown)
        raise InputError(f"expected a time such as 2018-07-11T10:20:21Z, found {shown!r}") from error


def _regular(text: str) -> tuple[str, timedelta]:
    """Return a time that Python can parse, and the difference to add to it."""
    if not (clock := _CLOCK.fullmatch(text)):
        return text, timedelta()
    if clock["hour"] == "24" and re.fullmatch(r"[0:.,]*(?:Z|[+-].*)?", clock["minute"] + clock["rest"]):
        return f"{clock['day']}00{clock['colon']}{clock['minute']}{clock['rest']}", timedelta(days=1)
    if leap := _LEAP.fullmatch(clock["rest"]):
        start = f"{clock['day']}{clock['hour']}{clock['colon']}{clock['minute']}{leap['colon']}59"
        return start + (leap["fraction"] or "") + leap["zone"], timedelta(seconds=1)
    return text, timedelta()
