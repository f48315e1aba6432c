"""Resumed runs: what may change, what is recorded, and that the record repeats the run."""

import json
from pathlib import Path

import pytest

from unclouded.errors import InputError
from unclouded.models.weights import load_network
from unclouded.progress import TrainingCallback
from unclouded.settings import load_settings
from unclouded.training.checkpoint import RunFolder
from unclouded.training.loop import train
from unclouded.training.sessions import rate_jump, require_resumable, settings_for_resume
from unclouded.training.settings import LoggingSettings, PastSchedule, Schedule, TrainSettings


class Heard(TrainingCallback):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def on_message(self, sentence: str) -> None:
        self.sentences.append(sentence)


def scheduled(settings: TrainSettings, **schedule: object) -> TrainSettings:
    return settings.model_copy(update={"schedule": Schedule.model_validate(schedule)})


def rates(run: RunFolder) -> list[float]:
    return [entry["learning_rate"] / 2e-4 for entry in run.read_log()]


def test_expectation_39_a_run_with_a_changed_schedule_is_repeated_from_its_record_to_the_byte(
    tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    changed, repeated, heard = RunFolder(tmp_path / "changed"), RunFolder(tmp_path / "repeated"), Heard()
    train(scheduled(tiny_settings, epochs_constant=0, epochs_decay=3, max_steps=7), changed)
    longer = scheduled(tiny_settings, epochs_constant=2, epochs_decay=1)
    train(longer, changed, resume=True, callback=heard)
    decay = [0.75] * 5 + [0.5] * 2  # 1 - 1/4 in the first epoch of 5 steps, 1 - 2/4 in the second
    assert rates(changed) == pytest.approx([*decay, *[1.0] * 3, *[0.5] * 5])
    assert "the learning rate jump from 0.0001 (step 7) to 0.0002 (step 8)" in heard.sentences[0]
    assert [entry.get("schedule") for entry in changed.read_log()] == [None] * 7 + [2] * 8

    record = load_settings(TrainSettings, changed.settings)
    assert record.schedule.earlier == (PastSchedule(until_step=7, epochs_constant=0, epochs_decay=3),)
    train(record, repeated)
    assert repeated.weights.read_bytes() == changed.weights.read_bytes()
    assert repeated.state.read_bytes() == changed.state.read_bytes()
    assert [{**one, "seconds": 0} for one in repeated.read_log()] == [
        {**one, "seconds": 0} for one in changed.read_log()
    ]
    told = json.loads(load_network(changed.weights).training["settings"])["schedule"]["earlier"]
    assert told == [{"until_step": 7, "epochs_constant": 0, "epochs_decay": 3}]

    first, second = json.loads(changed.provenance.read_text())["sessions"]
    assert (first["first_step"], first["settings"]["schedule"]["epochs_decay"]) == (1, 3)
    assert (second["first_step"], second["settings"]["schedule"]["epochs_decay"]) == (8, 1)
    assert second["warning"] == heard.sentences[0]


def test_a_repeated_run_that_is_killed_before_the_change_goes_on_to_the_same_bytes(
    tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    schedule = {"epochs_constant": 1, "earlier": [{"until_step": 3, "epochs_constant": 0, "epochs_decay": 9}]}
    straight, broken = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "broken")
    train(scheduled(tiny_settings, **schedule, epochs_decay=0), straight)
    for steps in (2, 4, 5):
        train(scheduled(tiny_settings, **schedule, epochs_decay=0, max_steps=steps), broken, resume=steps > 2)
    assert broken.state.read_bytes() == straight.state.read_bytes()
    assert load_settings(TrainSettings, broken.settings).schedule.earlier == straight.read_settings().schedule.earlier


def test_a_longer_run_at_an_unchanged_rate_is_the_run_that_was_as_long_from_the_start(
    tiny_settings: TrainSettings, tmp_path: Path
) -> None:
    straight, longer, heard = RunFolder(tmp_path / "straight"), RunFolder(tmp_path / "longer"), Heard()
    train(scheduled(tiny_settings, epochs_constant=2, epochs_decay=0), straight)
    train(scheduled(tiny_settings, epochs_constant=1, epochs_decay=0), longer)
    train(scheduled(tiny_settings, epochs_constant=2, epochs_decay=0), longer, resume=True, callback=heard)
    assert longer.weights.read_bytes() == straight.weights.read_bytes()
    assert longer.settings.read_bytes() == straight.settings.read_bytes()
    assert not any("jump" in sentence for sentence in heard.sentences)


def test_the_record_contains_the_schedules_that_were_in_force(tiny_settings: TrainSettings) -> None:
    one, two, three = ({"epochs_constant": n, "epochs_decay": 5} for n in (0, 1, 2))
    first = scheduled(tiny_settings, **one)
    second = settings_for_resume(first, scheduled(tiny_settings, **two), 10, 5)
    assert [past.until_step for past in second.schedule.earlier] == [10]
    third = settings_for_resume(second, scheduled(tiny_settings, **three), 10, 5)  # the second took no step
    assert [(past.until_step, past.epochs_constant) for past in third.schedule.earlier] == [(10, 0)]
    back = settings_for_resume(second, first, 10, 5)
    assert back.schedule.earlier == ()
    fourth = settings_for_resume(third, scheduled(tiny_settings, **two), 12, 5)
    assert [(past.until_step, past.epochs_constant) for past in fourth.schedule.earlier] == [(10, 0), (12, 2)]
    assert settings_for_resume(fourth, fourth, 11, 5).schedule == fourth.schedule


def test_a_rate_jumps_where_a_finished_decay_begins_anew_and_not_where_nothing_changes() -> None:
    before = Schedule(epochs_constant=1, epochs_decay=4)
    after = Schedule(epochs_constant=10, epochs_decay=4)
    assert "from 4e-05 (step 25) to 0.0002 (step 26)" in rate_jump(before, after, 25, 5)
    assert rate_jump(before, before, 10, 5) == ""
    assert rate_jump(after, Schedule(epochs_constant=20), 30, 5) == ""
    assert rate_jump(before, after, 0, 5) == ""


def test_what_cannot_change_is_refused_with_a_list_and_what_can_is_listed(tiny_settings: TrainSettings) -> None:
    network = tiny_settings.network.model_copy(update={"width": 3, "bands": ("B08",)})
    wanted = tiny_settings.model_copy(update={"network": network, "objective": "residual", "seed": 4})
    expected = (
        r"run was started with other settings \(network.bands was \['B04', 'B03', 'B02'\], now \['B08'\]; "
        r"network.width was 2, now 3; objective was 'cycle', now 'residual'; seed was 0, now 4\); .*; settings "
        r"that may change are schedule.max_steps, schedule.epochs_constant, schedule.epochs_decay, logging.\*, "
        r"device.workers"
    )
    with pytest.raises(InputError, match=expected):
        require_resumable("run", tiny_settings, wanted)
    free = tiny_settings.model_copy(update={"logging": LoggingSettings(), "schedule": Schedule(max_steps=3)})
    require_resumable("run", tiny_settings, free)
    painted = TrainSettings.model_validate(tiny_settings.model_dump() | {"synthetic": {"mode": "perlin"}})
    with pytest.raises(InputError, match=r"synthetic.mode was None, now 'perlin'"):
        require_resumable("run", tiny_settings, painted)


def test_a_run_that_is_done_keeps_its_record(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run, heard = RunFolder(tmp_path), Heard()
    train(scheduled(tiny_settings, max_steps=3), run)
    before = run.settings.read_bytes(), run.provenance.read_bytes()
    train(scheduled(tiny_settings, max_steps=2), run, resume=True, callback=heard)
    assert heard.sentences == ["nothing left to do: 3 of 2 steps were taken"]
    assert (run.settings.read_bytes(), run.provenance.read_bytes()) == before


def test_earlier_schedules_out_of_order_are_refused() -> None:
    past = [{"until_step": step, "epochs_constant": 1, "epochs_decay": 1} for step in (5, 5)]
    with pytest.raises(ValueError, match=r"in the order of their until_step, found \[5, 5\]"):
        Schedule.model_validate({"earlier": past})
