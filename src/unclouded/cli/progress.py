"""Progress bars and the live table of losses, on standard error."""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from unclouded.cli.logging import error_console, is_quiet
from unclouded.progress import ProgressCallback, TrainingCallback


class RateColumn(ProgressColumn):
    """Items per second, or seconds per item."""

    def render(self, task: Task) -> Text:
        """Rate of a task."""
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s each")


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """Progress callback that shows each stage as a bar on standard error."""
    with _progress() as bars:
        yield _callback(bars)


@contextmanager
def byte_progress_bar() -> Iterator[ProgressCallback]:
    """Progress callback like that of :func:`progress_bar`, for totals in bytes."""
    with _progress(DownloadColumn(binary_units=True), TransferSpeedColumn()) as bars:
        yield _callback(bars)


def _progress(count: ProgressColumn | None = None, rate: ProgressColumn | None = None) -> Progress:
    """Bars that show stage, count, rate, elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description:<18}"),
        BarColumn(),
        count or MofNCompleteColumn(),
        rate or RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=error_console(),
        disable=is_quiet(),
    )


def _callback(bars: Progress) -> ProgressCallback:
    """Progress callback that adds a bar for each new stage."""
    stages: dict[str, TaskID] = {}

    def on_progress(stage: str, completed: int, total: int) -> None:
        if stage not in stages:
            stages[stage] = bars.add_task(stage, total=total)
        bars.update(stages[stage], completed=completed, total=total)

    return on_progress


RECENT_STEPS = 100
"""Steps that the second column of the loss table averages over."""


class LossTable(TrainingCallback):
    """Training callback that collects the terms of recent steps and shows them as a table.

    Args:
        weights: Loss weights of the minimised terms; other terms are only monitored.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self.step = 0
        self.messages: list[str] = []
        self._recent: dict[str, deque[float]] = {}
        self._counts, self._steps = Counter[str](), 0

    def on_step(self, step: int, terms: Mapping[str, float]) -> None:
        """Record the loss terms of a step."""
        self.step = step
        self._steps += 1
        for name, value in terms.items():
            if math.isfinite(value):
                self._recent.setdefault(name, deque(maxlen=RECENT_STEPS)).append(value)
                self._counts[name] += 1

    def on_message(self, message: str) -> None:
        """Record a message, to show it below the table."""
        self.messages.append(message)

    def table(self) -> Table:
        """Current table: last value, recent mean, weight, and share of the weighted sum."""
        title = f"step {self.step}"
        table = Table("term", "now", f"mean of {RECENT_STEPS}", "weight", "share", title=title, box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        means = {name: sum(values) / len(values) for name, values in self._recent.items()}
        parts = {  # a term of paired patches counts as 0 in steps without pairs
            name: self.weights[name] * mean * self._counts[name] / self._steps
            for name, mean in means.items()
            if name in self.weights
        }
        total = sum(parts.values())
        for name, values in self._recent.items():
            weight = self.weights.get(name)
            share = f"{parts[name] / total:.0%}" if weight is not None and total else ""
            shown = "" if weight is None else f"{weight:g}"
            table.add_row(name, f"{values[-1]:.4f}", f"{means[name]:.4f}", shown, share)
        return table


@contextmanager
def training_progress(weights: Mapping[str, float]) -> Iterator[tuple[ProgressCallback, TrainingCallback]]:
    """Progress callback and training callback that show bars, losses and messages of a run on standard error."""
    bars, losses = _progress(), LossTable(weights)
    console = bars.console
    if is_quiet():
        yield _callback(bars), losses
        return

    def shown() -> Group:
        return Group(*([losses.table()] if losses.step else []), *losses.messages, bars)

    try:
        with Live(get_renderable=shown, console=console, refresh_per_second=2):
            yield _callback(bars), losses
    finally:
        if not console.is_interactive:
            console.print()  # the last line of a live display in a file has no newline; an error message follows
