import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unclouded.clouds.ranks import starting_ranks, to_ranks

TEN = np.full((1, 256), np.inf, np.float32)
TEN[0, :10] = np.arange(1, 11, dtype=np.float32) / np.float32(10)


def ranks_of(values: np.ndarray, thresholds: np.ndarray) -> list[int]:
    return to_ranks(values[None], thresholds, starting_ranks(thresholds))[0].tolist()


def test_a_rank_counts_the_thresholds_below_a_value() -> None:
    assert ranks_of(np.array([0.05, 0.15, 0.95], np.float32), TEN) == [0, 1, 9]


def test_a_value_on_a_threshold_is_not_above_it_but_the_next_float_is() -> None:
    third = TEN[0, 2]
    around = np.array([np.nextafter(third, np.float32(0)), third, np.nextafter(third, np.float32(1))])
    assert ranks_of(around, TEN) == [2, 2, 3]


def test_values_outside_of_0_to_1_have_the_ranks_of_the_ends() -> None:
    assert ranks_of(np.array([-3.0, 0.0, 1.0, 2.0], np.float32), TEN) == [0, 0, 9, 9]


@settings(max_examples=50)
@given(
    arrays(np.float32, st.integers(1, 255), elements=st.floats(0, 1.25, width=32), unique=True),
    arrays(np.float32, 50, elements=st.floats(-1, 2, width=32)),
)
def test_ranks_are_those_of_a_binary_search(thresholds: np.ndarray, values: np.ndarray) -> None:
    padded = np.full((1, 256), np.inf, np.float32)
    padded[0, : len(thresholds)] = np.sort(thresholds)
    everything = np.concatenate([values, thresholds])
    expected = np.searchsorted(padded[0], np.clip(everything, 0, 1), side="left")
    assert ranks_of(everything, padded) == expected.tolist()
