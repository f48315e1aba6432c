import numpy as np
import pytest
from scipy.stats import kstest

from unclouded.clouds.opacity import HISTOGRAMS, draw_coverage, opacity, threshold_for
from unclouded.clouds.perlin import draw_noise


def field(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return draw_noise(np.random.default_rng(1), 16.0, 3).at(np.arange(48.0), np.arange(48.0))


def test_opacity_rises_smoothly_over_the_softness_around_the_threshold() -> None:
    rising = opacity(field(0, 1, 2, 3, 4, 5, 9), threshold=3.0, softness=4.0)
    np.testing.assert_array_equal(rising, [[0, 0, 0.15625, 0.5, 0.84375, 1, 1]])
    assert rising.dtype == np.float32


@pytest.mark.parametrize("coverage", [0.0, 0.001, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("softness", [0.05, 2.0, 20.0])
def test_the_threshold_gives_the_coverage(noise: np.ndarray, coverage: float, softness: float) -> None:
    found = opacity(noise, threshold_for(noise, softness, coverage), softness).mean()
    assert found == pytest.approx(coverage, abs=1e-3)


def test_fault_14_coverage_0_paints_nothing_and_coverage_1_everything(noise: np.ndarray) -> None:
    nothing, everything = (opacity(noise, threshold_for(noise, 2.0, share), 2.0) for share in (0.0, 1.0))
    assert nothing.max() == 0
    assert everything.min() == 1


def test_drawn_coverages_follow_the_weights_of_bins() -> None:
    rng = np.random.default_rng(2)
    drawn = [draw_coverage(rng, (1.0, 0.0, 0.0, 3.0)) for _ in range(400)]
    counts, _ = np.histogram(drawn, bins=4, range=(0, 1))
    assert counts[1] == counts[2] == 0
    assert counts[0] == pytest.approx(100, abs=4 * (400 * 0.25 * 0.75) ** 0.5)
    assert kstest([(c - 0.75) * 4 for c in drawn if c > 0.5], "uniform").pvalue > 0.05


def test_the_histogram_of_sen12mscr_has_the_mean_and_deviation_that_the_paper_states() -> None:
    weights = np.array(HISTOGRAMS["sen12mscr"])
    middles = (np.arange(len(weights)) + 0.5) / len(weights)
    mean = np.average(middles, weights=weights)
    assert mean == pytest.approx(0.4793, abs=0.002)
    assert np.average((middles - mean) ** 2, weights=weights) ** 0.5 == pytest.approx(0.3608, abs=0.002)


def test_the_histogram_of_sen12mscr_has_no_empty_bin_and_most_at_both_ends() -> None:
    weights = np.array(HISTOGRAMS["sen12mscr"])
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0.5 / len(weights)
    assert set(np.argsort(weights)[-2:]) == {0, len(weights) - 1}
