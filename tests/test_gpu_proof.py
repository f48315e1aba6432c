"""``proofs/gpu.py``: on a CPU it runs in a reduced form, which tests the script."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "proofs" / "gpu.py"


def run(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_without_a_graphics_card_it_ends_with_one_line() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stderr == "no CUDA device on this machine; run this on one, or a reduced form with --device cpu\n"


@pytest.mark.proof
def test_all_checks_hold_between_a_cpu_and_itself() -> None:
    done = run("--device", "cpu")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ok"]
    assert found["terms"]["32-true"] == found["predictions"]["plain"] == 0
    assert found["resume"]["same_bytes"]
