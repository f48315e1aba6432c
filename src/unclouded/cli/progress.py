"""Progress of long work on the terminal: what, how far, how fast, how long still."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
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
from rich.text import Text

T = TypeVar("T")
Told = Callable[[str, int, int], None]


def counted(items: Iterable[T], stage: str, total: int, told: Told) -> Iterator[T]:
    """Yield items and tell how many are done."""
    for done, item in enumerate(items, start=1):
        yield item
        told(stage, done, total)


class RateColumn(ProgressColumn):
    """How many are done in a second, or how many seconds one takes."""

    def render(self, task: Task) -> Text:
        """Return the rate of a task."""
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s each")


@contextmanager
def shown_progress() -> Iterator[Told]:
    """Give a function that is told stage, done and total, and shows each stage as a bar on standard error."""
    with progress_bars() as bars:
        yield told_to(bars)


@contextmanager
def shown_bytes() -> Iterator[Told]:
    """Give a function like that of :func:`shown_progress` for what is counted in bytes."""
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


def told_to(bars: Progress) -> Told:
    """Return a function that is told stage, done and total, and gives each stage a bar."""
    stages: dict[str, TaskID] = {}

    def told(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages[stage] = bars.add_task(stage, total=total)
        bars.update(stages[stage], completed=done, total=total)

    return told
