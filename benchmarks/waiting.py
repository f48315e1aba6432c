"""Processor time of small convolutions on two threads, by how threads of OpenMP wait, quiet and on a busy processor.

Ten convolutions of 32 channels on 64 x 64 px, in separate processes that take turns; the busy processor is shared with
a process that never rests. The ratio is that of OpenMP's default and ``OMP_WAIT_POLICY=PASSIVE``, which unclouded sets,
on the busy processor.

    python benchmarks/waiting.py [--passes 50]      the last line is one JSON object
"""

import argparse
import json
import os
import subprocess
import sys

from default_scene import busy_process, no_process
from rich.console import Console

WAYS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads, default": {"OMP_NUM_THREADS": "2"},
    "two threads, GOMP_SPINCOUNT=1000": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "1000"},
    "two threads, OMP_WAIT_POLICY=PASSIVE": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
}
CODE = """
import sys, time, torch
layers = torch.nn.Sequential(*(torch.nn.Conv2d(32, 32, 3, padding=1) for _ in range(10)))
image, passes = torch.rand(1, 32, 64, 64), int(sys.argv[1])
with torch.no_grad():
    layers(image)
    started = time.process_time()
    for _ in range(passes):
        layers(image)
    print(1e3 * (time.process_time() - started) / passes)
"""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--passes", type=int, default=50)
    passes = words.parse_args().passes
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for others in (no_process, busy_process):
        for way, variables in WAYS.items():
            with others():
                found[way].append(round(milliseconds(passes, variables), 1))
    for way, (quiet, busy) in found.items():
        Console().print(
            f"{way:40} {quiet:8.1f} ms of processor time, beside a busy process {busy:8.1f}", highlight=False
        )
    ratio = found["two threads, default"][1] / found["two threads, OMP_WAIT_POLICY=PASSIVE"][1]
    result = {"name": "waiting", "ratio": round(ratio, 2), "goal": 1, "runs": 1, "threads": 2}
    print(json.dumps({**result, "processor_ms": found, "load": [round(one, 1) for one in os.getloadavg()]}))


def milliseconds(passes: int, variables: dict[str, str]) -> float:
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, "-c", CODE, str(passes)]
    return float(subprocess.run(command, env=clean | variables, check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
