import csv
import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from unclouded.experiments.tables import COLUMNS, Line, Table, to_csv, to_html, to_latex, to_markdown

HOSTILE = '<script>alert(1)</script> | `a` _b_ [c](d) $e$ 50% & #\n"\\'
NUMBERS = {"mae": 0.12344, "psnr": 26.0206, "f1": float("nan")}


def table(label: str = "ours-0", link: str | None = "runs/a b.json", tested_on: str = "observed clouds") -> Table:
    columns = tuple(COLUMNS[key] for key in NUMBERS)
    lines = (
        Line("ours_0@observed", label, tested_on, NUMBERS, link),
        Line("x@observed", "x", "observed clouds", None, None),
    )
    return Table("Table <II>", columns, lines, ("a note",))


def test_markdown_links_numbers_and_marks_rows_that_were_not_run() -> None:
    lines = to_markdown(table()).splitlines()
    assert lines[0] == r"## Table \<II\>"
    assert lines[4] == "| ours-0 | [0.1234](runs/a%20b.json) | [26.02](runs/a%20b.json) | [–](runs/a%20b.json) |"
    assert lines[5] == "| x | not run | not run | not run |"


def test_every_format_shows_the_number_of_exact_patches_left_out_of_the_mean_psnr() -> None:
    one = table()
    counted = replace(one, lines=(replace(one.lines[0], values=NUMBERS | {"psnr_exact": 2}),))
    for text in (to_markdown(counted), to_html(counted), to_latex(counted)):
        assert "26.02 (2 exact)" in text
    (row,) = csv.DictReader(io.StringIO(to_csv(counted)))
    assert (row["psnr"], row["psnr_exact"]) == ("26.0206", "2")


def test_a_column_shows_the_tests_if_they_differ() -> None:
    assert "| tested on |" in to_markdown(table(tested_on="Copy clouds"))
    assert "tested on" not in to_markdown(table())


def test_a_hostile_name_makes_no_cell_and_no_markup_in_markdown() -> None:
    (line,) = [line for line in to_markdown(table(HOSTILE)).splitlines() if "script" in line]
    assert line.replace(r"\|", "").count("|") == 5
    assert r"\<script\>" in line and r"\[c\](d)" in line


def test_a_hostile_name_is_text_in_html() -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.seen: set[str] = set()
            self.text = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.seen.add(tag)
            assert not any(name.startswith("on") or (value or "").startswith("javascript:") for name, value in attrs)

        def handle_data(self, data: str) -> None:
            self.text += data

    page = Tags()
    page.feed(to_html(table(HOSTILE, link='"><script>.json')))
    assert "script" not in page.seen
    assert "<script>alert(1)</script> | `a` _b_" in page.text


def test_a_hostile_name_is_text_in_latex() -> None:
    text = to_latex(table(HOSTILE))
    line = next(line for line in text.splitlines() if "script" in line)
    assert r"\textless{}script\textgreater{}" in line
    assert r"\_b\_" in line and r"\$e\$ 50\% \& \#" in line and r"\textbackslash{}" in line
    assert line.replace(r"\&", "").count("&") == 3 and line.endswith(r"\\")


@pytest.mark.parametrize("label", ["=1+1", "@x", "-2", "+3"])
def test_a_name_is_no_formula_in_a_spreadsheet(label: str) -> None:
    first = next(iter(csv.DictReader(io.StringIO(to_csv(table(label))))))
    assert first["row"] == f"'{label}"


def test_csv_has_the_digits_that_tables_round() -> None:
    first, second = csv.DictReader(io.StringIO(to_csv(table(HOSTILE))))
    assert first["row"] == HOSTILE
    assert float(first["mae"]) == 0.12344
    assert second["mae"] == "not run"
