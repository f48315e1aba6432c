from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.training.overfit import Verdict, overfit_settings, verdict
from unclouded.training.run import RunFolder
from unclouded.training.settings import TrainSettings


def test_one_steps_patches_are_learnt_as_pairs_at_the_full_rate(tiny_settings: TrainSettings) -> None:
    batches = tiny_settings.schedule.model_copy(update={"batch": 2, "accumulate": 2})
    settings = overfit_settings(tiny_settings.model_copy(update={"schedule": batches}))
    assert (settings.subset, settings.paired_percent, settings.schedule.max_steps) == (4, 100, 200)
    assert settings.schedule.rate_factor(199) == 1.0
    assert settings.journal.log_every == 1


def test_steps_may_be_chosen(tiny_settings: TrainSettings) -> None:
    short = tiny_settings.schedule.model_copy(update={"max_steps": 7})
    assert overfit_settings(tiny_settings.model_copy(update={"schedule": short})).schedule.epochs == 7


def test_a_difference_that_was_halved_was_learnt() -> None:
    assert Verdict(0.4, 0.2, 100).learns
    assert "from 0.4000 to 0.2000 in 100 steps: this set-up can learn" in str(Verdict(0.4, 0.2, 100))
    assert not Verdict(0.4, 0.21, 100).learns
    assert "expected at most half" in str(Verdict(0.4, 0.21, 100))


def test_the_last_ten_steps_are_judged_by_their_median(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step, pixel in enumerate([0.5, 0.4, *[0.1] * 9, 0.9], start=1):
        run.write_log({"step": step, "pixel": pixel})
    assert verdict(run) == Verdict(0.5, 0.1, 12)


def test_a_log_without_pairs_has_no_verdict(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_log({"step": 1, "cycle": 0.5})
    with pytest.raises(InputError, match="has no pixel term"):
        verdict(run)
