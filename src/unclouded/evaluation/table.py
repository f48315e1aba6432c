"""Scores of several removers side by side, for the terminal and for Markdown."""

import math
from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from unclouded.evaluation.card import require_same
from unclouded.evaluation.scores import Area, Scores

COLUMNS = {
    "mae": ("MAE (reflectance)", 4, min),
    "rmse": ("RMSE (reflectance)", 4, min),
    "psnr": ("PSNR (dB)", 2, max),
    "ssim": ("SSIM", 4, max),
    "sam": ("SAM (°)", 2, min),
    "sam_global": ("SAM global (rad)", 4, min),
}
"""Metric to its heading with the unit, the digits shown, and which of two values is the better one."""


def scores_table(rows: Mapping[str, Scores], area: Area = "all") -> Table:
    """Return a table for the terminal: removers as rows in the order given, the best value of each column bold.

    Args:
        rows: What a row is called, and its scores.
        area: Pixels that were judged.

    Raises:
        InputError: The rows were judged in different ways.
    """
    table = Table(title=f"{area} pixels, mean over n patches")
    table.add_column("remover", min_width=max(map(len, rows)))
    for heading in _headings():
        table.add_column(heading, justify="right")
    for name, cells in _cells(rows, area, "[bold]{}[/bold]").items():
        table.add_row(escape(name), *cells)
    return table


def scores_markdown(rows: Mapping[str, Scores], area: Area = "all") -> str:
    """Return the table of :func:`scores_table` in Markdown, without its title."""
    lines = [["remover", *_headings()], ["---"] + ["---:"] * len(_headings())]
    lines += [[name.replace("|", r"\|"), *cells] for name, cells in _cells(rows, area, "**{}**").items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _headings() -> list[str]:
    return [*(heading for heading, _, _ in COLUMNS.values()), "n"]


def _cells(rows: Mapping[str, Scores], area: Area, bold: str) -> dict[str, list[str]]:
    require_same({name: scores.card for name, scores in rows.items()})
    means = {name: scores.mean(area) for name, scores in rows.items()}
    cells: dict[str, list[str]] = {name: [] for name in rows}
    for metric, (_, digits, better) in COLUMNS.items():
        shown = {name: _shown(mean[metric], digits) for name, mean in means.items()}
        numbers = [float(text) for text in shown.values() if text != "–"]
        best = better(numbers) if numbers else math.nan
        for name, text in shown.items():
            cells[name].append(bold.format(text) if text != "–" and float(text) == best else text)
    for name, mean in means.items():
        cells[name].append(f"{mean['n']:,}")
    return cells


def _shown(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
