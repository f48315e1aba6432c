"""Times at the ends of the calendar, leap seconds and zones."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.dates import parse_utc
from unclouded.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2018-07-11T10:20:21Z", "2018-07-11T10:20:21"),
        ("2018-07-11T10:20:21.5", "2018-07-11T10:20:21.500000"),
        ("20180711T102021", "2018-07-11T10:20:21"),
        ("2018-07-11T00:20:21+02:00", "2018-07-10T22:20:21"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
        ("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00.500000"),
        ("20161231T235960", "2017-01-01T00:00:00"),
        ("2017-01-01T08:59:60+09:00", "2017-01-01T00:00:00"),
        ("2018-06-30T24:00:00Z", "2018-07-01T00:00:00"),
        ("2018-06-30T24:00", "2018-07-01T00:00:00"),
        ("0001-01-01", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999"),
        ("9999-12-31T23:59:59+14:00", "9999-12-31T09:59:59"),
    ],
)
def test_times_are_read_in_utc(text: str, expected: str) -> None:
    assert parse_utc(text) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T24:00:00Z",
        "9999-12-31T23:59:60Z",
        "0000-01-01",
        "10000-01-01",
        "2018-02-30",
        "2018-07-11T25:00:00Z",
        "2018-07-11T24:00:01Z",
        "2018-07-11T10:20:61Z",
        "2018-07-11T10:20:21+99:00",
        "yesterday",
        "",
        "2018-07-11\n10",
        "\u0662018-07-11",
        "9" * 5000,
        None,
        20180711,
        ["2018-07-11"],
    ],
)
def test_an_invalid_time_is_refused_in_one_line(text: Any) -> None:
    with pytest.raises(InputError, match="expected a time such as 2018-07-11T10:20:21Z, found ") as error:
        parse_utc(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@given(st.datetimes(), st.integers(-23 * 60, 23 * 60))
def test_every_time_in_every_zone_is_read_or_lies_beyond_the_calendar(when: datetime, minutes: int) -> None:
    sign, rest = ("-" if minutes < 0 else "+"), abs(minutes)
    text = f"{when.isoformat()}{sign}{rest // 60:02d}:{rest % 60:02d}"
    with suppress(InputError, OverflowError):
        assert parse_utc(text) == (when - timedelta(minutes=minutes)).replace(tzinfo=UTC)


@given(st.text("0123456789-:TZ+., W٣", max_size=30))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(InputError):
        assert parse_utc(text).tzinfo is UTC
