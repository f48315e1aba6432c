import pytest

from unclouded.errors import InputError
from unclouded.experiments.orderings import Ordering, check, load_expected, summary
from unclouded.experiments.rows import TABLES, find_experiments
from unclouded.settings import settings_from


def ordering(**content: object) -> Ordering:
    return settings_from(
        Ordering, {"statement": "so", "basis": "quoted", "source": "here", "metrics": ["f1"], **content}
    )


def f1(**values: float | None) -> dict[str, dict[str, float] | None]:
    return {f"{key}@observed": None if value is None else {"f1": value, "mae": value} for key, value in values.items()}


def verdict(expected: Ordering, values: dict[str, dict[str, float] | None]) -> str:
    (found,) = check((expected,), values)
    return f"{found.verdict}: {found.reason}".removesuffix(": ")


def test_better_is_higher_f1_and_lower_mae() -> None:
    assert verdict(ordering(better="a", than=["b"]), f1(a=0.5, b=0.4)) == "kept"
    assert verdict(ordering(better="a", than=["b"], metrics=["mae"]), f1(a=0.5, b=0.4)).startswith("broken")


def test_equal_is_not_better() -> None:
    assert verdict(ordering(better="a", than=["b"]), f1(a=0.5, b=0.5)) == "broken: a 0.500, b 0.500"


def test_the_first_pair_that_breaks_it_is_named() -> None:
    found = verdict(ordering(better="a", than=["b", "c"], metrics=["mae"]), f1(a=0.2, b=0.3, c=0.1))
    assert found == "broken: a 0.2000, c 0.1000"


def test_rows_that_were_not_run_are_left_out_and_named() -> None:
    assert verdict(ordering(better="a", than=["b", "c"]), f1(a=0.5, b=0.4, c=None)) == "kept: without c, not run"
    assert verdict(ordering(better="a", than=["b"]), f1(b=0.4)) == "not tested: not run: a"


def test_worse_is_the_reverse() -> None:
    assert verdict(ordering(worse="a", than=["b"]), f1(a=0.1, b=0.4)) == "kept"


def test_rising_requires_a_positive_rank_correlation_not_every_step() -> None:
    expected = ordering(rising=["a", "b", "c", "d"])
    assert verdict(expected, f1(a=0.1, b=0.3, c=0.2, d=0.4)) == "kept: rank correlation +0.80 over 4 rows"
    assert verdict(expected, f1(a=0.2, b=0.2, c=0.2, d=0.2)) == "broken: rank correlation +0.00 over 4 rows"
    assert verdict(expected, f1(a=0.1, b=0.3)) == "not tested: not run: c, d"


def test_a_trade_off_requires_a_negative_rank_correlation_with_precision() -> None:
    expected = ordering(trade_off=["a", "b", "c"], metrics=["recall"])
    shown = {"a": (0.1, 0.9), "b": (0.5, 0.6), "c": (0.7, 0.2)}
    values = {f"{key}@observed": {"precision": p, "recall": r} for key, (p, r) in shown.items()}
    assert verdict(expected, dict(values)) == "kept: rank correlation -1.00 over 3 rows"
    values["a@observed"]["recall"] = 0.1
    assert verdict(expected, dict(values)) == "broken: rank correlation +0.50 over 3 rows"


def test_a_drop_is_from_painted_to_observed_clouds() -> None:
    values = {"a@synthetic": 0.10, "a@observed": 0.15, "b@synthetic": 0.05, "b@observed": 0.25}
    shown = {key: {"mae": value} for key, value in values.items()}
    expected = ordering(smaller_drop="a", than=["b"], metrics=["mae"])
    assert verdict(expected, dict(shown)) == "kept"
    turned = ordering(smaller_drop="b", than=["a"], metrics=["mae"])
    assert verdict(turned, dict(shown)) == "broken: b drops 0.2000, a drops 0.0500"


def test_a_summary_has_a_line_a_sentence() -> None:
    found = check((ordering(better="a", than=["b"], metrics=["f1", "mae"]),), f1(a=0.5, b=0.4))
    assert summary(found) == ["so (quoted, here): KEPT by F1; BROKEN by MAE (a 0.5000, b 0.4000)"]


@pytest.mark.parametrize(
    "content",
    [{}, {"better": "a"}, {"rising": ["a"], "than": ["b"]}, {"better": "a", "worse": "b", "than": ["c"]}],
)
def test_an_ordering_has_exactly_one_kind(content: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"expected one of|expected 'than'"):
        ordering(**content)


def test_every_committed_ordering_refers_to_existing_rows_and_columns() -> None:
    experiments = find_experiments()
    expected = load_expected(experiments.folder)
    for table in TABLES:
        rows = experiments.rows(table)
        lines = {f"{row.key}@{clouds}" for row in rows for clouds in row.settings.tests} | {row.key for row in rows}
        for one in getattr(expected, table):
            subject = one.better or one.worse or one.smaller_drop
            assert {*one.than, *(one.rising or ()), *(one.trade_off or ()), *([subject] if subject else [])} <= lines, (
                one.statement
            )
            assert set(one.metrics) <= set(experiments.table(table).columns), one.statement


def test_table_4_is_compared_with_table_3_by_the_columns_of_table_3() -> None:
    expected = load_expected(find_experiments().folder)
    quoted = [one for one in expected.table_4 if one.basis == "quoted" and one.metrics != ("sam_global",)]
    assert len(quoted) == 2 * 2 * 2 + 2  # ours-0 and ours-100; Perlin and Copy; two statements; and the drop of each
    assert {one.metrics for one in quoted} == {("precision", "recall", "f1")}
    assert all(one.source for table in TABLES for one in getattr(expected, table))
