"""How long a run will take on this machine, from a few measured steps: said before the first epoch."""

from collections.abc import Sequence
from statistics import median

from unclouded.training.settings import TrainSettings

WARM_UP_STEPS = 4
"""Steps worth measuring; the first of them compiles and allocates, and is left out."""
_MINUTE_H, _DAY_H = 1 / 60, 24


def total_steps(settings: TrainSettings, patches: int) -> int:
    """Return the steps of a whole run over so many patches; the last batch of an epoch may be smaller."""
    schedule = settings.schedule
    steps = settings.steps_per_epoch(patches) * schedule.epochs
    return min(steps, schedule.max_steps or steps)


def predicted_hours(step_seconds: float, settings: TrainSettings, patches: int | None = None, done: int = 0) -> float:
    """Return the hours that are left of a run.

    Args:
        step_seconds: Seconds a step, measured.
        settings: Of the run.
        patches: How many there are; those of ``settings.subset`` if omitted.
        done: Steps already taken.

    Raises:
        ValueError: The number of patches is neither given nor in the settings.
    """
    count = settings.subset if patches is None else patches
    if count is None:
        raise ValueError("the settings do not limit the patches (subset is None); say how many there are")
    return max(0, total_steps(settings, count) - done) * step_seconds / 3600


def forecast(warm_up_seconds: Sequence[float], settings: TrainSettings, patches: int, done: int = 0) -> str:
    """Say in one line how long the rest of a run will take.

    Args:
        warm_up_seconds: Of the first steps, at least one; the first is left out where there are more.
        settings: Of the run.
        patches: How many there are.
        done: Steps already taken.
    """
    seconds = median(warm_up_seconds[1:] or warm_up_seconds)
    left = max(0, total_steps(settings, patches) - done)
    hours = predicted_hours(seconds, settings, patches, done)
    return f"about {duration_text(hours)} for {left:,} steps on this machine, at {seconds:.2f} s a step"


def duration_text(hours: float) -> str:
    """Return a duration in the unit a person would choose.

    Example:
        >>> in_words(0.5), in_words(12), in_words(60)
        ('30 minutes', '12.0 hours', '2.5 days')
    """
    if hours < _MINUTE_H:
        return "a minute"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 2 * _DAY_H else f"{hours / _DAY_H:.1f} days"
