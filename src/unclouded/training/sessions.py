"""Sessions of a resumed run: settings that may change, and the record that repeats all of them."""

from collections.abc import Iterator
from typing import NamedTuple

from unclouded.errors import InputError
from unclouded.settings import flat
from unclouded.training.settings import PastSchedule, Schedule, TrainSettings

MAY_CHANGE = (
    "schedule.max_steps",
    "schedule.epochs_constant",
    "schedule.epochs_decay",
    "logging.*",
    "device.workers",
)
"""Settings that may change when a run is resumed: they do not affect the steps taken so far."""
_FREE = ("schedule.earlier", *(key.removesuffix("*") for key in MAY_CHANGE))


def require_resumable(name: str, before: TrainSettings, after: TrainSettings) -> None:
    """Raise if a run would be resumed with settings that affect the steps taken so far.

    Args:
        name: Name of the run in the message.
        before: Settings of the run.
        after: Settings to continue with.

    Raises:
        InputError: Names every setting that differs, and those that may change.
    """
    old, new = (flat(one.model_dump(mode="json")) for one in (before, after))
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key) and not key.startswith(_FREE))
    if keys:
        listed = "; ".join(f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in keys)
        raise InputError(
            f"{name} was started with other settings ({listed}); resume with the old ones or start anew in another"
            f" folder; settings that may change are {', '.join(MAY_CHANGE)}"
        )


class _Period(NamedTuple):
    """Steps that share a schedule: after ``start``, up to ``end``; None for all that follow."""

    start: int
    end: int | None
    epochs: tuple[int, int]


def settings_for_resume(before: TrainSettings, after: TrainSettings, step: int, steps_per_epoch: int) -> TrainSettings:
    """Return settings that continue a run from a step and record its earlier schedules.

    The schedule of the result lists the earlier schedules of the run, so that a new run with these settings follows
    them, too. Those that gave the same rates as the next one are left out.

    Args:
        before: Settings of the run so far.
        after: Settings to continue with.
        step: Steps taken so far.
        steps_per_epoch: Steps of an epoch.
    """
    past = [one._replace(end=min(step, one.end or step)) for one in _periods(before.schedule) if one.start < step]
    coming = [
        one._replace(start=max(step, one.start)) for one in _periods(after.schedule) if (one.end or step + 1) > step
    ]
    kept: list[_Period] = []
    for one in reversed(past + coming):
        if kept and _same_rates(one, kept[0].epochs, steps_per_epoch):
            kept[0] = kept[0]._replace(start=one.start)
        else:
            kept.insert(0, one)
    earlier = tuple(
        PastSchedule(until_step=one.end, epochs_constant=one.epochs[0], epochs_decay=one.epochs[1])
        for one in kept
        if one.end is not None
    )
    return after.model_copy(update={"schedule": after.schedule.model_copy(update={"earlier": earlier})})


def _periods(schedule: Schedule) -> Iterator[_Period]:
    start = 0
    for one in schedule.earlier:
        yield _Period(start, one.until_step, (one.epochs_constant, one.epochs_decay))
        start = one.until_step
    yield _Period(start, None, (schedule.epochs_constant, schedule.epochs_decay))


def _same_rates(period: _Period, epochs: tuple[int, int], steps_per_epoch: int) -> bool:
    """Return whether another schedule has the same rate at each step of a period."""
    if period.epochs == epochs or period.end is None:
        return period.epochs == epochs
    touched = range(period.start // steps_per_epoch, (period.end - 1) // steps_per_epoch + 1)
    return all(_factor(period.epochs, epoch) == _factor(epochs, epoch) for epoch in touched)


def _factor(epochs: tuple[int, int], epoch: int) -> float:
    return Schedule(epochs_constant=epochs[0], epochs_decay=epochs[1]).lr_factor(epoch)


def rate_jump(before: Schedule, after: Schedule, step: int, steps_per_epoch: int) -> str:
    """Return a warning if a changed schedule makes the learning rate jump after a step; else an empty string.

    Args:
        before: Schedule of the run so far.
        after: Schedule to continue with.
        step: Steps taken so far.
        steps_per_epoch: Steps of an epoch.
    """
    if step == 0:
        return ""
    epoch = step // steps_per_epoch
    old = before.learning_rate * before.lr_factor_at(step, (step - 1) // steps_per_epoch)
    new = after.learning_rate * after.lr_factor_at(step + 1, epoch)
    (in_force,) = (one for one in _periods(before) if one.start < step <= (one.end or step))
    planned = before.learning_rate * _factor(in_force.epochs, epoch)
    if new == old or (new == planned and epoch < sum(in_force.epochs)):
        return ""
    return (
        f"the changed schedule makes the learning rate jump from {old:.3g} (step {step:,}) to {new:.3g}"
        f" (step {step + 1:,}); the run records both schedules"
    )
