import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unclouded.training.callbacks import MetricLogger, mean_terms
from unclouded.training.checkpoint import RunFolder
from unclouded.training.distributed import launch
from unclouded.training.settings import Device, LoggingSettings, TrainSettings

ALONE = launch(Device(accelerator="cpu"))


def test_terms_are_averaged_by_the_patches_of_their_batches() -> None:
    assert mean_terms([(3, {"cycle": 1.0}), (1, {"cycle": 5.0})]) == {"cycle": 2.0}


def test_a_term_that_one_batch_lacks_is_that_of_the_other() -> None:
    assert mean_terms([(1, {"cycle": 1.0}), (1, {"cycle": 3.0, "pixel": 0.5})]) == {"cycle": 2.0, "pixel": 0.5}


def test_batches_without_a_number_do_not_count() -> None:
    assert mean_terms([(1, {"clear_residual": math.nan}), (1, {"clear_residual": 0.25})]) == {"clear_residual": 0.25}
    assert math.isnan(mean_terms([(1, {"clear_residual": math.nan})])["clear_residual"])


def test_a_single_batch_is_its_own_mean() -> None:
    assert mean_terms([(1, {"cycle": 0.1 + 0.2})])["cycle"] == pytest.approx(0.3)


def written(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard will show."""
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def logged_every(steps: int, settings: TrainSettings) -> TrainSettings:
    return settings.model_copy(update={"logging": LoggingSettings(log_every=steps)})


def test_every_second_step_is_a_line_and_a_point(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    book = MetricLogger(run, logged_every(2, tiny_settings), ALONE, 0)
    for step in range(1, 5):
        book.record(step, 0, 2e-4, [(1, {"cycle": step / 2, "clear_residual": math.nan})], 0.12345)
    book.validated(4, {"cloudy_mae": 0.25})
    line = {"epoch": 0, "learning_rate": 2e-4, "clear_residual": None, "seconds": 0.123}
    assert run.read_log() == [line | {"step": 2, "cycle": 1.0}, line | {"step": 4, "cycle": 2.0}]
    assert run.read_validation() == [{"step": 4, "cloudy_mae": 0.25}]
    shown = written(run)
    assert shown["cycle"] == [(2, 1.0), (4, 2.0)]
    assert shown["validation/cloudy_mae"] == [(4, 0.25)]


def test_log_lines_after_the_last_checkpoint_are_discarded(tiny_settings: TrainSettings, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step, value in ((0, 1.0), (1, 5.0)):  # the second one goes on after step 1
        book = MetricLogger(run, logged_every(1, tiny_settings), ALONE, step)
        for one in range(step + 1, 3):
            book.record(one, 0, 2e-4, [(1, {"cycle": value})], 0.1)
    assert [(entry["step"], entry["cycle"]) for entry in run.read_log()] == [(1, 1.0), (2, 5.0)]
    assert written(run)["cycle"] == [(1, 1.0), (2, 5.0)]
