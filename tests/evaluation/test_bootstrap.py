import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unclouded.evaluation.bootstrap import cluster_interval


def interval_rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_two_regions_of_means_1_and_3_reach_from_one_to_the_other() -> None:
    # drawn twice from two: both 1 in a quarter of the draws, both 3 in another
    assert cluster_interval(np.array([1.0, 1.0, 3.0]), ["a", "a", "b"], interval_rng()) == (1.0, 3.0)


def test_the_percentiles_are_those_of_all_possible_draws() -> None:
    values, regions = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), ["a", "a", "b", "c", "c"]
    sums, counts = {"a": 3.0, "b": 4.0, "c": 24.0}, {"a": 2, "b": 1, "c": 2}
    every = [sum(sums[r] for r in draw) / sum(counts[r] for r in draw) for draw in itertools.product("abc", repeat=3)]
    found = cluster_interval(values, regions, interval_rng(1), level=0.5, resamples=200_000)
    assert found == pytest.approx(np.quantile(every, [0.25, 0.75], method="inverted_cdf"))


def test_a_region_weighs_as_many_patches_as_it_has_and_its_copies_narrow_nothing() -> None:
    values, regions = interval_rng(2).random(12), list("aabbccddeeff")
    once = cluster_interval(values, regions, interval_rng(3))
    twice = cluster_interval(np.tile(values, 2), regions * 2, interval_rng(3))
    assert twice == pytest.approx(once)


def test_95_of_100_intervals_hold_the_truth_where_regions_vary_and_a_patchwise_one_would_not() -> None:
    inside = patchwise = 0
    for trial in range(200):
        chance = interval_rng(trial)
        of_region = chance.normal(size=40)
        values = np.repeat(of_region, 20) + 0.1 * chance.normal(size=800)
        low, high = cluster_interval(values, [str(i // 20) for i in range(800)], chance, resamples=400)
        inside += low <= 0 <= high
        patchwise += abs(values.mean()) < 1.96 * values.std() / math.sqrt(800)
    assert 0.88 <= inside / 200 <= 0.99
    assert patchwise / 200 < 0.6


@pytest.mark.parametrize("regions", [["a", "a"], ["a", ""], ["", ""]])
def test_one_region_or_an_unknown_one_has_no_interval(regions: list[str]) -> None:
    assert all(math.isnan(end) for end in cluster_interval(np.array([1.0, 2.0]), regions, interval_rng()))


def test_an_infinite_value_has_no_interval() -> None:
    assert all(math.isnan(end) for end in cluster_interval(np.array([1.0, math.inf]), ["a", "b"], interval_rng()))


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1, max_size=30), st.integers(0, 9))
@settings(max_examples=60)
def test_fault_13_patches_without_a_value_change_nothing(values: list[float], seed: int) -> None:
    regions = [f"r{i % 4}" for i in range(len(values))]
    kept = [i for i, value in enumerate(values) if not math.isnan(value)]
    whole = cluster_interval(np.array(values), regions, interval_rng(seed), resamples=50)
    without = cluster_interval(
        np.array([values[i] for i in kept]), [regions[i] for i in kept], interval_rng(seed), resamples=50
    )
    np.testing.assert_array_equal(whole, without)
    if not math.isnan(whole[0]):
        assert min(values[i] for i in kept) - 1e-9 <= whole[0] <= whole[1] <= max(values[i] for i in kept) + 1e-9
