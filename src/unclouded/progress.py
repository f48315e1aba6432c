"""Who hears what a run does while it runs."""

from collections.abc import Callable, Mapping

ProgressCallback = Callable[[str, int, int], None]
"""What progress is told: stage, done, total."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody about progress."""


class TrainingCallback:
    """Hears nothing; those who want to hear override a method."""

    def on_step(self, step: int, terms: Mapping[str, float]) -> None:
        """Hear the loss terms of a step."""

    def on_message(self, sentence: str) -> None:
        """Hear something that a user should know, once."""
