"""From noise to opacity: how soft the edges of painted clouds are, and how much of an image they cover."""

import numpy as np
from jaxtyping import Float32
from scipy.optimize import brentq
from scipy.special import betainc


def opacity(noise: Float32[np.ndarray, "y x"], threshold: float, softness: float) -> Float32[np.ndarray, "y x"]:
    """Rise from 0 to 1 where the noise passes a threshold, without a kink: 3 t^2 - 2 t^3.

    Args:
        noise: Any field.
        threshold: Where the opacity is one half, in units of the noise.
        softness: How far the noise rises between opacity 0 and 1.
    """
    t = np.clip((noise - np.float32(threshold)) / np.float32(softness) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def threshold_for(noise: Float32[np.ndarray, "y x"], softness: float, coverage: float) -> float:
    """Return the threshold at which the mean opacity is ``coverage``, to 1e-3 or better.

    Args:
        noise: Any field.
        softness: How far the noise rises between opacity 0 and 1, in units of the noise.
        coverage: Wanted mean of :func:`opacity`, between 0 and 1.
    """
    lowest, highest = float(noise.min()) - softness, float(noise.max()) + softness

    def excess(threshold: float) -> float:
        return float(opacity(noise, threshold, softness).mean()) - coverage

    return float(brentq(excess, lowest, highest, xtol=1e-4))


def draw_coverage(rng: np.random.Generator, histogram: tuple[float, ...]) -> float:
    """Draw a coverage that follows a histogram.

    Args:
        rng: Source of randomness.
        histogram: Weights of equal bins from 0 to 1, of any sum; within a bin all coverages are as likely.
    """
    cumulative = np.cumsum((0.0, *histogram))
    edges = np.linspace(0, 1, len(cumulative))
    return float(np.interp(rng.random() * cumulative[-1], cumulative, edges))


def _beta_histogram(mean: float, deviation: float, bins: int = 100) -> tuple[float, ...]:
    """Bin the Beta distribution of a mean and a standard deviation."""
    total = mean * (1 - mean) / deviation**2 - 1
    return tuple(np.diff(betainc(mean * total, (1 - mean) * total, np.linspace(0, 1, bins + 1))).tolist())


HISTOGRAMS = {"uniform": (1.0,), "sen12mscr": _beta_histogram(0.4793, 0.3608)}
"""Histograms of coverage by name. For SEN12MS-CR section III-A of the paper gives 47.93 % +- 36.08 %, but the bins only
as a drawing (Fig. 5): ``sen12mscr`` is the Beta distribution of this mean and standard deviation."""
