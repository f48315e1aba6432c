"""Other dates of a scene on a line, for its report page: day gap, clear share and weight of each reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unclouded.prediction.products import percent_text
from unclouded.prediction.references import ReferenceUse


@dataclass(frozen=True)
class Mark:
    """Date on the line, in coordinates of its SVG figure.

    Attributes:
        x: Horizontal position.
        radius: Radius of the dot; its area grows with the weight of the reference.
        opacity: Share of the scene that is clear in the reference, at least 0.15.
        label: Date, empty if it would overlap the one before.
        gap: Days from the scene; empty without a label.
        title: Text for pointers and screen readers.
        used: Whether any pixel rests on the reference.
    """

    x: float
    radius: float
    opacity: float
    label: str
    gap: str
    title: str
    used: bool


@dataclass(frozen=True)
class Timeline:
    """Line of dates.

    Attributes:
        marks: References in the order of time.
        scene: Horizontal position of the scene.
        width: Width of the figure.
        height: Height of the figure.
        left: Left end of the line.
        right: Right end of the line.
        base: Height of the line.
    """

    marks: Sequence[Mark]
    scene: float
    width: int = 720
    height: int = 128
    left: int = 24
    right: int = 696
    base: int = 58


_SMALLEST, _LARGEST = 4.0, 22.0
"""Radii of dots."""

_LABEL_PX = 74
"""Smallest distance of labels."""


def timeline(uses: Sequence[ReferenceUse]) -> Timeline | None:
    """Return the references of known date on a line around the scene; None if there are none."""
    dated = sorted(((one.days, one) for one in uses if one.days is not None), key=lambda pair: pair[0])
    if not dated:
        return None
    first, last = min(0, dated[0][0]), max(0, dated[-1][0])
    left, right = Timeline.left + _LARGEST + 14, Timeline.right - _LARGEST - 14

    def place(days: int) -> float:
        return round(left + (right - left) * (days - first) / (last - first), 1)

    marks, labelled = [], -math.inf
    for days, one in dated:
        x = place(days)
        apart = x - labelled >= _LABEL_PX
        labelled = x if apart else labelled
        radius = _SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(one.weight)
        label = f"{one.acquired:%Y-%m-%d}" if apart else ""
        gap = f"{days:+} d" if apart else ""
        shares = f"clear {percent_text(one.clear_share)}, weight {percent_text(one.weight)}"
        title = f"{one.acquired:%Y-%m-%d}, {days:+} days: {shares}"
        opacity = round(max(0.15, one.clear_share), 2)
        marks.append(Mark(x, round(radius, 1), opacity, label, gap, title, one.weight > 0))
    return Timeline(marks, place(0))


HEADINGS = ("days", "clear", "weight", "held-out error", "without it")
"""Headings of the numbers of a reference."""


def reference_rows(uses: Sequence[ReferenceUse]) -> list[dict[str, object]]:
    """Return the rows of the table of references: name, date, and numbers as in :data:`HEADINGS`."""
    return [
        {
            "name": one.name,
            "date": f"{one.acquired:%Y-%m-%d}" if one.acquired else "unknown",
            "used": one.weight > 0,
            "numbers": (
                "unknown" if one.days is None else f"{one.days:+}",
                percent_text(one.clear_share),
                percent_text(one.weight),
                "unknown" if one.error is None else f"{one.error:.4f}",
                "unknown" if one.error_without is None else f"{one.error_without:.4f}",
            ),
        }
        for one in uses
    ]
