from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.sentinel.xml import MAX_BYTES, MAX_DEPTH, XmlElement

LAUGHS = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><lolz>&c;</lolz>"""
SECRETS = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>'


def markup(tmp_path: Path, text: str | bytes) -> XmlElement:
    path = tmp_path / "MTD.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return XmlElement.read(path)


def test_values_are_found_whatever_their_namespace(tmp_path: Path) -> None:
    root = markup(tmp_path, '<n:a xmlns:n="urn:x"><n:b unit="m">3</n:b><c><b> 4 5 </b></c></n:a>')
    assert root.name == "a" and root.one("b").whole == 3 and root.one("b").attribute("unit") == "m"
    assert [element.text for element in root.all("b")] == ["3", "4 5"]
    assert root.one("c").one("b").numbers.tolist() == [4, 5]
    assert root.first("d") is None and root.one("c").attribute("unit") == ""


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("2021-04-01T05:26:23.794457", datetime(2021, 4, 1, 5, 26, 23, 794457, UTC)),
        ("2021-04-01T05:26:23.024Z", datetime(2021, 4, 1, 5, 26, 23, 24000, UTC)),
        ("2021-04-01T07:26:23+02:00", datetime(2021, 4, 1, 5, 26, 23, tzinfo=UTC)),
        ("2021-03-28T02:30:00", datetime(2021, 3, 28, 2, 30, tzinfo=UTC)),  # does not exist on clocks in Rome
    ],
)
def test_fault_36_times_are_utc_whatever_their_zone(tmp_path: Path, text: str, seen: datetime) -> None:
    assert markup(tmp_path, f"<a><t>{text}</t></a>").one("t").time == seen


@given(st.datetimes(datetime(2014, 1, 1), datetime(2060, 1, 1)), st.integers(-12, 14))
def test_fault_36_a_time_survives_every_zone(
    tmp_path_factory: pytest.TempPathFactory, time: datetime, hours: int
) -> None:
    text = time.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=hours))).isoformat()
    folder = tmp_path_factory.getbasetemp()
    assert markup(folder, f"<a><t>{text}</t></a>").one("t").time == time.replace(tzinfo=UTC)


@pytest.mark.parametrize("bomb", [LAUGHS, SECRETS, EXTERNAL], ids=["laughs", "secrets", "external"])
def test_fault_26_document_types_and_entities_are_refused(tmp_path: Path, bomb: str) -> None:
    with pytest.raises(InputError, match=r"MTD\.xml declares a document type or entities, expected plain XML"):
        markup(tmp_path, bomb)


def test_fault_26_a_giant_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "MTD.xml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match=r"has more than 33,554,432 bytes"):
        XmlElement.read(tmp_path / "MTD.xml")


def test_fault_26_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert markup(tmp_path, "<a>" * MAX_DEPTH + "</a>" * MAX_DEPTH).name == "a"
    for depth in (MAX_DEPTH + 1, 50_000):
        with pytest.raises(InputError, match=f"more than {MAX_DEPTH} deep|is not XML"):
            markup(tmp_path, "<a>" * depth + "</a>" * depth)


@given(st.binary(max_size=60))
def test_fault_26_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    with suppress(InputError):
        assert markup(tmp_path_factory.getbasetemp(), content).name


@pytest.mark.parametrize(
    ("text", "asked", "message"),
    [
        ("three", "number", "MTD.xml has 'three' for t, expected numbers"),
        ("", "number", "has '' for t, expected a number"),
        ("nan", "number", "has 'nan' for t, expected numbers"),
        ("2.5", "whole", "has '2.5' for t, expected a whole number"),
        ("yesterday", "time", "has 'yesterday' for t, expected a time such as"),
    ],
)
def test_what_is_no_value_is_named(tmp_path: Path, text: str, asked: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        getattr(markup(tmp_path, f"<a><t>{text}</t></a>").one("t"), asked)


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"MTD.xml has no SENSING_TIME; is it the metadata of another product\?"):
        markup(tmp_path, "<a/>").one("SENSING_TIME")


def test_what_is_no_xml_is_named(tmp_path: Path) -> None:
    for content in (b"", b"<a>", b"\x00\x01", b'<?xml version="1.0" encoding="no-such"?><a/>'):
        with pytest.raises(InputError, match=r"MTD\.xml is not XML"):
            markup(tmp_path, content)


@pytest.mark.parametrize("text", ["9" * 5000, "1_000", "٣", "nan", "inf", "1e400", "0x10", "", "9" * 17])
def test_fault_25_what_python_alone_takes_for_a_number_is_none(tmp_path: Path, text: str) -> None:
    root = markup(tmp_path, f'<a><n size="{text}">{text}</n></a>')
    assert root.one("n").whole_attribute("size") is None
    with pytest.raises(InputError, match=r"for n, expected a (whole )?number|expected numbers"):
        _ = root.one("n").whole


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2261-01-01T00:00:00"])
def test_fault_36_times_at_the_ends_of_the_calendar_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="for t, expected a time such as"):
        _ = markup(tmp_path, f"<a><t>{text}</t></a>").one("t").time
