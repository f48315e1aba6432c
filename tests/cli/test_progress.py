import math

import pytest
from rich.progress import Progress

from unclouded.cli.progress import LossTable, RateColumn, training_progress
from unclouded.progress import counted


def test_progress_is_reported_after_each_item() -> None:
    calls: list[tuple[str, int, int]] = []
    assert list(counted("ab", "letters", 2, lambda *words: calls.append(words))) == ["a", "b"]
    assert calls == [("letters", 1, 2), ("letters", 2, 2)]


def test_a_rate_is_shown_per_second_or_as_seconds_each() -> None:
    clock = [0.0]
    progress = Progress(get_time=lambda: clock[0])
    for seconds, shown in ((0.5, "2.0/s"), (4.0, "4.0 s each")):
        task = progress.add_task("work", total=10)
        assert RateColumn().render(progress.tasks[-1]).plain == ""
        for _ in range(3):
            clock[0] += seconds
            progress.advance(task)
        assert RateColumn().render(progress.tasks[-1]).plain == shown


def rows(table: LossTable) -> dict[str, list[str]]:
    columns = [list(column.cells) for column in table.table().columns]
    return {str(name): [str(cell) for cell in cells] for name, *cells in zip(*columns, strict=True)}


def test_a_term_has_its_value_its_mean_its_weight_and_its_share() -> None:
    table = LossTable({"cycle": 10.0, "pixel": 100.0})
    table.on_step(1, {"cycle": 2.0, "pixel": 0.1, "sar_real": 0.7})
    table.on_step(2, {"cycle": 4.0, "pixel": 0.1, "sar_real": 0.5})
    assert rows(table) == {
        "cycle": ["4.0000", "3.0000", "10", "75%"],  # 10 x 3 of 10 x 3 + 100 x 0.1
        "pixel": ["0.1000", "0.1000", "100", "25%"],
        "sar_real": ["0.5000", "0.6000", "", ""],
    }


def test_a_term_of_pairs_has_a_share_by_how_often_there_is_one() -> None:
    table = LossTable({"cycle": 10.0, "pixel": 100.0})
    for step, pairs in enumerate([{"pixel": 0.2}, {}, {}, {}], start=1):
        table.on_step(step, {"cycle": 1.5, **pairs})
    assert rows(table)["pixel"] == ["0.2000", "0.2000", "100", "25%"]  # 100 x 0.2 / 4 of 10 x 1.5 + 5


def test_a_term_that_is_no_number_keeps_its_last_value() -> None:
    table = LossTable({})
    table.on_step(1, {"clear_residual": 0.25})
    table.on_step(2, {"clear_residual": math.nan})
    assert rows(table)["clear_residual"][0] == "0.2500"


def test_table_messages_and_bars_are_shown_together(capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress({"cycle": 10.0}) as (on_progress, callback):
        on_progress("training", 1, 2)
        callback.on_step(1, {"cycle": 2.0})
        callback.on_message("about 3 minutes")
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("step 1", "cycle", "about 3 minutes", "training", "1/2"))
