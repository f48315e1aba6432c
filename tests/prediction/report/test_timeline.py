"""Other dates of a scene on the line and in the table of its report."""

from datetime import UTC, datetime, timedelta

from products.report import simulated_report

from unclouded.prediction.references import ReferenceUse
from unclouded.prediction.report.page import report_page
from unclouded.prediction.report.timeline import Timeline, reference_rows, timeline

SCENE = datetime(2020, 6, 1, tzinfo=UTC)


def use(days: int | None, weight: float = 0.5, **more: object) -> ReferenceUse:
    acquired = None if days is None else SCENE + timedelta(days=days)
    given = {"clear_share": 0.9, "error": 0.01, "error_without": 0.02} | more
    return ReferenceUse(name=f"image{days}", sha256="ab", acquired=acquired, days=days, weight=weight, **given)


def test_dates_lie_on_the_line_by_their_days() -> None:
    line = timeline([use(30), use(-30, 0.0), use(None)])
    assert line is not None
    before, after = line.marks
    assert line.scene == (before.x + after.x) / 2 == Timeline.width / 2
    assert (before.gap, after.gap) == ("-30 d", "+30 d")
    assert not before.used and after.used and before.radius == 4.0 < after.radius


def test_labels_of_neighbouring_dates_are_left_out() -> None:
    line = timeline([use(-300), use(1), use(2)])
    assert line is not None
    assert [mark.gap for mark in line.marks] == ["-300 d", "+1 d", ""]


def test_undated_references_are_in_the_table_only() -> None:
    assert timeline([use(None)]) is None
    (row,) = reference_rows([use(None, error=None, error_without=None)])
    assert row["numbers"] == ("unknown", "90.0 %", "50.0 %", "unknown", "unknown")


def test_the_page_names_references_and_escapes_their_names() -> None:
    page = report_page(simulated_report(references=[use(10), use(None)]))
    assert "2 other dates of this place were given; 100.0 % of the predicted pixels" in page
    assert ">image10</td><td>2020-06-11</td>" in page
    assert "<h2>Other dates" not in report_page(simulated_report())
