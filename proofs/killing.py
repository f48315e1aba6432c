"""Commands killed at random times: shared code of the proofs under SIGKILL."""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


def words_of(about: str | None, kills: int) -> argparse.ArgumentParser:
    """Return the parser of the common arguments: output folder, number of kills, and seed."""
    words = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--kills", type=int, default=kills)
    words.add_argument("--seed", type=int, default=0)
    return words


@dataclass(frozen=True)
class Command:
    """Run of ``unclouded`` in a separate process.

    Attributes:
        words: Of its command line.
        status: Expected exit status without a kill.
    """

    words: tuple[str | Path, ...]
    status: int = 0

    def start(self) -> "subprocess.Popen[bytes]":
        line = [sys.executable, "-m", "unclouded", *map(str, self.words)]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def to_its_end(self) -> float:
        """Run the command to its end and return the seconds it took."""
        began = time.perf_counter()
        if (status := self.start().wait()) != self.status:
            raise SystemExit(f"{' '.join(map(str, self.words))} ended with {status}, expected {self.status}")
        return time.perf_counter() - began


def killed_at_random(
    start: "Callable[[], subprocess.Popen[bytes]]", seconds: float, kills: int, rng: random.Random
) -> Iterator[float | None]:
    """Start and kill a command repeatedly; yield the time of each kill, or None for a run that ended before it.

    Args:
        start: Starts the command.
        seconds: Upper limit of the time of a kill after the start, drawn uniformly.
        kills: Number of kills.
        rng: Random generator of the times.
    """
    while kills:
        process, moment = start(), rng.uniform(0, seconds)
        try:
            process.wait(moment)
            yield None
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills -= 1
            yield moment
