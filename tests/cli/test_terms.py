import math

import pytest

from unclouded.cli.terms import TermsTable, shown_training


def rows(table: TermsTable) -> dict[str, list[str]]:
    columns = [list(column.cells) for column in table.table().columns]
    return {str(name): [str(cell) for cell in cells] for name, *cells in zip(*columns, strict=True)}


def test_a_term_has_its_value_its_mean_its_weight_and_its_share() -> None:
    table = TermsTable({"cycle": 10.0, "pixel": 100.0})
    table.terms(1, {"cycle": 2.0, "pixel": 0.1, "sar_real": 0.7})
    table.terms(2, {"cycle": 4.0, "pixel": 0.1, "sar_real": 0.5})
    assert rows(table) == {
        "cycle": ["4.0000", "3.0000", "10", "75%"],  # 10 x 3 of 10 x 3 + 100 x 0.1
        "pixel": ["0.1000", "0.1000", "100", "25%"],
        "sar_real": ["0.5000", "0.6000", "", ""],
    }


def test_a_term_of_pairs_has_a_share_by_how_often_there_is_one() -> None:
    table = TermsTable({"cycle": 10.0, "pixel": 100.0})
    for step, pairs in enumerate([{"pixel": 0.2}, {}, {}, {}], start=1):
        table.terms(step, {"cycle": 1.5, **pairs})
    assert rows(table)["pixel"] == ["0.2000", "0.2000", "100", "25%"]  # 100 x 0.2 / 4 of 10 x 1.5 + 5


def test_a_term_that_is_no_number_keeps_its_last_value() -> None:
    table = TermsTable({})
    table.terms(1, {"clear_residual": 0.25})
    table.terms(2, {"clear_residual": math.nan})
    assert rows(table)["clear_residual"][0] == "0.2500"


def test_table_sentences_and_bars_are_shown_together(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_training({"cycle": 10.0}) as (told, heard):
        told("training", 1, 2)
        heard.terms(1, {"cycle": 2.0})
        heard.said("about 3 minutes")
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("step 1", "cycle", "about 3 minutes", "training", "1/2"))
