"""A command that is killed at random moments: what the proofs of kills share."""

import random
import subprocess
from collections.abc import Callable, Iterator


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
