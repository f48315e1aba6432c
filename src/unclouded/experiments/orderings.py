"""Check of the paper's qualitative statements on its tables, which order methods: kept, broken or not tested."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.stats import spearmanr

from unclouded.experiments.tables import COLUMNS
from unclouded.settings import Settings, load_settings

Values = Mapping[str, Mapping[str, float] | None]
"""Metrics by line key; None for a line that was not run."""
Verdict = Literal["kept", "broken", "not tested"]
Basis = Literal["quoted", "inferred"]


class Ordering(Settings):
    """Statement of the paper as an ordering.

    It has exactly one of ``better``, ``worse``, ``rising``, ``trade_off`` and ``smaller_drop``.

    Attributes:
        statement: The statement.
        basis: ``quoted`` if a sentence of the paper states it, ``inferred`` if it follows with an assumption of ours.
        source: Section or caption of that sentence.
        metrics: Metrics by which it is checked.
        better: Line that is better than each of ``than``.
        worse: Line that is worse than each of ``than``.
        rising: Lines that tend to improve from left to right.
        trade_off: Lines among which higher precision goes with a lower value of the metric.
        smaller_drop: Row that loses less from synthetic to observed clouds than each of ``than``.
        than: Lines to compare with.
    """

    statement: str
    basis: Basis
    source: str
    metrics: tuple[str, ...] = Field(min_length=1)
    better: str | None = None
    worse: str | None = None
    rising: tuple[str, ...] | None = None
    trade_off: tuple[str, ...] | None = None
    smaller_drop: str | None = None
    than: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_one_ordering(self) -> "Ordering":
        kinds = (self.better, self.worse, self.rising, self.trade_off, self.smaller_drop)
        if sum(one is not None for one in kinds) != 1:
            raise ValueError("expected one of better, worse, rising, trade_off and smaller_drop")
        if (self.rising is None and self.trade_off is None) != bool(self.than):
            raise ValueError(
                "expected 'than' beside better, worse and smaller_drop, and none beside rising or trade_off"
            )
        if unknown := [metric for metric in self.metrics if metric not in COLUMNS]:
            raise ValueError(f"unknown metric {', '.join(unknown)}; choose from {', '.join(COLUMNS)}")
        return self


class Expected(Settings):
    """Orderings of every table."""

    table_2: tuple[Ordering, ...] = ()
    table_3: tuple[Ordering, ...] = ()
    table_4: tuple[Ordering, ...] = ()


@dataclass(frozen=True)
class Checked:
    """Result of the check of an ordering.

    Attributes:
        ordering: The ordering.
        metric: Metric by which it was checked.
        verdict: Kept, broken, or not tested because a row was not run.
        reason: First pair of values that breaks it, or the missing rows.
    """

    ordering: Ordering
    metric: str
    verdict: Verdict
    reason: str = ""


def summary(checked: Sequence[Checked]) -> list[str]:
    """Return one line per ordering: statement, basis, and the metrics by which it is kept, broken or not tested."""
    grouped: dict[str, list[Checked]] = defaultdict(list)
    for one in checked:
        ordering = one.ordering
        grouped[f"{ordering.statement} ({ordering.basis}, {ordering.source})"].append(one)
    return [f"{statement}: {'; '.join(_verdicts(found))}" for statement, found in grouped.items()]


def _verdicts(found: Sequence[Checked]) -> list[str]:
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in found:
        grouped[one.verdict.upper(), one.reason].append(COLUMNS[one.metric].short)
    return [
        f"{verdict} by {', '.join(metrics)}" + (f" ({reason})" if reason else "")
        for (verdict, reason), metrics in grouped.items()
    ]


def load_expected(folder: Path) -> Expected:
    """Read ``expected.toml`` of a folder of experiments."""
    return load_settings(Expected, folder / "expected.toml")


def check(orderings: tuple[Ordering, ...], values: Values) -> list[Checked]:
    """Check every ordering by each of its metrics; lines that were not run are skipped and listed in the reason.

    Two equal values break an ordering, as neither is better.
    """
    return [_checked(ordering, metric, values) for ordering in orderings for metric in ordering.metrics]


def _checked(ordering: Ordering, metric: str, values: Values) -> Checked:
    if ordering.rising is not None:
        order = {name: float(place) for place, name in enumerate(ordering.rising)}
        return _correlated(ordering, metric, order, values)
    if ordering.trade_off is not None:
        against = {name: _goodness(name, "precision", values) for name in ordering.trade_off}
        return _correlated(ordering, metric, against, values)
    subject = ordering.better or ordering.worse or ordering.smaller_drop or ""
    measure = _drop if ordering.smaller_drop else _goodness
    mine = measure(subject, metric, values)
    others = {name: measure(name, metric, values) for name in ordering.than}
    missing = [name for name, value in ({subject: mine} | others).items() if value is None]
    known = {name: value for name, value in others.items() if value is not None}
    if mine is None or not known:
        return Checked(ordering, metric, "not tested", f"not run: {', '.join(missing)}")
    sign = -1.0 if ordering.worse or ordering.smaller_drop else 1.0
    for name, value in known.items():
        if not sign * (mine - value) > 0:
            return Checked(ordering, metric, "broken", _beside(subject, mine, name, value, metric, ordering))
    return Checked(ordering, metric, "kept", f"without {', '.join(missing)}, not run" if missing else "")


def _correlated(ordering: Ordering, metric: str, against: Mapping[str, float | None], values: Values) -> Checked:
    """Check the sign of the rank correlation of a metric with the place or the precision of each line."""
    pairs = {name: (other, _goodness(name, metric, values)) for name, other in against.items()}
    found = [(other, value) for other, value in pairs.values() if other is not None and value is not None]
    missing = [name for name, pair in pairs.items() if None in pair]
    if len(found) < 3:
        return Checked(ordering, metric, "not tested", f"not run: {', '.join(missing)}")
    others, measured = zip(*found, strict=True)
    constant = len(set(others)) == 1 or len(set(measured)) == 1
    rho = 0.0 if constant else float(spearmanr(others, measured).statistic)
    reason = f"rank correlation {rho:+.2f} over {len(found)} rows" + (
        f", not run: {', '.join(missing)}" if missing else ""
    )
    return Checked(ordering, metric, "kept" if (-rho if ordering.trade_off else rho) > 0 else "broken", reason)


def _goodness(name: str, metric: str, values: Values) -> float | None:
    """Return the value of a line, negated if lower is better; a row key alone means its test on observed clouds."""
    found = values.get(name if "@" in name else f"{name}@observed")
    if found is None or np.isnan(found[metric]):
        return None
    return found[metric] if COLUMNS[metric].higher_is_better else -found[metric]


def _drop(name: str, metric: str, values: Values) -> float | None:
    synthetic, observed = (_goodness(f"{name}@{clouds}", metric, values) for clouds in ("synthetic", "observed"))
    return None if synthetic is None or observed is None else synthetic - observed


def _beside(subject: str, mine: float, name: str, value: float, metric: str, ordering: Ordering) -> str:
    digits = COLUMNS[metric].digits
    lower_is_better = not COLUMNS[metric].higher_is_better and not ordering.smaller_drop
    first, second = (abs(one) if lower_is_better else one for one in (mine, value))
    what = "drops " if ordering.smaller_drop else ""
    return f"{subject} {what}{first:.{digits}f}, {name} {what}{second:.{digits}f}"
