"""The loss terms of a run on the terminal, live: now, of late, and what they weigh."""

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.table import Table

from unclouded.cli.progress import Told, progress_bars, told_to
from unclouded.training.listener import Listener

LATELY = 100
"""Steps that the second column is a mean of."""


class TermsTable(Listener):
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

    def terms(self, step: int, terms: Mapping[str, float]) -> None:
        """Hear the loss terms of a step."""
        self.step = step
        self._heard += 1
        for name, value in terms.items():
            if math.isfinite(value):
                self._seen.setdefault(name, deque(maxlen=LATELY)).append(value)
                self._times[name] += 1

    def said(self, sentence: str) -> None:
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
def shown_training(weights: Mapping[str, float]) -> Iterator[tuple[Told, Listener]]:
    """Give who is told progress and who hears terms, and show both on standard error."""
    bars, heard = progress_bars(), TermsTable(weights)

    def shown() -> Group:
        return Group(*([heard.table()] if heard.step else []), *heard.sentences, bars)

    try:
        with Live(get_renderable=shown, console=bars.console, refresh_per_second=2):
            yield told_to(bars), heard
    finally:
        if not bars.console.is_interactive:
            bars.console.print()  # in a file the last line has no end yet, and an error begins with one of its own
