"""JSON from outside is parsed within limits, or refused in one line."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unclouded.errors import InputError
from unclouded.strict_json import MAX_DEPTH, parse_json, read_json, read_json_object

REFUSED = {
    "": "Expecting value",
    "{'a': 1}": "double quotes",
    "[1e999]": "the number 1e999 is too large",
    "[" + "9" * 400 + ".0]": "is too large",
    "[" + "1" * 5000 + "]": "has 5,000 digits",
    "[18446744073709551616]": "expected one of 64 bits",
    "[NaN]": "NaN is not a number",
    "[-Infinity]": "-Infinity is not a number",
    '{"a": 1, "b": 2, "a": 3}': "the key 'a' twice",
    "[" * 65 + "]" * 65: "deeper than 64 levels",
    '{"a":' * 65 + "1" + "}" * 65: "deeper than 64 levels",
    "[" * 200_000: "deeper than 64 levels",
    '["\\ud800"]': "half of a surrogate pair",
    '["]]]"' + ",[0" * 64 + "]" * 65: "deeper than 64 levels",  # brackets in text do not count
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.items(), ids=range(len(REFUSED)))
def test_invalid_json_is_refused_in_one_line_with_source_reason_and_remedy(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        read_json(path, advice="fetch it again")
    message = str(refused.value)
    assert message.startswith(f"{path} is not JSON (") and message.endswith("); fetch it again")
    assert reason in message and "\n" not in message and len(message) < 300 + len(str(path))


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"\xff"', b'"\xed\xa0\x80"', b"\0\0\0\0", b"\0[\0\n"])
def test_invalid_unicode_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="is not JSON"):
        parse_json(content, "x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_of_unicode_is_read(encoding: str) -> None:
    assert parse_json('{"ü": [1, 2.5, "\\ud83d\\ude00 ]]"]}'.encode(encoding), "x") == {"ü": [1, 2.5, "😀 ]]"]}


def test_64_levels_are_read_and_65_are_not() -> None:
    assert str(parse_json("[" * 64 + "]" * 64, "x")).count("[") == MAX_DEPTH == 64
    with pytest.raises(InputError, match="deeper"):
        parse_json(("[" * 65 + "]" * 65).encode("utf-16"), "x")


def test_logs_may_hold_nan_where_the_caller_allows_it() -> None:
    assert str(parse_json('{"loss": NaN, "rate": Infinity}', "log", nan=True)) == "{'loss': nan, 'rate': inf}"


def test_a_number_or_a_list_is_not_an_object(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(InputError, match=r"x\.json does not hold a JSON object; pack again"):
        read_json_object(tmp_path / "x.json", advice="pack again")


def test_a_file_beyond_the_limit_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="more than 5 bytes"):
        read_json(tmp_path / "x.json", limit=5)


sound = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(sound)
def test_valid_json_is_read_as_by_the_library(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text.encode(), "x") == json.loads(text)


@given(sound, st.data())
@example({"a": 1}, None)
def test_damaged_json_is_read_or_refused_and_nothing_else(value: Any, data: Any) -> None:
    content = bytearray(json.dumps(value).encode())
    if data is not None:
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + 1] = data.draw(st.binary(max_size=3))
    with suppress(InputError):
        json.dumps(parse_json(bytes(content), "x"), ensure_ascii=False, allow_nan=False).encode()
