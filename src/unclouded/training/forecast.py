"""Forecast of the duration of a run from its first steps."""

from collections.abc import Sequence
from statistics import median

from unclouded.training.settings import TrainSettings

WARM_UP_STEPS = 4
"""Number of measured steps; the first compiles and allocates, and is excluded."""
_MINUTE_H, _DAY_H = 1 / 60, 24


def total_steps(settings: TrainSettings, patches: int) -> int:
    """Return the number of steps of a run; the last batch of an epoch may be smaller."""
    schedule = settings.schedule
    steps = settings.steps_per_epoch(patches) * schedule.epochs
    return min(steps, schedule.max_steps or steps)


def predicted_hours(step_seconds: float, settings: TrainSettings, patches: int | None = None, done: int = 0) -> float:
    """Return the remaining hours of a run.

    Args:
        step_seconds: Measured seconds per step.
        settings: Training settings.
        patches: Number of patches; ``settings.subset`` if omitted.
        done: Number of steps taken.

    Raises:
        ValueError: The number of patches is neither given nor in the settings.
    """
    count = settings.subset if patches is None else patches
    if count is None:
        raise ValueError("the settings do not limit the patches (subset is None); give patches")
    return max(0, total_steps(settings, count) - done) * step_seconds / 3600


def forecast(warm_up_seconds: Sequence[float], settings: TrainSettings, patches: int, done: int = 0) -> str:
    """Return one line with the remaining duration of a run.

    Args:
        warm_up_seconds: Seconds of the first steps, at least one; the first is excluded if there are more.
        settings: Training settings.
        patches: Number of patches.
        done: Number of steps taken.
    """
    seconds = median(warm_up_seconds[1:] or warm_up_seconds)
    left = max(0, total_steps(settings, patches) - done)
    hours = predicted_hours(seconds, settings, patches, done)
    return f"about {duration_text(hours)} for {left:,} steps on this machine, at {seconds:.2f} s a step"


def duration_text(hours: float) -> str:
    """Return a duration in minutes, hours or days, whichever suits.

    Example:
        >>> duration_text(0.5), duration_text(12), duration_text(60)
        ('30 minutes', '12.0 hours', '2.5 days')
    """
    if hours < _MINUTE_H:
        return "a minute"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 2 * _DAY_H else f"{hours / _DAY_H:.1f} days"
