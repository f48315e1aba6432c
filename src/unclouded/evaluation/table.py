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


UNITS = "MAE, RMSE in reflectance; PSNR in dB; SAM in °, SAM global in rad"
_NARROW = {metric: heading.partition(" (")[0] for metric, (heading, _, _) in COLUMNS.items()}


def scores_table(rows: Mapping[str, Scores], area: Area = "all") -> Table:
    """Return a table for the terminal: removers as rows in the order given, the best value of each column bold.

    No number is cut off at 80 columns; long names of removers are folded.

    Args:
        rows: What a row is called, and its scores.
        area: Pixels that were judged.

    Raises:
        InputError: The rows were judged in different ways.
    """
    notes = [f"{escape(name)}: {note}" for name, scores in rows.items() if (note := exact_note(scores.mean(area)))]
    table = Table(title=f"{area} pixels, mean over n patches", caption="\n".join([UNITS, *notes]))
    table.add_column("remover", overflow="fold")
    for heading in (*_NARROW.values(), "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, cells in _cells(rows, area, "[bold]{}[/bold]", notes_apart=True).items():
        table.add_row(escape(name), *cells)
    return table


def scores_markdown(rows: Mapping[str, Scores], area: Area = "all") -> str:
    """Return the table of :func:`scores_table` in Markdown, without its title."""
    lines = [["remover", *_headings()], ["---"] + ["---:"] * len(_headings())]
    lines += [[name.replace("|", r"\|"), *cells] for name, cells in _cells(rows, area, "**{}**").items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def exact_note(mean: Mapping[str, float]) -> str:
    """Return a sentence about the exact patches that a mean PSNR is without; empty where there is none."""
    if not (exact := mean["psnr_exact"]):
        return ""
    return f"PSNR is the mean of {mean['psnr_n']:,} patches; {exact:,} exact patches have an infinite one"


def shown_metric(mean: Mapping[str, float], metric: str, digits: int) -> str:
    """Return one mean as text; beside a PSNR the number of exact patches it is without, such as ``26.02 (1 exact)``."""
    text = "–" if math.isnan(mean[metric]) else f"{mean[metric]:.{digits}f}"
    exact = mean.get("psnr_exact", 0) if metric == "psnr" else 0
    return f"{text} ({exact:,} exact)" if exact else text


def _headings() -> list[str]:
    return [*(heading for heading, _, _ in COLUMNS.values()), "n"]


def _cells(rows: Mapping[str, Scores], area: Area, bold: str, *, notes_apart: bool = False) -> dict[str, list[str]]:
    require_same({name: scores.card for name, scores in rows.items()})
    means = {name: scores.mean(area) for name, scores in rows.items()}
    cells: dict[str, list[str]] = {name: [] for name in rows}
    for metric, (_, digits, better) in COLUMNS.items():
        numbers = {name: round(value, digits) for name in rows if not math.isnan(value := means[name][metric])}
        best = better(numbers.values()) if numbers else math.nan
        for name, mean in means.items():
            text = shown_metric(mean, metric, digits)
            if notes_apart:
                text = text.partition(" ")[0]  # the caption tells the number of exact patches
            cells[name].append(bold.format(text) if numbers.get(name) == best else text)
    for name, mean in means.items():
        cells[name].append(f"{mean['n']:,}")
    return cells
