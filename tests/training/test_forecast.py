from pathlib import Path

import pytest

from unclouded.training.forecast import duration_text, forecast, predicted_hours, total_steps
from unclouded.training.settings import Schedule, TrainSettings

PAPER = TrainSettings(patches=Path("data"))


def test_the_papers_recipe_has_750_000_steps() -> None:
    assert total_steps(PAPER, 10_000) == 750_000


def test_at_3_6_seconds_a_step_the_papers_recipe_takes_750_hours() -> None:
    assert predicted_hours(3.6, PAPER) == pytest.approx(750)


def test_steps_already_taken_are_not_predicted_again() -> None:
    assert predicted_hours(3.6, PAPER, done=749_000) == pytest.approx(1)
    assert predicted_hours(3.6, PAPER, done=750_001) == 0


def test_the_last_batch_of_an_epoch_may_be_smaller_and_a_limit_of_steps_holds() -> None:
    schedule = Schedule(epochs_constant=2, epochs_decay=0, batch=4)
    assert total_steps(PAPER.model_copy(update={"schedule": schedule}), 9) == 6
    limited = schedule.model_copy(update={"max_steps": 5})
    assert total_steps(PAPER.model_copy(update={"schedule": limited}), 9) == 5


def test_without_a_number_of_patches_there_is_no_prediction() -> None:
    with pytest.raises(ValueError, match="give patches"):
        predicted_hours(1.0, PAPER.model_copy(update={"subset": None}))


def test_the_forecast_contains_duration_steps_and_rate_without_the_first_step() -> None:
    line = forecast([60.0, 2.0, 2.5, 1.5], PAPER, 10_000, done=4)
    assert line == "about 17.4 days for 749,996 steps on this machine, at 2.00 s a step"  # 416.7 h
    assert forecast([2.0], PAPER, 24).startswith("about 1.0 hours for 1,800 steps")


@pytest.mark.parametrize(
    ("hours", "words"), [(0.001, "a minute"), (0.5, "30 minutes"), (12, "12.0 hours"), (60, "2.5 days")]
)
def test_durations_come_in_the_unit_a_person_would_choose(hours: float, words: str) -> None:
    assert duration_text(hours) == words
