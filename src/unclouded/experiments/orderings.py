"""What the paper says of its tables without a number: who is better than whom; kept, broken or not tested."""

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
"""Key of a line to its metrics; None where it was not run."""
Verdict = Literal["kept", "broken", "not tested"]


class Ordering(Settings):
    """One sentence of the paper; exactly one of ``better``, ``worse``, ``rising`` and ``smaller_drop``.

    Attributes:
        says: The sentence.
        metrics: By which it is checked.
        better: A line that is better than each of ``than``.
        worse: A line that is worse than each of ``than``.
        rising: Lines that in general become better from left to right.
        smaller_drop: A row that loses less from painted to observed clouds than each of ``than``.
        than: Whom it is compared with.
    """

    says: str
    metrics: tuple[str, ...] = Field(min_length=1)
    better: str | None = None
    worse: str | None = None
    rising: tuple[str, ...] | None = None
    smaller_drop: str | None = None
    than: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Ordering":
        if sum(one is not None for one in (self.better, self.worse, self.rising, self.smaller_drop)) != 1:
            raise ValueError("expected one of better, worse, rising and smaller_drop")
        if (self.rising is None) != bool(self.than):
            raise ValueError("expected 'than' beside better, worse and smaller_drop, and none beside rising")
        if unknown := [metric for metric in self.metrics if metric not in COLUMNS]:
            raise ValueError(f"{', '.join(unknown)} is no metric; known are {', '.join(COLUMNS)}")
        return self


class Expected(Settings):
    """The orderings of every table."""

    table_2: tuple[Ordering, ...] = ()
    table_3: tuple[Ordering, ...] = ()
    table_4: tuple[Ordering, ...] = ()


@dataclass(frozen=True)
class Checked:
    """An ordering with what came of it.

    Attributes:
        ordering: What was expected.
        metric: By which it was checked.
        verdict: Kept, broken, or not tested because a row was not run.
        reason: Names the first pair that breaks it, or the rows that are missing.
    """

    ordering: Ordering
    metric: str
    verdict: Verdict
    reason: str = ""


def summary(checked: Sequence[Checked]) -> list[str]:
    """Return one line for each ordering: what the paper says, and by which metrics it is kept, broken or not tested."""
    grouped: dict[str, list[Checked]] = defaultdict(list)
    for one in checked:
        grouped[one.ordering.says].append(one)
    return [f"{says}: {'; '.join(_verdicts(found))}" for says, found in grouped.items()]


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
    """Check every ordering by each of its metrics; lines that were not run are left out, and named.

    Two equal values break an ordering: neither is better.
    """
    return [_checked(ordering, metric, values) for ordering in orderings for metric in ordering.metrics]


def _checked(ordering: Ordering, metric: str, values: Values) -> Checked:
    if ordering.rising is not None:
        return _rising(ordering, metric, ordering.rising, values)
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


def _rising(ordering: Ordering, metric: str, names: tuple[str, ...], values: Values) -> Checked:
    found = {name: value for name in names if (value := _goodness(name, metric, values)) is not None}
    missing = [name for name in names if name not in found]
    if len(found) < 3:
        return Checked(ordering, metric, "not tested", f"not run: {', '.join(missing)}")
    steady = len(set(found.values())) == 1
    rho = 0.0 if steady else float(spearmanr(np.arange(len(found)), list(found.values())).statistic)
    told = f"rank correlation {rho:+.2f} over {len(found)} rows" + (
        f", not run: {', '.join(missing)}" if missing else ""
    )
    return Checked(ordering, metric, "kept" if rho > 0 else "broken", told)


def _goodness(name: str, metric: str, values: Values) -> float | None:
    """The value of a line, its sign such that more is better; a row alone stands for its test on observed clouds."""
    found = values.get(name if "@" in name else f"{name}@observed")
    if found is None or np.isnan(found[metric]):
        return None
    return found[metric] if COLUMNS[metric].higher_is_better else -found[metric]


def _drop(name: str, metric: str, values: Values) -> float | None:
    painted, observed = (_goodness(f"{name}@{clouds}", metric, values) for clouds in ("synthetic", "observed"))
    return None if painted is None or observed is None else painted - observed


def _beside(subject: str, mine: float, name: str, value: float, metric: str, ordering: Ordering) -> str:
    digits = COLUMNS[metric].digits
    lower_is_better = not COLUMNS[metric].higher_is_better and not ordering.smaller_drop
    first, second = (abs(one) if lower_is_better else one for one in (mine, value))
    what = "drops " if ordering.smaller_drop else ""
    return f"{subject} {what}{first:.{digits}f}, {name} {what}{second:.{digits}f}"
