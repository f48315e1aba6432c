"""Callbacks of long work: progress, and the hooks of training."""

from collections.abc import Callable, Mapping

ProgressCallback = Callable[[str, int, int], None]
"""Called with (stage, completed, total): the name of the stage, the items done, and all items."""


def no_progress(stage: str, completed: int, total: int) -> None:
    """Ignore progress; the default of ``on_progress``."""


class TrainingCallback:
    """Hooks of the training loop; the base class ignores them."""

    def on_step(self, step: int, terms: Mapping[str, float]) -> None:
        """Called with the loss terms of a step."""

    def on_message(self, sentence: str) -> None:
        """Called with a message for the user, once per message."""
