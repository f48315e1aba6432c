import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unclouded.errors import BusyError
from unclouded.locks import held

HOLD = "import os, sys, pathlib; from unclouded.locks import held\nwith held(pathlib.Path(sys.argv[1])):\n    "


def test_fault_34_the_lock_of_a_dead_process_is_released(tmp_path: Path) -> None:
    (tmp_path / ".half.1-a.partial.tif").write_bytes(b"half")
    holder = HOLD + "print('held', flush=True); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", holder, str(tmp_path)], check=False, capture_output=True)
    with held(tmp_path):
        assert (tmp_path / "lock.owner").read_text().startswith(f"process {os.getpid()} on ")
        assert not list(tmp_path.glob(".*partial*"))


def test_fault_34_one_of_eight_processes_gets_the_lock(tmp_path: Path) -> None:
    holder = HOLD + "print('held', flush=True); sys.stdin.read()"
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", holder, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    while len(running := [one for one in contenders if one.poll() is None]) > 1:
        time.sleep(0.01)
    (winner,) = running
    errors = [one.communicate()[1].splitlines()[-1] for one in contenders if one is not winner]
    assert winner.communicate("")[0] == "held\n"
    assert [text for text in errors if "BusyError" not in text or "is being written by" not in text] == []


@pytest.mark.parametrize("name", ["", None], ids=["half written", "not yet written"])
def test_a_holder_without_a_name_is_another_process(tmp_path: Path, name: str | None) -> None:
    with held(tmp_path):
        (tmp_path / "lock.owner").unlink()
        if name is not None:
            (tmp_path / "lock.owner").write_text(name)
        with pytest.raises(BusyError, match="is being written by another process; wait for it"), held(tmp_path):
            pytest.fail("two hold one folder")


def test_only_one_process_locks_a_folder(tmp_path: Path) -> None:
    second = held(tmp_path)
    with held(tmp_path), pytest.raises(BusyError, match="is being written by process"):
        second.__enter__()
