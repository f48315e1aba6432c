import os
import subprocess
import sys

import pytest

CODE = """
import os, subprocess, sys, unclouded
print(os.environ.get("OMP_WAIT_POLICY", "unset"))
child = "import os; print(os.environ.get('OMP_WAIT_POLICY', 'unset'))"
print(subprocess.run([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True).stdout)
"""


@pytest.mark.parametrize(
    ("given", "used"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")],
)
def test_waiting_threads_leave_the_processor_to_others_unless_the_user_says_otherwise(
    given: dict[str, str], used: str
) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    run = subprocess.run([sys.executable, "-c", CODE], env=clean | given, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [used, used]  # child processes, too
