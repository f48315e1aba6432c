"""Callbacks of long work: progress, and the hooks of training."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

ProgressCallback = Callable[[str, int, int], None]
"""Called with (stage, completed, total): the name of the stage, the items done, and all items."""


def no_progress(stage: str, completed: int, total: int) -> None:
    """Ignore progress; the default of ``on_progress``."""


def counted(items: Iterable[T], stage: str, total: int, on_progress: ProgressCallback) -> Iterator[T]:
    """Yield items and report progress after each."""
    for completed, item in enumerate(items, start=1):
        yield item
        on_progress(stage, completed, total)


class TrainingCallback:
    """Hooks of the training loop; the base class ignores them."""

    def on_step(self, step: int, terms: Mapping[str, float]) -> None:
        """Called with the loss terms of a step."""

    def on_message(self, sentence: str) -> None:
        """Called with a message for the user, once per message."""
