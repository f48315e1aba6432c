"""Comparison of removers: paired differences with confidence intervals, and tables of scores.

:func:`compare_scores` takes differences patch by patch. Their intervals come from a bootstrap over regions, because
patches of one region share scenes, dates and clouds and are not independent. The second half of the module formats
scores and differences for the terminal, Markdown and JSON.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from rich.markup import escape
from rich.table import Table

from unclouded.errors import InputError
from unclouded.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, cluster_interval
from unclouded.evaluation.scores import AREAS, METRICS, Area, PatchScores, Scores, require_same


@dataclass(frozen=True)
class Difference:
    """Mean difference of one metric between two removers.

    Attributes:
        area: Evaluated pixels.
        metric: Metric name.
        mean: First minus second, mean over patches; NaN if no patch has such pixels.
        interval: 95 % bootstrap interval of the mean; NaN if undefined.
        n: Number of patches.
        exact: Number of excluded patches, on which one of the predictions is exact and its PSNR infinite.
    """

    area: Area
    metric: str
    mean: float
    interval: Interval
    n: int
    exact: int = 0

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        low, high = self.interval
        return low > 0 or high < 0


def compare_scores(first: Scores, second: Scores, rng: np.random.Generator) -> list[Difference]:
    """Compare two removers patch by patch.

    Args:
        first: Scores of one remover.
        second: Scores of the other on the same patches, with the same protocol.
        rng: Random generator of the bootstrap.

    Raises:
        InputError: The protocols or the patches differ.
    """
    require_comparable(first, second)
    by_name = {patch.name: patch for patch in second.patches}
    pairs = [(patch, by_name[patch.name]) for patch in first.patches]
    regions = [patch.region for patch, _ in pairs]
    exact = {area: sum(any(math.isinf(one.values[area]["psnr"]) for one in pair) for pair in pairs) for area in AREAS}
    found = []
    for area in AREAS:
        for metric in METRICS:
            ours, theirs = (column([pair[i] for pair in pairs], area, metric) for i in (0, 1))
            difference = ours - theirs
            n = int(np.count_nonzero(~np.isnan(difference)))
            mean = float(np.nanmean(difference)) if n else float("nan")
            left_out = exact[area] if metric == "psnr" else 0
            found.append(Difference(area, metric, mean, cluster_interval(difference, regions, rng), n, left_out))
    return found


def require_comparable(first: Scores, second: Scores) -> None:
    """Raise unless two results have the same protocol and the same patches.

    Raises:
        InputError: Names what differs.
    """
    require_same({"the first": first.protocol, "the second": second.protocol})
    skipped = [{one.name: one.reason for one in scores.skipped} for scores in (first, second)]
    if differing := sorted(skipped[0].keys() ^ skipped[1].keys()):
        reason = {**skipped[1], **skipped[0]}[differing[0]]
        where = "first" if differing[0] in skipped[0] else "second"
        raise InputError(
            f"the two skipped different patches ({len(skipped[0]):,} and {len(skipped[1]):,}): only the {where} "
            f"skipped {differing[0]} ({reason}); repair the patches, or evaluate both on the same data set"
        )
    names = [{patch.name for patch in one.patches} for one in (first, second)]
    if only := sorted(names[0] ^ names[1]):
        where = "first" if only[0] in names[0] else "second"
        raise InputError(
            f"the two results have different patches ({len(names[0]):,} and {len(names[1]):,}): {only[0]} is only in"
            f" the {where}, and so for {len(only):,} in all; evaluate both on one split"
        )


def comparison_json(first: str, second: str, differences: Sequence[Difference]) -> dict[str, Any]:
    """Return differences by area and metric as JSON values, NaN aside."""
    areas: dict[str, Any] = {area: {} for area in AREAS}
    for one in differences:
        shown: dict[str, Any] = {"difference": one.mean, "interval": list(one.interval), "n": one.n}
        areas[one.area][one.metric] = shown | ({"exact": one.exact} if one.metric == "psnr" else {})
    return {"first": first, "second": second, "level": LEVEL, "difference": areas}


def comparison_table(first: str, second: str, differences: Sequence[Difference]) -> Table:
    """Return a table for the terminal that names the better remover where the interval excludes 0."""
    title = f"{escape(first)} minus {escape(second)}: mean over n patches, {LEVEL:.0%} bootstrap interval over regions"
    left_out = {one.area: one.exact for one in differences if one.exact}
    notes = [
        f"PSNR of {area} pixels excludes {n:,} patches on which one of the two is exact" for area, n in left_out.items()
    ]
    table = Table(title=title, caption="\n".join([UNITS, *notes]))
    for heading in ("pixels", "score", "difference", "interval", "n"):
        table.add_column(heading, justify="left" if heading in ("pixels", "score") else "right", no_wrap=True)
    table.add_column("better", overflow="fold")
    for one in differences:
        heading, digits, better = COLUMNS[one.metric]
        heading = heading.partition(" (")[0]
        low, high = (f"{end:+.{digits}f}" for end in one.interval)
        winner = (first if (one.mean > 0) == (better is max) else second) if one.is_clear else "–"
        shown = "–" if math.isnan(one.mean) else f"{one.mean:+.{digits}f}"
        interval = "–" if math.isnan(one.interval[0]) else f"{low} to {high}"
        table.add_row(one.area, heading, shown, interval, f"{one.n:,}", escape(winner))
    return table


# Intervals of every metric.


def intervals(
    patches: Sequence[PatchScores], rng: np.random.Generator, *, level: float = LEVEL, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the interval of every metric in every area and the number of regions, as JSON values."""
    regions = [patch.region for patch in patches]
    found: dict[str, Any] = {
        "level": level,
        "resamples": resamples,
        "regions": len(set(regions) - {""}),
        "why_none": why_none(patches),
    }
    for area in AREAS:
        found[area] = {
            metric: list(
                cluster_interval(column(patches, area, metric), regions, rng, level=level, resamples=resamples)
            )
            for metric in METRICS
        }
    return found


