"""Tasks under random SIGKILL: one by one, in processes, as shards and on dask, with manifests equal byte for byte.

Small tasks each write one file and report its hash; one has invalid input, and one kills its worker. The reference runs
undisturbed. Then each runner works while workers that have started a task are killed at random times; a shard that is
itself killed is started again, as by a scheduler. In the end all manifests are compared.

    python proofs/task_kills.py OUT [--tasks 200] [--kills 20] [--ways processes,shards,dask] [--seed 0]
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from killing import words_of

from unclouded.batch.executors import Runner, Shard, dask_client, in_processes, on_dask, run_tasks, serially
from unclouded.batch.tasks import Row, TaskLedger, content_id
from unclouded.errors import InputError
from unclouded.files import whole_file, write_json

WHOLE = Shard()


@dataclass(frozen=True)
class SmallTask:
    """Task that writes one file of a few bytes after some milliseconds of work."""

    number: int
    folder: Path
    deadly: bool = False

    @property
    def name(self) -> str:
        return f"task_{self.number:04d}"

    @property
    def id(self) -> str:
        return content_id("small task", self.number)

    def run(self) -> Sequence[Row]:
        if self.number == 3:
            raise InputError("input 3 is damaged")
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        content = hashlib.sha256(str(self.number).encode()).digest()
        with whole_file(self.folder / f"{self.name}.bin") as partial:
            partial.write_bytes(content)
        return [{"name": self.name, "sha256": hashlib.sha256(content).hexdigest()}]


def main() -> None:
    words = words_of(__doc__, kills=20)
    words.add_argument("--tasks", type=int, default=200)
    words.add_argument("--ways", default="processes,shards,dask")
    words.add_argument("--attempts", type=int, default=25, help="more attempts than random kills may cost one task")
    words.add_argument("--shard", type=Shard.parse, default=None, help=argparse.SUPPRESS)
    options = words.parse_args()
    if options.shard:
        do(options.out, options, serially, options.shard)
        return
    reference = undisturbed(options.out / "serially", options)
    ways = {"processes": by_processes, "shards": by_shards, "dask": by_dask}
    same = True
    for way in options.ways.split(","):
        started = time.perf_counter()
        killed = ways[way](options.out / way, options)
        found = manifest(options.out / way, options)
        same = same and found == reference
        verdict = "the same manifest" if found == reference else "ANOTHER MANIFEST"
        print(f"{way}: {killed} workers killed, {verdict}, {time.perf_counter() - started:.1f} s")
    if not same:
        raise SystemExit(1)


def small_tasks(out: Path, count: int, deadly: bool) -> list[SmallTask]:
    return [SmallTask(number, out / "files", deadly and number == 5) for number in range(count)]


def do(out: Path, options: argparse.Namespace, runner: Runner, shard: Shard = WHOLE) -> None:
    tasks = shard.of(small_tasks(out, options.tasks, deadly=True))
    run_tasks(tasks, TaskLedger(out / "tasks", options.attempts), runner)


def undisturbed(out: Path, options: argparse.Namespace) -> bytes:
    """Return the manifest of an undisturbed run; the deadly task is marked as failed by hand."""
    tasks = small_tasks(out, options.tasks, deadly=False)
    started = time.perf_counter()
    run_tasks([task for task in tasks if task.number != 5], TaskLedger(out / "tasks"), serially)
    print(f"serially: undisturbed, {(len(tasks) - 1) / (time.perf_counter() - started):.0f} tasks a second")
    return manifest(out, options)


def manifest(out: Path, options: argparse.Namespace) -> bytes:
    tasks, folder = small_tasks(out, options.tasks, deadly=True), TaskLedger(out / "tasks", options.attempts)
    write_json(out / "manifest.json", {"rows": folder.rows(tasks)})
    leftovers = [path.name for path in out.rglob("*.partial*")]
    missing = [row["name"] for row in folder.rows(tasks) if not (out / "files" / f"{row['name']}.bin").is_file()]
    if missing or not set(folder.failures(tasks)) <= {"task_0003", "task_0005"}:
        raise SystemExit(f"{out}: {missing[:3]} listed without a file, failed {folder.failures(tasks)}")
    if leftovers:
        print(f"  {len(leftovers)} partial files of killed writers, none of them listed")
    return (out / "manifest.json").read_bytes()


class Killer(threading.Thread):
    """Kills a random worker at random intervals.

    Workers that have started no task yet are left alone: on a busy machine they would be killed at every start, which
    a run rightly reports as an error of the machine.

    Args:
        out: Output folder of the run, with the ledger.
        options: Number of kills, and seed.
        workers: Returns the processes of all workers.
    """

    def __init__(self, out: Path, options: argparse.Namespace, workers: Callable[[], list[int]]) -> None:
        super().__init__(daemon=True)
        self.out, self.left, self.rng, self.workers = out, options.kills, random.Random(options.seed), workers
        self.killed, self.over = 0, threading.Event()

    def run(self) -> None:
        while self.left and not self.over.wait(self.rng.uniform(0.05, 0.5)):
            if victims := sorted(started(self.out).intersection(self.workers())):
                with suppress(ProcessLookupError):
                    os.kill(self.rng.choice(victims), signal.SIGKILL)
                    self.left, self.killed = self.left - 1, self.killed + 1

    def stop(self) -> int:
        self.over.set()
        self.join()
        return self.killed


def started(out: Path) -> set[int]:
    """Return the processes in the ledger of attempts."""
    records = (out / "tasks" / "attempts").glob("*")
    return {int(line.split()[1]) for path in records for line in path.read_text().splitlines()}


def workers_of(parent: int) -> list[int]:
    """Return the processes that run tasks, including grandchildren, without resource trackers."""
    found = []
    for line in subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]:
        pid, ppid, args = line.split(maxsplit=2)
        found.append((int(pid), int(ppid), args))
    family = {parent}
    for _ in range(3):
        family |= {pid for pid, ppid, _ in found if ppid in family}
    return [pid for pid, _, args in found if pid in family - {parent} and "spawn_main" in args]


def by_processes(out: Path, options: argparse.Namespace) -> int:
    killer = Killer(out, options, lambda: workers_of(os.getpid()))
    killer.start()
    do(out, options, in_processes(2))
    return killer.stop()


def by_dask(out: Path, options: argparse.Namespace) -> int:
    with dask_client(None, 2) as client:
        killer = Killer(out, options, lambda: workers_of(os.getpid()))
        killer.start()
        do(out, options, on_dask(client))
        return killer.stop()


def by_shards(out: Path, options: argparse.Namespace) -> int:
    """Run two shards as separate processes; a shard that dies is started again."""

    def start(number: int) -> "subprocess.Popen[bytes]":
        shard = f"--shard={number}/2"
        words = [f"--tasks={options.tasks}", f"--attempts={options.attempts}", shard]
        return subprocess.Popen([sys.executable, __file__, str(out), *words])

    shards = {number: start(number) for number in (1, 2)}
    killer = Killer(out, options, lambda: [one.pid for one in shards.values()])
    killer.start()
    while shards:
        for number, one in list(shards.items()):
            if one.poll() == 0:
                del shards[number]
            elif one.poll() is not None:
                shards[number] = start(number)
        time.sleep(0.02)
    return killer.stop()


if __name__ == "__main__":
    main()
