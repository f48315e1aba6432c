"""Whether the discriminators leave the generators anything to learn."""

from collections import deque
from collections.abc import Mapping

WINDOW = 200
"""Steps over which the judgements are averaged."""
WON = 0.9
"""Mean distance between the judgements of real and generated images from which on a discriminator has won."""


class Balance:
    """Watches the mean judgements of real and of generated images, and warns once of a discriminator that has won.

    Least squares teach a discriminator to answer 1 and 0; where it does so everywhere, the generators' gradient says
    only "wrong", and colours drift.

    Args:
        window: Steps to average over.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self._seen: dict[str, deque[tuple[float, float]]] = {}
        self._warned: set[str] = set()

    def warning(self, terms: Mapping[str, float]) -> str | None:
        """Return a sentence when a discriminator has won over the last steps, the first time it does."""
        for domain in ("sar", "optical"):
            if f"{domain}_real" not in terms or domain in self._warned:
                continue
            seen = self._seen.setdefault(domain, deque(maxlen=self.window))
            seen.append((terms[f"{domain}_real"], terms[f"{domain}_generated"]))
            real, generated = (sum(values) / len(seen) for values in zip(*seen, strict=True))
            if len(seen) == self.window and real - generated > WON:
                self._warned.add(domain)
                return (
                    f"the {domain} discriminator has won (real {real:.2f}, generated {generated:.2f} over {self.window}"
                    f" steps): the generator gets nothing from it; see docs/coloured-noise.md"
                )
        return None