def column(patches: Sequence[PatchScores], area: str, metric: str) -> Float64[np.ndarray, " n"]:
    """Return one metric of every patch; NaN if the area has no pixels or the PSNR is infinite."""
    values: list[Mapping[str, float]] = [patch.values[area] for patch in patches]  # type: ignore[index]
    found = np.array([one[metric] for one in values], dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def why_none(patches: Sequence[PatchScores]) -> str:
    """Return the reason why there is no interval; empty if there is one."""
    regions = {patch.region for patch in patches}
    if unknown := sum(not patch.region for patch in patches):
        return f"no interval: the names of {unknown:,} of {len(patches):,} patches contain no region"
    if len(regions) < 2:
        return f"no interval: all patches are of {regions.pop()}, and regions are drawn from at least two"
    return ""


# Tables of the scores of several removers, for the terminal and for Markdown.


COLUMNS = {
    "mae": ("MAE (reflectance)", 4, min),
    "rmse": ("RMSE (reflectance)", 4, min),
    "psnr": ("PSNR (dB)", 2, max),
    "ssim": ("SSIM", 4, max),
    "sam": ("SAM (°)", 2, min),
    "sam_global": ("SAM global (rad)", 4, min),
}
"""Heading with unit, number of digits, and function that picks the better value, by metric."""


UNITS = "MAE, RMSE in reflectance; PSNR in dB; SAM in °, SAM global in rad"

_NARROW = {metric: heading.partition(" (")[0] for metric, (heading, _, _) in COLUMNS.items()}


def scores_table(rows: Mapping[str, Scores], area: Area = "all") -> Table:
    """Return a table for the terminal: one row per remover, the best value of each column in bold.

    Numbers fit into 80 columns; long remover names are wrapped.

    Args:
        rows: Scores by row name.
        area: Evaluated pixels.

    Raises:
        InputError: The protocols of the rows differ.
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
    """Return a note on the exact patches that a mean PSNR excludes; empty if there are none."""
    if not (exact := mean["psnr_exact"]):
        return ""
    return f"PSNR is the mean of {mean['psnr_n']:,} patches; {exact:,} exact patches have an infinite one"


def shown_metric(mean: Mapping[str, float], metric: str, digits: int) -> str:
    """Return one mean as text; with the number of excluded exact patches for PSNR, such as ``26.02 (1 exact)``."""
    text = "–" if math.isnan(mean[metric]) else f"{mean[metric]:.{digits}f}"
    exact = mean.get("psnr_exact", 0) if metric == "psnr" else 0
    return f"{text} ({exact:,} exact)" if exact else text


def _headings() -> list[str]:
    return [*(heading for heading, _, _ in COLUMNS.values()), "n"]


def _cells(rows: Mapping[str, Scores], area: Area, bold: str, *, notes_apart: bool = False) -> dict[str, list[str]]:
    require_same({name: scores.protocol for name, scores in rows.items()})
    means = {name: scores.mean(area) for name, scores in rows.items()}
    cells: dict[str, list[str]] = {name: [] for name in rows}
    for metric, (_, digits, better) in COLUMNS.items():
        numbers = {name: round(value, digits) for name in rows if not math.isnan(value := means[name][metric])}
        best = better(numbers.values()) if numbers else math.nan
        for name, mean in means.items():
            text = shown_metric(mean, metric, digits)
            if notes_apart:
                text = text.partition(" ")[0]  # the caption has the number of exact patches
            cells[name].append(bold.format(text) if numbers.get(name) == best else text)
    for name, mean in means.items():
        cells[name].append(f"{mean['n']:,}")
    return cells
