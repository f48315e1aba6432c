"""Tests of the names of training settings."""

from pathlib import Path

from unclouded.training.keys import with_present_names
from unclouded.training.settings import train_settings


def test_keys_of_earlier_files_are_read_under_their_present_names(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("patches = '.'\n[journal]\nlog_every = 3\n[schedule]\nmoving_average = 0.5\n")
    settings = train_settings(str(tmp_path / "run.toml"), ["journal.keep_every=7"])
    assert (settings.logging.log_every, settings.logging.keep_every, settings.schedule.ema_decay) == (3, 7, 0.5)
    assert with_present_names({"journal": {"log_every": 1}, "logging": {"log_every": 2}}) == {
        "logging": {"log_every": 2}
    }
