"""A command that is killed at random moments: what the proofs of kills share."""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


def words_of(about: str | None, kills: int) -> argparse.ArgumentParser:
    """What every proof of kills may be told: where, how many kills, and the seed of their moments."""
    words = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("out", type=Path)
    words.add_argument("--kills", type=int, default=kills)
    words.add_argument("--seed", type=int, default=0)
    return words


@dataclass(frozen=True)
class Command:
    """``unclouded`` with some words, in a process of its own.

    Attributes:
        words: Of its command line.
        status: That it ends with when nobody kills it.
    """

    words: tuple[str | Path, ...]
    status: int = 0

    def start(self) -> "subprocess.Popen[bytes]":
        line = [sys.executable, "-m", "unclouded", *map(str, self.words)]
        return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def to_its_end(self) -> float:
        """Return the seconds it took."""
        began = time.perf_counter()
        if (status := self.start().wait()) != self.status:
            raise SystemExit(f"{' '.join(map(str, self.words))} ended with {status}, expected {self.status}")
        return time.perf_counter() - began


def killed_at_random(
    start: "Callable[[], subprocess.Popen[bytes]]", seconds: float, kills: int, rng: random.Random
) -> Iterator[float | None]:
    """Start a command until it was killed often enough; yield when it was killed, or None where it ended before that.

    Args:
        start: Starts it.
        seconds: The moment of a kill is drawn evenly from so many after the start.
        kills: How many.
        rng: Draws the moments.
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
