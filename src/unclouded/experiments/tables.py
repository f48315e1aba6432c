"""Table of results as a value, and its output as Markdown, CSV, LaTeX and HTML."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from unclouded.evaluation.comparison import shown_metric
from unclouded.html_page import render_page

NOT_RUN = "not run"


@dataclass(frozen=True)
class Column:
    """Column of a metric.

    Attributes:
        key: Key of the metric.
        heading: Heading with unit.
        digits: Decimal places.
        higher_is_better: Whether a higher value is better.
    """

    key: str
    heading: str
    digits: int
    higher_is_better: bool

    @property
    def short(self) -> str:
        """Heading without its unit."""
        return self.heading.partition(" (")[0]


COLUMNS = {
    column.key: column
    for column in (
        Column("precision", "precision", 3, True),
        Column("recall", "recall", 3, True),
        Column("f1", "F1", 3, True),
        Column("mae", "MAE (reflectance)", 4, False),
        Column("rmse", "RMSE (reflectance)", 4, False),
        Column("psnr", "PSNR (dB)", 2, True),
        Column("ssim", "SSIM", 3, True),
        Column("sam", "SAM (°)", 2, False),
        Column("sam_global", "SAM (rad, as printed)", 4, False),
    )
}


@dataclass(frozen=True)
class Line:
    """Line of a table: a row in one test.

    Attributes:
        key: Key used by orderings, such as ``ours_0_perlin@synthetic``.
        label: Label of the row.
        tested_on: Clouds of the test, in words.
        values: Values by metric; None if the row was not run.
        link: Path of its scores, relative to the table; None if there are none.
    """

    key: str
    label: str
    tested_on: str
    values: dict[str, float] | None
    link: str | None


@dataclass(frozen=True)
class Table:
    """Table of results.

    Attributes:
        title: Title above the table.
        columns: Columns of the metrics.
        lines: Lines in order.
        notes: Notes below the table, one sentence each.
    """

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def shows_tests(self) -> bool:
        """Whether lines were tested on different clouds, which are then shown in a column."""
        return len({line.tested_on for line in self.lines}) > 1

    @property
    def headings(self) -> list[str]:
        """Headings of all columns."""
        return ["row", *(["tested on"] if self.shows_tests else []), *(column.heading for column in self.columns)]

    def names(self, line: Line) -> list[str]:
        """Return the cells before the numbers."""
        return [line.label, *([line.tested_on] if self.shows_tests else [])]

    def cells(self, line: Line) -> list[str]:
        """Return the numbers of a line as text."""
        return [NOT_RUN if line.values is None else _shown(line.values, column) for column in self.columns]


def _shown(values: dict[str, float], column: Column) -> str:
    return shown_metric(values, column.key, column.digits)


def to_markdown(table: Table, *, links: bool = True) -> str:
    """Return the table in Markdown.

    Args:
        table: Table to format.
        links: Whether every number links to its scores.
    """
    lines = []
    for line in table.lines:
        cells = table.cells(line)
        if links and line.link:
            cells = [f"[{cell}]({quote(line.link)})" for cell in cells]
        lines.append([*map(markdown_text, table.names(line)), *cells])
    body = markdown_rows(table.headings, lines, len(table.columns))
    notes = "".join(f"- {markdown_text(note)}\n" for note in table.notes)
    return f"## {markdown_text(table.title)}\n\n{body}" + (f"\n{notes}" if notes else "")


def markdown_rows(headings: Sequence[str], lines: Sequence[Sequence[str]], numbers: int) -> str:
    """Return a Markdown table of Markdown cells; the last ``numbers`` columns are right-aligned."""
    rule = ["---"] * (len(headings) - numbers) + ["---:"] * numbers
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, rule, *lines))


def markdown_text(text: str) -> str:
    """Return a text with the special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", one_line(text))


def to_csv(table: Table) -> str:
    """Return the table as CSV with all digits; a line that was not run has "not run" in place of numbers."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in table.columns]
    if "psnr" in keys:
        keys.insert(keys.index("psnr") + 1, "psnr_exact")  # number of patches left out of the mean
    lines.writerow(["key", "row", "tested on", *keys, "scores"])
    for line in table.lines:
        numbers = [NOT_RUN if line.values is None else f"{line.values.get(key, 0):.9g}" for key in keys]
        lines.writerow([line.key, _not_a_formula(line.label), line.tested_on, *numbers, line.link or ""])
    return text.getvalue()


def _not_a_formula(text: str) -> str:
    """Return a text with an apostrophe in front if a spreadsheet would evaluate it as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "°": r"\textdegree{}", "–": "--",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def to_latex(table: Table) -> str:
    """Return the table as LaTeX for the packages booktabs and hyperref."""
    names = len(table.headings) - len(table.columns)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{'l' * names}{'r' * len(table.columns)}}}",
        r"\toprule",
        _latex_row(map(_latex, table.headings)),
        r"\midrule",
    ]
    for line in table.lines:
        cells = [_latex(cell) for cell in table.cells(line)]
        if line.link:
            cells = [rf"\href{{run:{_latex(quote(line.link))}}}{{{cell}}}" for cell in cells]
        lines.append(_latex_row([*map(_latex, table.names(line)), *cells]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {_latex(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}", ""])


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def _latex_row(cells: "Sequence[str] | map[str]") -> str:
    return f"{' & '.join(cells)} \\\\"


class HtmlRow(NamedTuple):
    """Row of a table of results on an HTML page.

    Attributes:
        names: Cells before the numbers.
        numbers: Numbers as text, aligned to the right.
        link: Relative URL of the scores that every number links to.
    """

    names: Sequence[str]
    numbers: Sequence[str]
    link: str | None = None


def to_html(table: Table) -> str:
    """Return the table as a self-contained HTML page."""
    rows = [
        HtmlRow(
            [one_line(name) for name in table.names(line)], table.cells(line), quote(line.link) if line.link else None
        )
        for line in table.lines
    ]
    return render_page("table.html", title=table.title, headings=table.headings, rows=rows, notes=table.notes)


def one_line(text: str) -> str:
    """Return a text without line breaks and with spaces for unprintable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
