"""A manifest of three patches: two kept ones of two regions, and one that a check rejected although its files exist."""

from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.patches.manifest import ManifestRow
from unclouded.patches.review import Decision, read_review, require_known, reviewed, write_review

FILES = {"s1": "a", "s2": "b", "s2_cloudy": "c"}


def row(patch: str, status: str = "kept", reason: str | None = None, **more: str) -> ManifestRow:
    findings = ["haze:s2"] if reason else []
    roi = patch.rpartition("_")[0]
    return {"patch": patch, "roi": roi, "status": status, "reason": reason, "findings": findings, **FILES, **more}


ROWS = [
    row("ROIs0001_fall_1_p1", s2_product="S2A_CLEAR"),
    row("ROIs0001_fall_2_p1", s2_product="S2B_CLEAR"),
    row("ROIs0001_fall_2_p2", "rejected", "haze in s2: 6.0% cirrus; shift in s1: 3 px"),
]


def statuses(*decisions: tuple[str, str]) -> list[str]:
    return [
        one["status"] for one in reviewed(ROWS, {name: Decision(name, what, "why", "JS") for name, what in decisions})
    ]


def test_the_most_specific_decision_counts() -> None:
    assert statuses() == ["kept", "kept", "rejected"]
    assert statuses(("ROIs0001_fall_2", "reject")) == ["kept", "rejected", "rejected"]
    assert statuses(("S2A_CLEAR", "reject")) == ["rejected", "kept", "rejected"]
    assert statuses(("ROIs0001_fall_2", "reject"), ("ROIs0001_fall_2_p1", "accept")) == ["kept", "kept", "rejected"]
    assert statuses(("S2A_CLEAR", "reject"), ("ROIs0001_fall_1", "accept")) == ["rejected", "kept", "rejected"]


def test_an_accepted_patch_is_kept_against_a_check_if_its_images_exist() -> None:
    name = ROWS[2]["patch"]
    assert statuses((name, "accept")) == ["kept"] * 3
    decisions = {name: Decision(name, "accept", "thin", "JS")}
    assert reviewed([ROWS[2] | {"s2": None}], decisions)[0]["status"] == "rejected"


def test_decisions_are_reverted_by_a_later_review() -> None:
    decisions = {
        "ROIs0001_fall_1": Decision("ROIs0001_fall_1", "reject", "a twin", "JS"),
        "ROIs0001_fall_2_p2": Decision("ROIs0001_fall_2_p2", "accept", "thin", "JS"),
    }
    changed = reviewed(ROWS, decisions)
    assert changed[0]["reason"] == "rejected by JS: a twin" and changed[0]["findings"] == ["review:reject"]
    assert changed[2]["findings"] == ["haze:s2", "review:accept"]
    assert reviewed(changed, decisions) == changed
    assert reviewed(changed, {}) == ROWS


def test_a_review_is_read_as_it_was_written_and_the_last_row_counts(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    write_review(path, [Decision("b", "reject", "a, comma", "JS"), Decision("a", "accept", "fine", "JS")])
    assert [*read_review(path)] == ["a", "b"] and read_review(path)["b"].reason == "a, comma"
    path.write_text(path.read_text() + "a,reject,after all,KL\n")
    assert read_review(path)["a"] == Decision("a", "reject", "after all", "KL")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("patch,decision\n", "has the columns 'patch,decision', expected name,decision,reason,reviewer"),
        ("name,decision,reason,reviewer\na,refuse,x,JS\n", "row 2: found the decision 'refuse', expected accept or"),
        ("name,decision,reason,reviewer\na,reject,,JS\n", "row 2: expected name, decision, reason, reviewer"),
        ("", "has the columns ''"),
    ],
)
def test_an_invalid_review_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "review.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_review(tmp_path / "review.csv")


def test_a_decision_on_nothing_is_refused() -> None:
    require_known({"S2A_CLEAR": Decision("S2A_CLEAR", "reject", "x", "JS")}, ROWS, "review.csv")
    with pytest.raises(InputError, match=r"review\.csv: 'ROIs0001_fall_7' in no row of the manifest"):
        require_known({"ROIs0001_fall_7": Decision("ROIs0001_fall_7", "reject", "x", "JS")}, ROWS, "review.csv")
