"""Progress of long work on the terminal: what, how far, how fast, how long still."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console, Group
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

from unclouded.progress import ProgressCallback, TrainingCallback

T = TypeVar("T")


def counted(items: Iterable[T], stage: str, total: int, on_progress: ProgressCallback) -> Iterator[T]:
    """Yield items and tell how many are done."""
    for done, item in enumerate(items, start=1):
        yield item
        on_progress(stage, done, total)


class RateColumn(ProgressColumn):
    """How many are done in a second, or how many seconds one takes."""

    def render(self, task: Task) -> Text:
        """Return the rate of a task."""
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s each")


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """Give a function that is told stage, done and total, and shows each stage as a bar on standard error."""
    with progress_bars() as bars:
        yield told_to(bars)


@contextmanager
def byte_progress_bar() -> Iterator[ProgressCallback]:
    """Give a function like that of :func:`progress_bar` for what is counted in bytes."""
    with progress_bars(DownloadColumn(binary_units=True), TransferSpeedColumn()) as bars:
        yield told_to(bars)


def progress_bars(count: ProgressColumn | None = None, rate: ProgressColumn | None = None) -> Progress:
    """Make bars for standard error that show what, how far, how fast, and how long still."""
    return Progress(
        TextColumn("{task.description:<18}"),
        BarColumn(),
        count or MofNCompleteColumn(),
        rate or RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def told_to(bars: Progress) -> ProgressCallback:
    """Return a function that is told stage, done and total, and gives each stage a bar."""
    stages: dict[str, TaskID] = {}

    def on_progress(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages[stage] = bars.add_task(stage, total=total)
        bars.update(stages[stage], completed=done, total=total)

    return on_progress


# The loss terms of a run on the terminal, live: now, of late, and what they weigh.


LATELY = 100
"""Steps that the second column is a mean of."""


class LossTable(TrainingCallback):
    """Keeps the last steps' terms, and makes a table of them.

    Args:
        weights: Of the terms that are minimised; others are watched.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self.step = 0
        self.sentences: list[str] = []
        self._seen: dict[str, deque[float]] = {}
        self._times, self._heard = Counter[str](), 0

    def on_step(self, step: int, terms: Mapping[str, float]) -> None:
        """Hear the loss terms of a step."""
        self.step = step
        self._heard += 1
        for name, value in terms.items():
            if math.isfinite(value):
                self._seen.setdefault(name, deque(maxlen=LATELY)).append(value)
                self._times[name] += 1

    def on_message(self, sentence: str) -> None:
        """Hear something that a user should know, once."""
        self.sentences.append(sentence)

    def table(self) -> Table:
        """Return the terms as they are now."""
        table = Table("term", "now", f"mean of {LATELY}", "weight", "share", title=f"step {self.step}", box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        lately = {name: sum(values) / len(values) for name, values in self._seen.items()}
        counts = {  # a term of pairs counts nothing in all steps without one
            name: self.weights[name] * mean * self._times[name] / self._heard
            for name, mean in lately.items()
            if name in self.weights
        }
        total = sum(counts.values())
        for name, values in self._seen.items():
            weight = self.weights.get(name)
            share = f"{counts[name] / total:.0%}" if weight is not None and total else ""
            shown = "" if weight is None else f"{weight:g}"
            table.add_row(name, f"{values[-1]:.4f}", f"{lately[name]:.4f}", shown, share)
        return table


@contextmanager
def training_progress(weights: Mapping[str, float]) -> Iterator[tuple[ProgressCallback, TrainingCallback]]:
    """Give who is told progress and who hears terms, and show both on standard error."""
    bars, heard = progress_bars(), LossTable(weights)

    def shown() -> Group:
        return Group(*([heard.table()] if heard.step else []), *heard.sentences, bars)

    try:
        with Live(get_renderable=shown, console=bars.console, refresh_per_second=2):
            yield told_to(bars), heard
    finally:
        if not bars.console.is_interactive:
            bars.console.print()  # in a file the last line has no end yet, and an error begins with one of its own
