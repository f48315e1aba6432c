"""Messages of the command line; the entry point runs in this process."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.progress import Progress

from unclouded.cli.logging import command_logging, configure_logging, error_console, logger
from unclouded.cli.progress import progress_bar
from unclouded.errors import InputError


@pytest.fixture
def logged() -> Iterator[None]:
    """A command runs, and its messages are shown."""
    with command_logging():
        yield


def log_everything() -> None:
    logger.debug("detail")
    logging.getLogger("unclouded.prediction").info("step")
    logger.warning("odd [bold]image[/] 100 %s")
    logger.error("lost")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["step", "note: odd [bold]image[/] 100 %s", "error: lost"]),
        ({"verbose": True}, ["unclouded: detail", "step", "note: odd [bold]image[/] 100 %s", "error: lost"]),
        ({"quiet": True}, ["note: odd [bold]image[/] 100 %s", "error: lost"]),
    ],
)
def test_the_options_choose_the_messages(
    options: dict[str, bool], expected: list[str], logged: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(**options)
    log_everything()
    assert capsys.readouterr().err.splitlines() == expected


def test_a_library_user_sees_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    with command_logging():
        pass
    log_everything()
    assert capsys.readouterr() == ("", "")


def test_long_messages_stay_one_line_and_control_characters_are_escaped(
    logged: None, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("\x1b[31m" + "x" * 500)
    assert capsys.readouterr().err == "\\x1b[31m" + "x" * 500 + "\n"


def test_quiet_hides_progress_bars(logged: None, capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, shown in ((True, False), (False, True)):
        configure_logging(quiet=quiet)
        with progress_bar() as on_progress:
            on_progress("stage", 1, 2)
        assert ("stage" in capsys.readouterr().err) is shown


def test_messages_and_bars_share_one_console(logged: None) -> None:
    with progress_bar():
        assert error_console()._live_stack  # a message is printed above the live display of this console
    assert isinstance(Progress(console=error_console()).console, type(error_console()))


def test_a_log_file_has_all_messages_and_the_line_that_ends_the_command(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    for _ in range(2):  # appended
        assert unclouded("--log-file", log, "models", tmp_path / "gone") == 2
    assert capsys.readouterr().err.count("gone is not ") == 2  # once per run
    lines = log.read_text().splitlines()
    assert len(lines) == 2 and all(" ERROR   unclouded: " in line and "gone is not" in line for line in lines)
    assert not [one for one in logger.handlers if isinstance(one, logging.FileHandler)]


def test_a_log_file_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, unclouded: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert unclouded("--log-file", tmp_path / "no" / "log.txt", "models") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("unclouded: ") and "log.txt" in line


def test_a_log_file_on_a_full_disk_is_given_up_with_a_note(
    mount_disk: Callable[[int], Path], logged: None, capsys: pytest.CaptureFixture[str]
) -> None:
    log = mount_disk(64) / "log.txt"
    configure_logging(log_file=log)
    for _ in range(200):
        logger.info("x" * 1000)
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("x")]
    assert lines == [f"note: {log} cannot be written; further messages are not logged"]


def test_verbose_and_quiet_exclude_each_other(logged: None) -> None:
    with pytest.raises(InputError, match="got both"):
        configure_logging(verbose=True, quiet=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("unclouded pre", {"predict", "predict-patches"}),
        ("unclouded data che", {"check"}),
        ("unclouded predict --resa", {"--resampling"}),
        ("unclouded predict --resampling b", {"bilinear"}),
    ],
)
def test_commands_options_and_values_are_completed_in_the_shell(words: str, expected: set[str]) -> None:
    environment = {
        "_UNCLOUDED_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = "import sys; sys.argv = ['unclouded']; from unclouded.cli.main import run; run()"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
    )
    assert set(ended.stdout.split()) == expected, ended.stderr
