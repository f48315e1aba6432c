from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from unclouded.errors import InputError
from unclouded.scenes.answers import KeptAnswers

HERE, THERE = {"type": "Point", "coordinates": [11.0, 44.5]}, {"type": "Point", "coordinates": [150.5, -33.0]}
DAYS = (date(2018, 6, 1), date(2018, 8, 31))


class Catalogue:
    """Numbers its answers; says nothing of one place."""

    def __init__(self, *silent: Mapping[str, Any]) -> None:
        self.silent, self.asked = silent, 0

    def items(self, outline: Mapping[str, Any], days: tuple[date, date], collection: str) -> list[Any]:
        if outline in self.silent:
            raise InputError("it does not answer")
        self.asked += 1
        return [{"id": f"item {self.asked}", "days": str(days), "of": collection, "\0": "no text"}]


def test_a_question_is_asked_once(tmp_path: Path) -> None:
    source = Catalogue()
    first = KeptAnswers(source, "https://a.example", tmp_path / "answers").items(HERE, DAYS, "s1")
    again = KeptAnswers(source, "https://a.example", tmp_path / "answers")
    assert again.items(dict(HERE), DAYS, "s1") == first and source.asked == 1
    for outline, days, collection in ((THERE, DAYS, "s1"), (HERE, (DAYS[0], DAYS[0]), "s1"), (HERE, DAYS, "s2")):
        again.items(outline, days, collection)
    KeptAnswers(source, "https://b.example", tmp_path / "answers").items(HERE, DAYS, "s1")
    assert source.asked == 5
    again.forget()
    assert again.items(HERE, DAYS, "s1")[0]["id"] == "item 6"


def test_fault_41_what_was_not_answered_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    broken = KeptAnswers(Catalogue(THERE), "https://a.example", tmp_path)
    assert broken.items(HERE, DAYS, "s1") and broken.is_complete
    with pytest.raises(InputError, match="it does not answer"):
        broken.items(THERE, DAYS, "s1")
    assert not broken.is_complete
    back = Catalogue()
    later = KeptAnswers(back, "https://a.example", tmp_path)
    assert later.items(HERE, DAYS, "s1") and later.items(THERE, DAYS, "s1")
    assert later.is_complete and back.asked == 1


def test_fault_42_a_damaged_answer_is_asked_for_again(tmp_path: Path) -> None:
    source = Catalogue()
    kept = KeptAnswers(source, "https://a.example", tmp_path)
    kept.items(HERE, DAYS, "s1")
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-5])
    assert kept.items(HERE, DAYS, "s1")[0]["id"] == "item 2" and source.asked == 2
