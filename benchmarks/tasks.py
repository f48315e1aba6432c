"""Tasks per second, and the gain of a second process: the overhead of the task ledger and the runners.

Tasks without work show the overhead of a task: a lock, two records synced to disk, and the transfer to a worker. Tasks
of 0.2 s of processor time show how work is shared. Rates are measured in wall-clock time from the first to the last
result, so that the start of workers does not count; the runners take turns. The ratio is that of the rates of busy
tasks in two processes and in one.

    python benchmarks/tasks.py [--runs 3] [--tasks 200] [--busy 20] [--dask]      the last line is one JSON object
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console

from unclouded.batch.executors import Runner, dask_client, in_processes, on_dask, run_tasks, serially
from unclouded.batch.tasks import Row, TaskLedger, content_id

GOAL = 1.8
BUSY_S = 0.2


@dataclass(frozen=True)
class Busy:
    """Task that spends processor time and reports a number."""

    number: int
    seconds: float

    @property
    def name(self) -> str:
        return f"task_{self.number:05d}"

    @property
    def id(self) -> str:
        return content_id("busy", self.number, self.seconds)

    def run(self) -> Sequence[Row]:
        began = time.process_time()
        while time.process_time() - began < self.seconds:
            pass
        return [{"number": self.number}]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--tasks", type=int, default=200)
    words.add_argument("--busy", type=int, default=20)
    words.add_argument("--dask", action="store_true", help="measure a dask cluster of two workers, too")
    options = words.parse_args()
    with ExitStack() as stack:
        ways: dict[str, Runner] = {"serially": serially, "1 process": in_processes(1), "2 processes": in_processes(2)}
        if options.dask:
            ways["dask, 2 workers"] = on_dask(stack.enter_context(dask_client(None, 2)))
        kinds = {"trivial": (options.tasks, 0.0), "busy": (options.busy, BUSY_S)}
        found: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in ways} for kind in kinds}
        for _ in range(options.runs):
            for kind, (count, seconds) in kinds.items():
                for way, runner in ways.items():
                    found[kind][way].append(tasks_a_second(runner, count, seconds))
    rates = {kind: {way: round(median(runs), 2) for way, runs in by_way.items()} for kind, by_way in found.items()}
    for way in ways:
        shown = f"{rates['trivial'][way]:8.1f} trivial tasks a second, {rates['busy'][way]:6.2f} of {BUSY_S} s"
        Console().print(f"{way:16} {shown}", highlight=False)
    ratio = round(rates["busy"]["2 processes"] / rates["busy"]["1 process"], 2)
    result = {"name": "tasks", "ratio": ratio, "goal": GOAL, "runs": options.runs, "threads": 2}
    print(json.dumps({**result, "tasks_a_second": rates, "busy_s": BUSY_S}))


def tasks_a_second(runner: Runner, count: int, seconds: float) -> float:
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = [Busy(number, seconds) for number in range(count)]
        run_tasks(tasks, TaskLedger(Path(folder)), runner, lambda *_: moments.append(time.perf_counter()))
    return (count - 1) / (moments[count - 1] - moments[0])


if __name__ == "__main__":
    main()
