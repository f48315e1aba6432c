"""Two removers on the same patches: the mean difference of each metric, and how far it can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from unclouded.errors import InputError
from unclouded.evaluation.card import require_same
from unclouded.evaluation.interval import LEVEL, Interval, cluster_interval, column
from unclouded.evaluation.scores import AREAS, METRICS, Area, Scores
from unclouded.evaluation.table import COLUMNS, UNITS


@dataclass(frozen=True)
class Difference:
    """Mean over patches of one score minus the other.

    Attributes:
        area: Pixels that were judged.
        metric: Which score.
        mean: First minus second; NaN where no patch has such pixels.
        interval: 95 % interval of the mean from drawing regions; NaN where there is none.
        n: Number of patches.
        exact: Patches that are left out because one of the two is exact there and its PSNR infinite.
    """

    area: Area
    metric: str
    mean: float
    interval: Interval
    n: int
    exact: int = 0

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        low, high = self.interval
        return low > 0 or high < 0


def compare_scores(first: Scores, second: Scores, rng: np.random.Generator) -> list[Difference]:
    """Compare two removers patch by patch.

    Args:
        first: Scores of one.
        second: Scores of the other on the same patches, judged in the same way.
        rng: Draws the regions.

    Raises:
        InputError: The cards or the patches differ.
    """
    require_comparable(first, second)
    there = {patch.name: patch for patch in second.patches}
    pairs = [(patch, there[patch.name]) for patch in first.patches]
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
    """Refuse two results that were not judged in the same way on the same patches.

    Raises:
        InputError: Names what differs.
    """
    require_same({"the first": first.card, "the second": second.card})
    skipped = [{one.name: one.reason for one in scores.skipped} for scores in (first, second)]
    if differing := sorted(skipped[0].keys() ^ skipped[1].keys()):
        reason = {**skipped[1], **skipped[0]}[differing[0]]
        where = "first" if differing[0] in skipped[0] else "second"
        raise InputError(
            f"the two skipped different patches ({len(skipped[0]):,} and {len(skipped[1]):,}): only the {where} "
            f"skipped {differing[0]} ({reason}); mend the patches, or evaluate both on the same data set"
        )
    names = [{patch.name for patch in one.patches} for one in (first, second)]
    if only := sorted(names[0] ^ names[1]):
        where = "first" if only[0] in names[0] else "second"
        raise InputError(
            f"the two judge different patches ({len(names[0]):,} and {len(names[1]):,}): {only[0]} is only in the"
            f" {where}, and so for {len(only):,} in all; evaluate both on one split"
        )


def comparison_json(first: str, second: str, differences: Sequence[Difference]) -> dict[str, Any]:
    """Return differences as JSON values, but for NaN, by area and metric."""
    areas: dict[str, Any] = {area: {} for area in AREAS}
    for one in differences:
        shown: dict[str, Any] = {"difference": one.mean, "interval": list(one.interval), "n": one.n}
        areas[one.area][one.metric] = shown | ({"exact": one.exact} if one.metric == "psnr" else {})
    return {"first": first, "second": second, "level": LEVEL, "difference": areas}


def comparison_table(first: str, second: str, differences: Sequence[Difference]) -> Table:
    """Return a table for the terminal: the better remover is named where the interval leaves out 0."""
    title = f"{escape(first)} minus {escape(second)}: mean over n patches, {LEVEL:.0%} interval from drawing regions"
    left_out = {one.area: one.exact for one in differences if one.exact}
    notes = [
        f"PSNR of {area} pixels is without {n:,} patches where one of the two is exact" for area, n in left_out.items()
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
